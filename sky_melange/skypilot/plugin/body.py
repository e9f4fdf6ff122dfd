"""A request's body: of the right kind, bounded, and of the right form."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from sky_melange.skypilot.plugin.answers import INVALID, problem

if TYPE_CHECKING:
    from fastapi import Request

_Model = TypeVar("_Model", bound=BaseModel)
_MOST_SHOWN = 20


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


async def read_body(request: Request, model: type[_Model], *, limit_bytes: int) -> _Model:
    """The body as a model. Raises RefusedError: 415 no JSON by its own account, 413 too long, 422 of another form.

    At most `limit_bytes` and one chunk are ever held, whatever the request says of its length.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    # A page elsewhere can send a form or plain text in a user's name without being asked; JSON it cannot.
    if kind != "application/json":
        raise RefusedError(415, 2, [problem("want Content-Type: application/json", where="body")])
    stated = request.headers.get("content-length", "")
    if stated.isdecimal() and int(stated[:20]) > limit_bytes:
        raise _too_long(limit_bytes)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            raise _too_long(limit_bytes)
    try:
        return model.model_validate_json(bytes(body))
    except ValidationError as error:
        raise RefusedError(INVALID, 2, _mistakes(error)) from None


def _too_long(limit_bytes: int) -> RefusedError:
    message = f"is longer than {limit_bytes} bytes, the most that is read"
    return RefusedError(413, 2, [problem(message, where="body")])


def _mistakes(error: ValidationError) -> list[dict[str, str]]:
    """Without what was sent: it may be long, or a secret."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        problem(entry["msg"], where=".".join(["body", *(str(part)[:60] for part in entry["loc"])]))
        for entry in found[:_MOST_SHOWN]
    ]
