"""The front door of a plan: what it is, and how it tells the size of a request."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class RouterKind(StrEnum):
    """The program that runs on the router's machine; `none`: there is no such machine and no router files."""

    HAPROXY = "haproxy"
    LITELLM = "litellm"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """How requests reach the replica groups.

    HAProxy knows a request's bytes, not its tokens: input tokens = (body - `envelope_bytes`) / `bytes_per_token`.
    `envelope_bytes` is the JSON around the prompt; None: that of a minimal chat request for the model. The router
    listens on `port`.
    """

    kind: RouterKind = RouterKind.HAPROXY
    bytes_per_token: float = 4.0
    envelope_bytes: int | None = None
    port: int = 8080
