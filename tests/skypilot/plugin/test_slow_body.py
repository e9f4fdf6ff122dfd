"""A body that does not come to its end is given up, and nobody's place is taken for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sky_melange.skypilot.plugin import answers
from sky_melange.skypilot.plugin.answers import RefusedError, read_body


def _read(chunks: list[bytes], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The body of a request that sends these and then nothing more."""
    from starlette.requests import Request

    async def receive() -> dict[str, Any]:
        if not chunks:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": chunks.pop(0), "more_body": True}

    monkeypatch.setattr(answers, "_MOST_S", 0.05)
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}
    return asyncio.run(read_body(Request(scope, receive), limit_bytes=100))


@pytest.mark.parametrize("chunks", [[], [b"{"], [b"{", b'"workload"'] + [b""] * 5])
def test_a_body_that_never_ends_is_408(chunks: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedError) as caught:
        _read(chunks, monkeypatch)
    assert caught.value.status == 408
    assert "did not arrive within 0.05 s" in caught.value.detail[0]["message"]


def test_one_that_is_too_long_is_refused_before_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RefusedError) as caught:
        _read([b"x" * 60, b"x" * 60], monkeypatch)
    assert caught.value.status == 413
