"""OpenAI-compatible stand-ins for replica groups, and a client that counts what comes back. Loopback only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

_Result = TypeVar("_Result")


@dataclass(slots=True)
class Seen:
    """What one stub was asked for: requests by the test's own `x-bucket` header, and how they ended."""

    buckets: Counter[str] = field(default_factory=Counter)
    authorizations: set[str] = field(default_factory=set)
    in_flight: int = 0
    most_in_flight: int = 0
    aborted: int = 0
    total: int = 0


class StubReplica:
    """Answers `/health` and any POST. `token_delay_s` between the tokens of a stream, `delay_s` before the answer."""

    def __init__(self, name: str, *, delay_s: float = 0.0, token_delay_s: float = 0.0, tokens: int = 5) -> None:
        self.name = name
        self.delay_s = delay_s
        self.token_delay_s = token_delay_s
        self.tokens = tokens
        self.seen = Seen()
        self.port = 0
        self.healthy = True
        self.failure: Callable[[bytes], str | None] = lambda _: None
        """The status line that a request with this body fails with, if it does; `/health` is not asked."""
        self.gate: asyncio.Semaphore | None = None
        """Where set, each token of a stream waits for a release."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Future[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """As a machine that is switched off: no more connections, those that are open are reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Knows a connection before anything is done with it: a handler that is cancelled first never begins."""
        if self._server is None:
            writer.transport.abort()
            return
        self._writers.add(writer)
        handler = asyncio.ensure_future(self._serve(reader, writer))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        except asyncio.IncompleteReadError:
            return False
        lines = head.split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        if headers.get("transfer-encoding") == "chunked":
            body = await read_chunks(reader)
        else:
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        if lines[0].split()[1] == "/health":
            status = "200 OK" if self.healthy else "503 Service Unavailable"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        if not lines[0].startswith("POST "):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return True
        seen = self.seen
        seen.total += 1
        seen.buckets[headers.get("x-bucket", "")] += 1
        seen.authorizations.add(headers.get("authorization", ""))
        seen.in_flight += 1
        seen.most_in_flight = max(seen.most_in_flight, seen.in_flight)
        try:
            if failure := self.failure(body):
                writer.write(f"HTTP/1.1 {failure}\r\nContent-Length: 6\r\n\r\nbroken".encode())
            else:
                await self._answer(writer, b'"stream": true' in body or b'"stream":true' in body)
        except (ConnectionError, asyncio.CancelledError):
            seen.aborted += 1
            raise
        finally:
            seen.in_flight -= 1
        return True

    async def _answer(self, writer: asyncio.StreamWriter, is_stream: bool) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if not is_stream:
            answer = json.dumps(_completion(self.name)).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
            writer.write(head.encode() + answer)
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(self.tokens):
            await _chunk(writer, f"data: {json.dumps(_delta(self.name, f'{self.name}-{number} '))}\n\n")
            await asyncio.sleep(self.token_delay_s)
            if self.gate is not None:
                await self.gate.acquire()
            if writer.is_closing():
                raise ConnectionResetError
        await _chunk(writer, "data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _chunk(writer: asyncio.StreamWriter, text: str) -> None:
    writer.write(f"{len(text.encode()):x}\r\n{text}\r\n".encode())
    await writer.drain()


def _completion(name: str) -> dict[str, Any]:
    message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"from {name}"}}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [message], "usage": usage}


def _delta(name: str, content: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": None}
    return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": name, "choices": [choice]}


class Loop:
    """An event loop in a thread, for stubs that live as long as a test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _Result], timeout_s: float = 300.0) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def close(self) -> None:
        async def cancel_all() -> None:
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            # What was closed is gone after another round or two; until then Python warns of it.
            for _ in range(3):
                await asyncio.sleep(0)

        self.run(cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextlib.contextmanager
def running(*stubs: StubReplica) -> Iterator[Loop]:
    loop = Loop()
    try:
        for stub in stubs:
            loop.run(stub.start())
        yield loop
    finally:
        for stub in stubs:
            loop.run(stub.kill())
        loop.run(_drained())
        loop.close()


async def _drained() -> None:
    """Connections that were just accepted have no handler yet: each is closed before the loop is."""
    await asyncio.sleep(0.01)
    for _ in range(10):  # on a busy machine that may have been one round of the loop, and accepting takes several
        await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.sleep(0.01)


@dataclass(frozen=True, slots=True)
class Reply:
    """Of one request: 0 for no answer at all. `group` as the router names it."""

    status: int
    group: str
    body: bytes


def prompt_body(input_tokens: int, *, envelope_bytes: int, bytes_per_token: float = 4.0, **extra: Any) -> bytes:
    """A chat request whose body has exactly the size that stands for `input_tokens`."""
    request = {"model": "m", "messages": [{"role": "user", "content": ""}], **extra}
    size = envelope_bytes + int(input_tokens * bytes_per_token)
    filler = size - len(json.dumps(request).encode())
    request["messages"] = [{"role": "user", "content": "x" * max(filler, 0)}]
    return json.dumps(request).encode()


async def send_all(
    port: int,
    requests: list[tuple[str, bytes]],
    *,
    connections: int = 64,
    at: Callable[[int], None] | None = None,
    key: str = "secret",
) -> list[Reply]:
    """Posts every (bucket, body) over kept-alive connections; `at(n)` is called before the n-th. In the given order."""
    replies: list[Reply] = [Reply(0, "", b"")] * len(requests)
    queue = iter(enumerate(requests))

    async def worker() -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            for number, (bucket, body) in queue:
                if at is not None:
                    at(number)
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", port)
                try:
                    replies[number] = await post(*connection, body, bucket=bucket, key=key)
                except (ConnectionError, asyncio.IncompleteReadError):
                    connection[1].close()
                    connection = None
        finally:
            if connection is not None:
                connection[1].close()

    async with asyncio.TaskGroup() as workers:
        for _ in range(connections):
            workers.create_task(worker())
    return replies


async def post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes, *, bucket: str = "", key: str = "secret"
) -> Reply:
    """One POST of which the whole answer is read."""
    writer.write(request_head(len(body), bucket, key) + body)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = head.split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    if "content-length" in headers:
        answer = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        answer = await read_chunks(reader)
    else:
        answer = await reader.read()
    return Reply(int(lines[0].split()[1]), headers.get("x-sky-melange-group", ""), answer)


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).strip(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


def request_head(length: int, bucket: str = "", key: str = "secret") -> bytes:
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: router\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nx-bucket: {bucket}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()
