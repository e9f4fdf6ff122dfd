"""A stub of an OpenAI-compatible server whose latencies follow a known law of the requests in flight.

Raw asyncio on a thread of its own, loopback only, so that it can also break in every way that a real server can.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Law:
    """TTFT and TPOT in ms at N requests in flight; TTFT grows with the prompt too."""

    ttft_base_ms: float = 12.0
    ttft_each_ms: float = 1.5
    ttft_token_ms: float = 0.01
    tpot_base_ms: float = 4.0
    tpot_each_ms: float = 1.0
    power: float = 1.0

    def ttft_s(self, concurrency: float, input_tokens: int) -> float:
        return (self.ttft_base_ms + self.ttft_each_ms * concurrency + self.ttft_token_ms * input_tokens) / 1000

    def tpot_s(self, concurrency: float) -> float:
        return (self.tpot_base_ms + self.tpot_each_ms * concurrency**self.power) / 1000

    def rate_rps(self, concurrency: float, input_tokens: int, output_tokens: int) -> float:
        latency_s = self.ttft_s(concurrency, input_tokens) + self.tpot_s(concurrency) * (output_tokens - 1)
        return concurrency / latency_s

    def max_rate_rps(self, input_tokens: int, output_tokens: int, tpot_s: float, most: float) -> float:
        """The truth to recover: the largest rate at which TPOT holds, on a fine grid of real concurrencies."""
        steps = (1 + (most - 1) * k / 20_000 for k in range(20_001))
        return max(self.rate_rps(n, input_tokens, output_tokens) for n in steps if self.tpot_s(n) <= tpot_s)


@dataclass
class Behaviour:
    """What the server does besides its law; may be changed while it runs."""

    law: Law = field(default_factory=Law)
    fail_every: int = 0
    fail_status: int = 500
    stall_after: int | None = None
    die_after: int | None = None
    max_model_len: int = 100_000
    prompt_overhead: int = 1
    tokens_per_word: int = 1
    usage: bool = True
    honour_length: bool = True
    reply: Callable[[], bytes | None] = lambda: None
    version: str | None = "9.9.9"
    metrics: str | None = None
    api_key: str | None = None


class StubServer:
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.requests = 0
        self.in_flight = 0
        self.peak = 0
        self.bodies: list[dict[str, Any]] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode().split("\r\n")
                method, path, _ = lines[0].split(" ")
                headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:] if ": " in line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if method == "GET":
                    await self._page(path, writer)
                else:
                    await self._generate(path, headers, json.loads(body), writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client went, or the test is over
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _page(self, path: str, writer: asyncio.StreamWriter) -> None:
        pages = {
            "/version": None if self.behaviour.version is None else json.dumps({"version": self.behaviour.version}),
            "/metrics": self.behaviour.metrics,
            "/health": "{}",
            "/v1/models": json.dumps({"data": [{"id": "stub-model"}]}),
        }
        text = pages.get(path)
        await self._answer(writer, 404 if text is None else 200, text or "")

    async def _answer(self, writer: asyncio.StreamWriter, status: int, text: str) -> None:
        content = text.encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
        await writer.drain()

    async def _generate(
        self, path: str, headers: dict[str, str], body: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        behaviour = self.behaviour
        self.requests += 1
        number = self.requests
        self.bodies.append(body)
        if behaviour.die_after is not None and number > behaviour.die_after:
            await self.stop()
            return
        if behaviour.api_key and headers.get("authorization") != f"Bearer {behaviour.api_key}":
            await self._answer(writer, 401, f"bad key {headers.get('authorization')}")
            return
        chat = path.endswith("/chat/completions")
        prompt = body["messages"][0]["content"] if chat else body["prompt"]
        prompt_tokens = behaviour.tokens_per_word * len(prompt.split()) + behaviour.prompt_overhead
        if prompt_tokens + body["max_tokens"] > behaviour.max_model_len:
            await self._answer(writer, 400, f"maximum context length is {behaviour.max_model_len} tokens")
            return
        if body["model"] != "stub-model":
            await self._answer(writer, 404, f"The model `{body['model']}` does not exist.")
            return
        if behaviour.fail_every and number % behaviour.fail_every == 0:
            await self._answer(writer, behaviour.fail_status, "sometimes")
            return
        if behaviour.stall_after is not None and number > behaviour.stall_after:
            await asyncio.sleep(3600)
        raw = behaviour.reply()
        if raw is not None:
            writer.write(raw)
            await writer.drain()
            writer.transport.close()
            return
        self.in_flight += 1
        self.peak = max(self.peak, self.in_flight)
        try:
            await self._stream(writer, chat, prompt_tokens, body)
        finally:
            self.in_flight -= 1

    async def _stream(self, writer: asyncio.StreamWriter, chat: bool, prompt_tokens: int, body: dict[str, Any]) -> None:
        """Tokens at absolute times, so that late wake-ups of the loop do not add up."""
        law, tokens = self.behaviour.law, body["max_tokens"]
        if not self.behaviour.honour_length:
            tokens = max(1, tokens // 2)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        if chat:
            self._event(writer, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        for index in range(tokens):
            due_s += law.tpot_s(self.in_flight) if index else law.ttft_s(self.in_flight, prompt_tokens)
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            self._event(writer, {"choices": [{"delta": {"content": " a"}} if chat else {"text": " a"}]})
            await writer.drain()
        if self.behaviour.usage:
            usage = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens}
            self._event(writer, {"choices": [], "usage": usage})
        self._chunk(writer, b"data: [DONE]\n\n")
        self._chunk(writer, b"")
        await writer.drain()

    def _event(self, writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
        self._chunk(writer, b"data: " + json.dumps(event).encode() + b"\n\n")

    @staticmethod
    def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


@contextmanager
def serving(behaviour: Behaviour | None = None) -> Iterator[StubServer]:
    """A running stub on a thread of its own."""
    server = StubServer(behaviour or Behaviour())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stub", daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _end(server: StubServer) -> None:
    await server.stop()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
