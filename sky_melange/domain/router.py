"""The front door of a plan: what it is, and how it tells the size of a request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


def router_cluster(plan_name: str) -> str:
    """The name of the router's cluster."""
    return f"{plan_name}-router"


class RouterKind(StrEnum):
    """The program that runs on the router's machine; `none`: there is no such machine and no router files."""

    HAPROXY = "haproxy"
    LITELLM = "litellm"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeFit:
    """Bytes of a request = `envelope_bytes` + `bytes_per_token` × input tokens, fitted to `requests` of a log.

    Least squares, weighted by 1 ÷ tokens. `error_fraction`: the half-width of the uniform error with their variance.
    """

    bytes_per_token: float
    envelope_bytes: int
    error_fraction: float
    requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """How requests reach the replica groups.

    HAProxy knows a request's bytes, not its tokens: input tokens = (body - `envelope_bytes`) / `bytes_per_token`.
    `envelope_bytes` is the JSON around the prompt; None: that of a minimal chat request for the model, and of every
    further message. The router listens on `port`; `of_fleet`: it is that of a fleet, for several workloads. The
    estimate of a single request is wrong by up to `size_error_fraction`, that of all together by up to
    `size_bias_fraction`: the plan holds within these.
    """

    kind: RouterKind = RouterKind.HAPROXY
    bytes_per_token: float = 4.0
    envelope_bytes: int | None = None
    size_error_fraction: float = 0.15
    size_bias_fraction: float = 0.15
    port: int = 8080
    of_fleet: bool = False

    @classmethod
    def fitted(cls, fit: SizeFit) -> RouterSettings:
        """By a log. What is served later is taken to differ from it by at most a twentieth on average."""
        return cls(
            bytes_per_token=fit.bytes_per_token,
            envelope_bytes=fit.envelope_bytes,
            size_error_fraction=min(0.5, max(0.01, math.ceil(fit.error_fraction * 100) / 100)),
            size_bias_fraction=0.05,
        )
