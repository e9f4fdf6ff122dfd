"""A request's body: of the right kind, bounded in length and time. Worker processes look at what is in it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from sky_melange.skypilot.plugin.answers import problem

if TYPE_CHECKING:
    from fastapi import Request

_MOST_S: Final = 30.0


class RefusedError(Exception):
    """The request is answered with this; `retry_after_s` says when to come again."""

    def __init__(
        self, status: int, code: int, detail: list[dict[str, str]], *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(f"{status}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s


async def read_body(request: Request, *, limit_bytes: int) -> bytes:
    """The bytes of a JSON body. Raises RefusedError: 415 no JSON by its own account, 413 too long, 408 too slow.

    At most `limit_bytes` and one chunk are ever held, whatever the request says of its length.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    # A page elsewhere can send a form or plain text in a user's name without being asked; JSON it cannot.
    if kind != "application/json":
        raise RefusedError(415, 2, [problem("want Content-Type: application/json", where="body")])
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > limit_bytes:
        raise _too_long(limit_bytes)
    try:
        return await asyncio.wait_for(_received(request, limit_bytes), _MOST_S)
    except TimeoutError:
        raise RefusedError(408, 2, [problem(f"did not arrive within {_MOST_S:g} s", where="body")]) from None


async def _received(request: Request, limit_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise _too_long(limit_bytes)
    return bytes(body)


def _too_long(limit_bytes: int) -> RefusedError:
    message = f"is longer than {limit_bytes} bytes, the most that is read"
    return RefusedError(413, 2, [problem(message, where="body")])
