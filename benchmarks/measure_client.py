"""What one streamed token costs the client of `profiles measure`: CPU time per event with aiohttp and with httpx.

Run: python benchmarks/measure_client.py [streams] [tokens]
A server in a process of its own sends `streams` answers at once, a token every 20 ms each, as vLLM words them. Printed
is the client's CPU time per token, how many streams of 50 tokens/s one core would keep up with, and how late the
tokens were seen (each carries the time it was sent at).
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from multiprocessing.connection import Connection

import aiohttp
import httpx

from sky_melange.profiles.measure.client import TokenStream

TOKEN_S = 0.02
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
Chunks = AsyncIterator[bytes]
Open = Callable[[str], AbstractAsyncContextManager[Chunks]]


def serve(port: Connection, tokens: int) -> None:
    """The server process: sends its port, then answers every connection's first request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        loop = asyncio.get_running_loop()
        due_s = loop.time()
        for _ in range(tokens):
            due_s += TOKEN_S
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            event = {
                "id": "cmpl-0123456789abcdef",
                "object": "text_completion",
                "model": "m",
                "sent_s": time.monotonic(),
                "choices": [{"index": 0, "text": " word", "logprobs": None, "finish_reason": None}],
            }
            data = b"data: " + json.dumps(event).encode() + b"\n\n"
            writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=4096)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


@asynccontextmanager
async def with_aiohttp() -> AsyncIterator[Open]:
    """Streams with aiohttp, as `measure` does."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        @asynccontextmanager
        async def opened(url: str) -> AsyncIterator[Chunks]:
            async with session.get(url) as response:
                yield response.content.iter_any()

        yield opened


@asynccontextmanager
async def with_httpx() -> AsyncIterator[Open]:
    """Streams with httpx, without limits of its own."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        @asynccontextmanager
        async def opened(url: str) -> AsyncIterator[Chunks]:
            async with client.stream("GET", url) as response:
                yield response.aiter_raw()

        yield opened


async def load(library: Callable[[], AbstractAsyncContextManager[Open]], url: str, streams: int, tokens: int) -> str:
    """All streams at once, each read by the parser that `measure` uses."""
    late_s: list[float] = []

    async def one(opened: Open) -> None:
        stream = TokenStream(max_events=10 * tokens)
        async with opened(url) as chunks:
            async for data in chunks:
                now_s = time.monotonic()
                stream.feed(data, now_s)
                late_s.append(now_s - float(data.rsplit(b'"sent_s": ', 1)[1].split(b",", 1)[0]))

    async with library() as opened:
        begun_cpu_s, begun_s = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one(opened) for _ in range(streams)))
        cpu_s, wall_s = time.process_time() - begun_cpu_s, time.perf_counter() - begun_s
    per_token_us = cpu_s / (streams * tokens) * 1e6
    return (
        f"{per_token_us:6.1f} us CPU per token, one core keeps up with {TOKEN_S * 1e6 / per_token_us:5.0f} streams; "
        f"busy {cpu_s / wall_s:4.0%}, tokens seen late by {statistics.median(late_s) * 1e3:.2f} ms (median)"
    )


def main() -> None:
    """Both libraries in turn, twice."""
    streams, tokens = (int(word) for word in (sys.argv[1:] + ["256", "200"][len(sys.argv) - 1 :]))
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs, tokens), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/"
    print(f"{streams} streams of {tokens} tokens, one every {TOKEN_S * 1e3:g} ms")
    for name, library in (("aiohttp", with_aiohttp), ("httpx", with_httpx)) * 2:
        figures = asyncio.run(load(library, url, streams, tokens))
        print(f"{name:8} {importlib.metadata.version(name):8} {figures}")
    server.terminate()


if __name__ == "__main__":
    main()
