"""Errors as the plugin answers them: `{"code": the command line's exit code, "detail": [{where, message, help}]}`."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from sky_melange.errors import InputError, Mistake, PriceSourceError, SkyMelangeError
from sky_melange.skypilot.plugin.models import Failure

if TYPE_CHECKING:
    from pydantic import ValidationError


if TYPE_CHECKING:
    from fastapi import Request


_WORDS: Final = {
    404: "There is no such plan, or it is another user's.",
    408: "The body did not arrive in time.",
    409: "The user has as many stored plans as one may have.",
    413: "The body is too long.",
    415: "The body is not JSON by its own account.",
    422: "The request is invalid, infeasible, over its budget, or lacks a price or a profile; `code` says which.",
    424: "No price source could be reached, or none is fresh enough.",
    429: "Too many requests are waiting, of this user or of all.",
    500: "The database of stored plans cannot be used.",
}
OF_WORK: Final = (422, 424, 429)
OF_BODIES: Final = (408, 413, 415)

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


INVALID: Final = 422
_MOST_SHOWN: Final = 20
_NO_PRICES: Final = 424
_HELP: Final = {
    1: "please report this",
    2: "mend every place that is listed, and send it again",
    3: "raise the limit that is named, or plan again",
    4: "loosen slo, or allow more candidates",
    5: "use one of those that are listed",
    6: "the server's administrator sees to its access to prices, or loosen prices.max_age_hours",
    7: "make the workload smaller, or loosen solver.mip_gap",
}
_TEMPORARY: Final = re.compile(r"/(?:[^\s/'\"]+/)*sky-melange-[a-z0-9_]{8}/")


def problem(message: str, *, where: str = "", help_text: str = "") -> dict[str, str]:
    """One entry of `detail`."""
    return {"where": where, "message": message, "help": help_text}


def answer_of_error(error: SkyMelangeError) -> dict[str, Any]:
    """Status, exit code and every mistake of an error; nothing of where the server keeps files."""
    code = error.exit_code
    status = _NO_PRICES if isinstance(error, PriceSourceError) else 500 if code == 1 else INVALID
    advice = _HELP.get(code, "")
    mistakes = error.mistakes if isinstance(error, InputError) else ()
    detail = [problem(_plain(entry.message), where=_where(entry), help_text=advice) for entry in mistakes]
    return {"status": status, "code": code, "detail": detail or [problem(_plain(str(error)), help_text=advice)]}


def answer_of_body(error: ValidationError) -> dict[str, Any]:
    """For a body of another form; without what was sent: it may be long, or a secret."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    detail = [
        problem(entry["msg"], where=".".join(["body", *(str(part)[:60] for part in entry["loc"])]), help_text=_HELP[2])
        for entry in found[:_MOST_SHOWN]
    ]
    return {"status": INVALID, "code": 2, "detail": detail}


def bug_answer(message: str, *, status: int = 500, code: int = 1) -> dict[str, Any]:
    """What is answered where no error of ours says more."""
    return {"status": status, "code": code, "detail": [problem(message, help_text=_HELP[code])]}


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


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for refusals."""
    return {status: {"model": Failure, "description": _WORDS[status]} for status in sorted({*statuses})}


def body_of(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for a body that is read by `body.read_body`."""
    return {
        "requestBody": {"required": is_required, "content": {"application/json": {"schema": model.model_json_schema()}}}
    }


def _where(entry: Mistake) -> str:
    source = _plain(entry.source)
    place = source if entry.line is None else f"{source}:{entry.line}"
    return f"{place}: {entry.key}" if entry.key else place


def _plain(text: str) -> str:
    """Without the temporary folder that the work was done in."""
    return _TEMPORARY.sub("", text)


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
