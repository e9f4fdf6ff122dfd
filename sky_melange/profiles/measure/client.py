"""One streaming request to an OpenAI-compatible server. The only home of `aiohttp`.

aiohttp and not httpx, which SkyPilot also brings: docs/decisions/040 has the figures.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp

from sky_melange.profiles.measure.results import ErrorKind, Failure, Success
from sky_melange.profiles.measure.spec import Api, Endpoint
from sky_melange.profiles.measure.sse import MalformedStreamError, TokenStream
from sky_melange.untrusted import json_or_none

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
