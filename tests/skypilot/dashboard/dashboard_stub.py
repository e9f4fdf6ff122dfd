"""SkyPilot's built dashboard with made-up answers of the plugin's routes, for states that a real server rarely has.

Other routes of SkyPilot answer as an empty server would.
"""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

import sky_melange

API: Final = "/plugins/api/melange"
ASSETS: Final = Path(sky_melange.__file__).parent / "skypilot" / "plugin" / "dashboard"
TYPES: Final = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
}
# As SkyPilot sends it, less the one host that its telemetry is allowed.
POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
EMPTY_SERVER: Final[dict[str, Any]] = {
    "/api/health": {
        "status": "healthy",
        "api_version": "62",
        "version": "0.14.1",
        "commit": "x",
        "user": {"name": "ada"},
    },
    "/users/role": {"id": "ada1", "name": "ada", "role": "admin"},
    "/dashboard_config": {"external_links": []},
    "/api/plugins": {"plugins": [{"name": "melange", "js_extension_path": f"{API}/dashboard/melange.js"}]},
}

Answer = tuple[int, Any]


@dataclass
class Stub:
    """`answers`: (method, path below the API) to (status, content), or to a function that gives it."""

    url: str = ""
    answers: dict[tuple[str, str], Answer | Callable[[Any], Answer]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)


def dashboard_folder() -> Path:
    spec = importlib.util.find_spec("sky")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "dashboard" / "out"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).removeprefix("/internal/dashboard")
        if path.startswith("/dashboard"):
            self._file(_page_file(path.removeprefix("/dashboard").lstrip("/")))
        elif path.startswith(f"{API}/dashboard/"):
            self._file(ASSETS / Path(path).name)
        elif path in EMPTY_SERVER:
            self._json(200, EMPTY_SERVER[path])
        else:
            self._api("GET")

    def do_POST(self) -> None:
        self._api("POST")

    def do_DELETE(self) -> None:
        self._api("DELETE")

    def _api(self, method: str) -> None:
        stub = cast("_Server", self.server).stub
        address = urlsplit(self.path)
        path = address.path.removeprefix("/internal/dashboard") + (f"?{address.query}" if address.query else "")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not path.startswith(API):
            self._json(200, {})
            return
        key = (method, unquote(path.removeprefix(f"{API}/")))
        content = json.loads(body) if body else None
        stub.asked.append((*key, content))
        answer = stub.answers.get(key, (404, {"detail": [{"where": key[1], "message": "no such plan", "help": ""}]}))
        self._json(*(answer(content) if callable(answer) else answer))

    def _file(self, path: Path) -> None:
        if path.is_file():
            self._send(200, path.read_bytes(), TYPES.get(path.suffix, "application/octet-stream"))
        else:
            self._json(404, {"detail": "Not found"})

    def _json(self, status: int, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self._send(status, b"" if status == 204 else text.encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        with suppress(ConnectionError):  # a browser that leaves a page ends what it waited for
            self.end_headers()
            self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    stub: Stub


def _page_file(name: str) -> Path:
    folder = dashboard_folder()
    if name.startswith("plugins/"):
        return folder / "plugins" / "[...slug].html"
    candidates = (folder / name, folder / f"{name}.html", folder / "index.html")
    return next(path for path in candidates if path.is_file())


@contextmanager
def serve() -> Iterator[Stub]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.stub = Stub(url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
