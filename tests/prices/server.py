"""A real HTTP server on loopback that replays price catalogs, with ETags, and misbehaves on request.

For every test that needs live prices::

    with CatalogServer(shared_data / "catalogs-older") as server:
        monkeypatch.setenv("SKY_MELANGE_CATALOG_URL", server.url)   # a base that holds <cloud>/vms.csv
        ...                                                         # the first refresh: 200 with a body
        ...                                                         # the second refresh: 304 without one
        server.serve(shared_data / "catalogs")                      # from now on: later catalogs
        server.put("lambda", content)                               # one cloud's catalog, whatever the folders hold
        server.fail("lambda", status(404))                          # sticky; server.heal("lambda") ends it
        server.fail("aws", status(500), times=1)                    # the first answer only
        server.fail(EVERY_CLOUD, stall())                           # "*": all clouds without a fault of their own
        assert [seen.status for seen in server.seen if seen.cloud == "aws"] == [500, 200]

Faults: `status`, `too_many_requests`, `stall`, `stall_mid_body`, `truncated`, `redirect_loop`, `redirect_to`, `html`,
`body`, `gzip_garbage`, `gzip_bomb`, `huge`, `drip`, `hang_up`. Faults that need no server: `refused_url()`,
`UNRESOLVABLE_URL`, and `with connect_timeout_url() as url:`. Nothing here leaves the machine.

Other test folders reach this module by pytest's rootdir-less import: put `tests/prices` on `sys.path` in a conftest, or
use the fixtures of tests/conftest.py that wrap it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

EVERY_CLOUD = "*"
UNRESOLVABLE_URL = "http://catalogs.invalid"
"""A name that no resolver knows (RFC 2606)."""

MIB = 1024 * 1024
HTML = b"<!DOCTYPE html>\n<html><body><h1>Sign in to the hotel network</h1></body></html>\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request that was answered: which cloud, with which status, how many body bytes, and its If-None-Match.

    `status` is 0 when the connection was dropped without an answer.
    """

    cloud: str
    path: str
    status: int
    body_bytes: int
    if_none_match: str | None


Fault = Callable[["_Handler", bytes | None], None]
"""Answers one request in its own way, given the catalog that a sound server would send (None: there is none)."""


@dataclass(slots=True)
class _Planned:
    fault: Fault
    times_left: int | None


