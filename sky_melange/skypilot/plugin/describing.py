"""How routes describe themselves in OpenAPI: bodies are read bounded, so FastAPI does not see them."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from sky_melange.skypilot.plugin.models import Failure

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


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` for refusals."""
    return {status: {"model": Failure, "description": _WORDS[status]} for status in sorted({*statuses})}


def body_of(model: type[BaseModel], *, is_required: bool = True) -> dict[str, Any]:
    """FastAPI's `openapi_extra` for a body that is read by `body.read_body`."""
    return {
        "requestBody": {"required": is_required, "content": {"application/json": {"schema": model.model_json_schema()}}}
    }
