"""Server-sent events as the OpenAI-compatible servers send them: `data: {json}` lines, then `data: [DONE]`."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from sky_melange.errors import SkyMelangeError
from sky_melange.untrusted import json_or_none

MAX_LINE_BYTES: Final = 1024**2
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
        if len(self._buffer) > MAX_LINE_BYTES:
            raise MalformedStreamError(f"a line of the stream is longer than {MAX_LINE_BYTES} bytes")
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
        if self.first_token_s is None and has_token(parse(payload)):
            self.first_token_s = now_s

    def finish(self) -> tuple[float | None, dict[str, Any] | None, str | None]:
        """(time of the last token, usage, error message) from the last events, each None when absent."""
        last_token_s: float | None = None
        usage: dict[str, Any] | None = None
        error: str | None = None
        for now_s, payload in self._tail:
            event = parse(payload)
            if has_token(event):
                last_token_s = now_s
            if isinstance(event.get("usage"), dict):
                usage = event["usage"]
            if "error" in event:
                error = json.dumps(event["error"], ensure_ascii=False)
        return last_token_s, usage, error


def parse(payload: bytes) -> dict[str, Any]:
    """One event. Raises MalformedStreamError when it is no JSON object."""
    event = json_or_none(payload)
    if not isinstance(event, dict):
        raise MalformedStreamError(f"an event of the stream is no JSON object: {payload[:60]!r}")
    return event


def has_token(event: dict[str, Any]) -> bool:
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