class CatalogServer:
    """Serves `<folder>/<cloud>/vms.csv` of the first folder that has it, at `url`/<cloud>/vms.csv.

    `digests` has the text of `<cloud>/vms.csv.md5` for clouds that publish one.
    `delay_s` is waited before each answer, `tls` makes it an https server, `seen` lists the answers, oldest first.
    """

    def __init__(self, *folders: Path, delay_s: float = 0.0, tls: ssl.SSLContext | None = None) -> None:
        self.delay_s = delay_s
        self.seen: list[Seen] = []
        self.stopping = threading.Event()
        self._folders = folders
        self._contents: dict[str, bytes] = {}
        self._faults: dict[str, list[_Planned]] = {}
        self.digests: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.catalogs = self
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """The base that holds `<cloud>/vms.csv`."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, *folders: Path) -> None:
        """From now on: the catalogs of these folders, and nothing that was put before."""
        with self._lock:
            self._folders = folders
            self._contents.clear()

    def put(self, cloud: str, content: bytes) -> None:
        """From now on: this catalog for the cloud."""
        with self._lock:
            self._contents[cloud] = content

    def fail(self, cloud: str, fault: Fault, *, times: int | None = None) -> None:
        """Answer with a fault: the next `times` requests, or until `heal`. Several faults come one after another."""
        with self._lock:
            self._faults.setdefault(cloud, []).append(_Planned(fault, times))

    def heal(self, cloud: str = EVERY_CLOUD) -> None:
        """No more faults for the cloud, or for any."""
        with self._lock:
            if cloud == EVERY_CLOUD:
                self._faults.clear()
            else:
                self._faults.pop(cloud, None)

    def forget(self) -> None:
        """Empty `seen`."""
        with self._lock:
            self.seen.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def content_of(self, cloud: str) -> bytes | None:
        """What a sound server would send, None for 404."""
        with self._lock:
            if cloud in self._contents:
                return self._contents[cloud]
            folders = self._folders
        for folder in folders:
            path = folder / cloud / "vms.csv"
            if path.is_file():
                return path.read_bytes()
        return None

    def fault_of(self, cloud: str) -> Fault | None:
        """The fault that is due for the next request, if any."""
        with self._lock:
            for key in (cloud, EVERY_CLOUD):
                for planned in self._faults.get(key, []):
                    if planned.times_left is None:
                        return planned.fault
                    if planned.times_left > 0:
                        planned.times_left -= 1
                        return planned.fault
        return None

    def note(self, seen: Seen) -> None:
        """Remember an answer."""
        with self._lock:
            self.seen.append(seen)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    catalogs: CatalogServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing on stderr."""

    def setup(self) -> None:
        super().setup()
        # Headers and body are separate writes: without this the second waits for the client's delayed acknowledgement.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def cloud(self) -> str:
        """`<cloud>` of `/<cloud>/vms.csv`; what stands before is ignored."""
        parts = self.path.split("?")[0].strip("/").split("/")
        return parts[-2] if len(parts) >= 2 and parts[-1] == "vms.csv" else ""

    def do_GET(self) -> None:
        catalogs = self.server.catalogs
        if self.path.endswith("/vms.csv.md5"):
            digest = catalogs.digests.get(self.path.split("/")[-2])
            self.answer(HTTPStatus.NOT_FOUND if digest is None else HTTPStatus.OK, digest or b"404: Not Found")
            return
        if catalogs.delay_s:
            time.sleep(catalogs.delay_s)
        content = catalogs.content_of(self.cloud)
        fault = catalogs.fault_of(self.cloud)
        if fault is not None:
            fault(self, content)
        elif content is None:
            self.answer(HTTPStatus.NOT_FOUND, b"404: Not Found")
        else:
            self.answer_catalog(content)

    def answer_catalog(self, content: bytes) -> None:
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        if self.headers.get("If-None-Match") == etag:
            self.answer(HTTPStatus.NOT_MODIFIED, b"", {"ETag": etag})
        else:
            self.answer(HTTPStatus.OK, content, {"ETag": etag, "Content-Type": "text/plain; charset=utf-8"})

    def answer(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        """`length` is the Content-Length to claim, where it is not that of the content."""
        self.start(status, headers, length=len(content) if length is None else length, body_bytes=len(content))
        self.wfile.write(content)

    def start(
        self, status: int, headers: dict[str, str] | None = None, *, length: int | None = None, body_bytes: int = 0
    ) -> None:
        """Status line and headers. Noted before they are sent, so that a client that has its answer finds it."""
        seen = Seen(
            cloud=self.cloud,
            path=self.path,
            status=status,
            body_bytes=body_bytes,
            if_none_match=self.headers.get("If-None-Match"),
        )
        self.server.catalogs.note(seen)
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED and length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.flush()

    def wait(self, seconds: float) -> None:
        """Until then, or until the server stops."""
        self.server.catalogs.stopping.wait(seconds)


def status(code: int, *, text: bytes = b"error") -> Fault:
    """An answer of this status."""
    return lambda handler, _: handler.answer(code, text)


def too_many_requests(retry_after: str | None = "1") -> Fault:
    """429 with `Retry-After` (seconds, or an HTTP date)."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return lambda handler, _: handler.answer(429, b"slow down", headers)


def stall(seconds: float = 30.0) -> Fault:
    """Accepts the request and says nothing."""

    def fault(handler: _Handler, _: bytes | None) -> None:
        handler.wait(seconds)
        handler.close_connection = True

    return fault


def stall_mid_body(seconds: float = 30.0) -> Fault:
    """Half of the catalog, then nothing."""

    def fault(handler: _Handler, content: bytes | None) -> None:
        content = content or HTML
        handler.start(200, length=len(content), body_bytes=len(content) // 2)
        handler.wfile.write(content[: len(content) // 2])
        handler.wfile.flush()
        handler.wait(seconds)
        handler.close_connection = True

    return fault


def drip(seconds_between_bytes: float = 0.1) -> Fault:
    """The catalog byte by byte: each arrives in time, the whole never does."""

    def fault(handler: _Handler, content: bytes | None) -> None:
        content = content or HTML
        handler.start(200, length=len(content))
        for byte in content:
            if handler.server.catalogs.stopping.is_set():
                break
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            handler.wait(seconds_between_bytes)

    return fault


def truncated() -> Fault:
    """Two thirds of the catalog under the Content-Length of the whole, then the connection closes."""

    def fault(handler: _Handler, content: bytes | None) -> None:
        content = content or HTML
        handler.answer(200, content[: len(content) * 2 // 3], length=len(content))
        handler.close_connection = True

    return fault


def without_length(fraction: float = 1.0, *, rows: bool = False, gzip_it: bool = False) -> Fault:
    """The first part of the catalog, its end marked by nothing but the closed connection; `rows`: whole rows of it."""

    def fault(handler: _Handler, content: bytes | None) -> None:
        part = cut(content or HTML, fraction, rows=rows)
        headers = {"Connection": "close", **({"Content-Encoding": "gzip"} if gzip_it else {})}
        handler.start(200, headers, body_bytes=len(part))
        handler.wfile.write(gzip.compress(part) if gzip_it else part)
        handler.close_connection = True

    return fault


def cut(content: bytes, fraction: float, *, rows: bool) -> bytes:
    """The first part of a catalog: so many of its bytes, or of its rows."""
    if not rows:
        return content[: int(len(content) * fraction)]
    lines = content.splitlines(keepends=True)
    return b"".join(lines[: max(2, int(len(lines) * fraction))])


def dated(last_modified: str) -> Fault:
    """No fault: the catalog, with the time at which the host last changed it."""

    def fault(handler: _Handler, content: bytes | None) -> None:
        handler.answer(200, content or HTML, {"Last-Modified": last_modified})

    return fault


def endless_error(code: int = 503) -> Fault:
    """An error whose text has no end."""

    def fault(handler: _Handler, _: bytes | None) -> None:
        handler.start(code, {"Connection": "close"})
        with contextlib.suppress(OSError):
            while not handler.server.catalogs.stopping.is_set():
                handler.wfile.write(b"x" * MIB)
        handler.close_connection = True

    return fault


def endless_redirect(url: str) -> Fault:
    """A redirect whose text has no end."""

    def fault(handler: _Handler, _: bytes | None) -> None:
        handler.start(302, {"Connection": "close", "Location": url})
        with contextlib.suppress(OSError):
            while not handler.server.catalogs.stopping.is_set():
                handler.wfile.write(b"x" * MIB)
        handler.close_connection = True

    return fault


def redirect_loop() -> Fault:
    """Always somewhere else on this server, for ever."""

    def fault(handler: _Handler, _: bytes | None) -> None:
        turn = int(handler.path.partition("?turn=")[2] or 0) + 1
        handler.answer(302, b"", {"Location": f"/{handler.cloud}/vms.csv?turn={turn}"})

    return fault


def redirect_to(url: str) -> Fault:
    """Once, to this address."""
    return lambda handler, _: handler.answer(302, b"", {"Location": url})


def html() -> Fault:
    """200 with the page of a hotel network instead of the catalog."""
    return lambda handler, _: handler.answer(200, HTML, {"Content-Type": "text/html"})


def body(content: bytes) -> Fault:
    """200 with this content and an ETag, as if it were the catalog."""
    return lambda handler, _: handler.answer_catalog(content)


def gzip_garbage() -> Fault:
    """`Content-Encoding: gzip` over bytes that are no gzip stream."""
    return lambda handler, _: handler.answer(200, b"\x1f\x8b\x08garbage" * 100, {"Content-Encoding": "gzip"})


def gzip_bomb(uncompressed_bytes: int = 2048 * MIB) -> Fault:
    """A small gzip stream of zeros that unpacks to this size (2 GiB: 2 MiB on the wire)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    packed = b"".join(packer.compress(bytes(MIB)) for _ in range(uncompressed_bytes // MIB)) + packer.flush()
    return lambda handler, _: handler.answer(200, packed, {"Content-Encoding": "gzip"})


def huge(size_bytes: int = 2048 * MIB, *, with_length: bool = True) -> Fault:
    """A header line of a catalog and then rows without end, up to this size; made as it is sent."""

    def fault(handler: _Handler, content: bytes | None) -> None:
        header = (content or HTML).splitlines(keepends=True)[0]
        row = b"x" * 1023 + b"\n"
        handler.start(200, {"Connection": "close"}, length=size_bytes if with_length else None, body_bytes=size_bytes)
        handler.wfile.write(header)
        for _ in range(size_bytes // MIB):
            handler.wfile.write(row * 1024)
        handler.close_connection = True

    return fault


def gzipped() -> Fault:
    """No fault: the catalog, compressed, as hosts that compress do."""

    def fault(handler: _Handler, content: bytes | None) -> None:
        packed = gzip.compress(content or HTML)
        handler.answer(200, packed, {"Content-Encoding": "gzip"})

    return fault


def hang_up() -> Fault:
    """Closes the connection without an answer."""

    def fault(handler: _Handler, _: bytes | None) -> None:
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    return fault


def refused_url() -> str:
    """A base on a port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@contextlib.contextmanager
def connect_timeout_url() -> Iterator[str]:
    """A base whose connections are never accepted: the queue of the listening socket is full."""
    with socket.socket() as listener, contextlib.ExitStack() as clients:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            client = clients.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
