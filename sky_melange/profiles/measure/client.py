"""One streaming request to an OpenAI-compatible server. The only home of `aiohttp`.

aiohttp and not httpx, which SkyPilot also brings: docs/decisions/040 has the figures.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from sky_melange.errors import SkyMelangeError
from sky_melange.profiles.measure.results import ErrorKind, Failure, Success
from sky_melange.profiles.measure.spec import Api, Endpoint
from sky_melange.untrusted import json_or_none

_MAX_LINE_BYTES: Final = 1024**2
_DONE: Final = b"[DONE]"
_TAIL: Final = 4
"""The last token, its finish reason, the usage: kept unread until the end, so that a token costs almost nothing."""


class MalformedStreamError(SkyMelangeError):
    """The response is not the documented stream."""


@dataclass(slots=True)
class TokenStream:
    """Reads one response as it arrives; `feed` takes bytes with the time they came.

    Events between the first token and the last few are counted, not parsed: at hundreds of streams, parsing each
    would make the client the bottleneck that it measures.
    """

    max_events: int
    first_token_s: float | None = None
    done: bool = False
    _events: int = 0
    _buffer: bytes = b""
    _tail: deque[tuple[float, bytes]] = field(default_factory=lambda: deque(maxlen=_TAIL))

    def feed(self, data: bytes, now_s: float) -> None:
        """Takes the next bytes. Raises MalformedStreamError on endless lines, too many events or no JSON."""
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        if len(self._buffer) > _MAX_LINE_BYTES:
            raise MalformedStreamError(f"a line of the stream is longer than {_MAX_LINE_BYTES} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line[5:].strip(), now_s)

    def _event(self, payload: bytes, now_s: float) -> None:
        if payload == _DONE:
            self.done = True
            return
        self._events += 1
        if self._events > self.max_events:
            raise MalformedStreamError(f"the stream sent more than {self.max_events} events")
        self._tail.append((now_s, payload))
        if self.first_token_s is None and _has_token(_parse(payload)):
            self.first_token_s = now_s

    def finish(self) -> tuple[float | None, dict[str, Any] | None, str | None]:
        """(time of the last token, usage, error message) from the last events, each None when absent."""
        last_token_s: float | None = None
        usage: dict[str, Any] | None = None
        error: str | None = None
        for now_s, payload in self._tail:
            event = _parse(payload)
            if _has_token(event):
                last_token_s = now_s
            if isinstance(event.get("usage"), dict):
                usage = event["usage"]
            if "error" in event:
                error = json.dumps(event["error"], ensure_ascii=False)
        return last_token_s, usage, error


_CONNECT_TIMEOUT_S: Final = 10.0
_MAX_BODY_BYTES: Final = 1024**2
_LONGEST_DETAIL: Final = 200
_EVENTS_PER_TOKEN: Final = 4
_SPARE_EVENTS: Final = 100
_ROUTES: Final = {Api.COMPLETIONS: "/v1/completions", Api.CHAT: "/v1/chat/completions"}
_OVERLOADED: Final = (408, 425, 429, 503)

Outcome = Success | Failure


class Client:
    """Sends requests of one model to one server; use within `connect`."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, model: str) -> None:
        self._session = session
        self._endpoint = endpoint
        self._model = model
        self._url = endpoint.base_url + _ROUTES[endpoint.api]

    async def generate(
        self, prompt: str, output_tokens: int, on_first_token: Callable[[], None] | None = None
    ) -> Outcome:
        """Streams one answer of exactly `output_tokens` tokens; never raises for what a server can do wrong."""
        stream = TokenStream(max_events=_EVENTS_PER_TOKEN * output_tokens + _SPARE_EVENTS)
        started_s = time.perf_counter()
        try:
            async with self._session.post(
                self._url, data=self._body(prompt, output_tokens), allow_redirects=False
            ) as response:
                if response.status != 200:
                    return self._refused(response.status, await _read_start(response))
                async for data in response.content.iter_any():
                    waiting = stream.first_token_s is None
                    stream.feed(data, time.perf_counter())
                    if waiting and stream.first_token_s is not None and on_first_token is not None:
                        on_first_token()
            return self._outcome(stream, started_s, output_tokens)
        except TimeoutError:
            return self._failure(ErrorKind.STALLED, "the server sent nothing for too long")
        except (aiohttp.ClientError, OSError) as error:
            return self._failure(ErrorKind.CONNECTION, str(error) or type(error).__name__)
        except MalformedStreamError as error:
            return self._failure(ErrorKind.MALFORMED, str(error))

    async def get_json(self, path: str) -> dict[str, Any] | None:
        """An optional page of the server, such as `/version`; None when it has none."""
        text = await self.get_text(path)
        content = json_or_none(text or "")
        return content if isinstance(content, dict) else None

    async def get_text(self, path: str) -> str | None:
        """The start (1 MiB) of an optional page of the server; None when it has none."""
        try:
            async with self._session.get(self._endpoint.base_url + path, allow_redirects=False) as response:
                return await _read_start(response) if response.status == 200 else None
        except (aiohttp.ClientError, OSError):
            return None

    def _body(self, prompt: str, output_tokens: int) -> bytes:
        """`ignore_eos` and `min_tokens` are extensions of vLLM and SGLang; without them answers end when they like."""
        body: dict[str, Any] = {
            "model": self._model,
            "max_tokens": output_tokens,
            "min_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._endpoint.api is Api.CHAT:
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        return json.dumps(body).encode()

    def _outcome(self, stream: TokenStream, started_s: float, output_tokens: int) -> Outcome:
        last_token_s, usage, error = stream.finish()
        if error is not None:
            return self._failure(ErrorKind.SERVER, error)
        if stream.first_token_s is None or last_token_s is None:
            return self._failure(ErrorKind.MALFORMED, "the answer holds no token")
        if not stream.done:
            return self._failure(ErrorKind.CONNECTION, "the stream broke off before [DONE]")
        prompt_tokens, completion_tokens = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        if prompt_tokens is None or completion_tokens is None:
            return self._failure(ErrorKind.NO_USAGE, "the stream ended without token counts (usage)")
        if completion_tokens != output_tokens:
            detail = f"{completion_tokens} tokens came instead of {output_tokens}"
            return self._failure(ErrorKind.WRONG_LENGTH, detail)
        return Success(
            started_s=started_s,
            first_token_s=stream.first_token_s,
            last_token_s=last_token_s,
            finished_s=time.perf_counter(),
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )

    def _refused(self, status: int, body: str) -> Failure:
        kind = ErrorKind.SERVER
        if status in _OVERLOADED:
            kind = ErrorKind.OVERLOADED
        elif status < 500:
            kind = ErrorKind.REFUSED
        return self._failure(kind, f"HTTP {status}: {body}")

    def _failure(self, kind: ErrorKind, detail: str) -> Failure:
        """One printable line; a server that echoes the key must not bring it into a file."""
        if self._endpoint.api_key:
            detail = detail.replace(self._endpoint.api_key, "***")
        line = "".join(character if character.isprintable() else " " for character in " ".join(detail.split()))
        shown = line if len(line) <= _LONGEST_DETAIL else line[:_LONGEST_DETAIL] + "…"
        return Failure(kind=kind, detail=shown, finished_s=time.perf_counter())


@asynccontextmanager
async def connect(endpoint: Endpoint, model: str, *, stall_timeout_s: float) -> AsyncIterator[Client]:
    """A client without limits of its own on the number of connections. Proxies from the environment are not used."""
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    if endpoint.api_key:
        headers["Authorization"] = f"Bearer {endpoint.api_key}"
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=stall_timeout_s)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as session:
        yield Client(session, endpoint, model)
        # Streams that were cut off must be closed before the loop is, or their sockets warn.
        await asyncio.sleep(0)


async def _read_start(response: aiohttp.ClientResponse) -> str:
    """At most 1 MiB of a body."""
    content = b""
    async for data in response.content.iter_any():
        content += data
        if len(content) > _MAX_BODY_BYTES:
            break
    return content[:_MAX_BODY_BYTES].decode("utf-8", errors="replace")


def _count(usage: dict[str, Any] | None, name: str) -> int | None:
    value = None if usage is None else usage.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _parse(payload: bytes) -> dict[str, Any]:
    """One event. Raises MalformedStreamError when it is no JSON object."""
    event = json_or_none(payload)
    if not isinstance(event, dict):
        raise MalformedStreamError(f"an event of the stream is no JSON object: {payload[:60]!r}")
    return event


def _has_token(event: dict[str, Any]) -> bool:
    """Whether an event carries generated text. A chat stream's opening event carries only the role.

    A completion event counts even when its text is empty: half of a character is a token too.
    """
    choices = event.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        return False
    choice = choices[0]
    if "delta" not in choice:
        return "text" in choice
    delta = choice["delta"]
    return isinstance(delta, dict) and any(value for name, value in delta.items() if name != "role")
