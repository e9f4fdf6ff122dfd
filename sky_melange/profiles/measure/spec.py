"""What to measure, and how thoroughly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from sky_melange.domain.profile import ProfileKey
from sky_melange.domain.workload import Slo
from sky_melange.errors import Mistake

DEFAULT_GRID: Final = "25,500,2000,8000x25,250,1000"
DEFAULT_CONCURRENCIES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Doublings: between two of them a latency that rises as the square root of the concurrency is within 1.5 % of the
straight line that planning draws. All shapes share them, because planning interpolates at equal concurrency."""


class Api(StrEnum):
    """Which OpenAI-compatible route is driven."""

    COMPLETIONS = "completions"
    CHAT = "chat"


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Shape:
    """One request size as asked for, tokens. The prompt as the server counts it is in the results."""

    input_tokens: int
    output_tokens: int

    def __str__(self) -> str:
        return f"{self.input_tokens} in × {self.output_tokens} out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long each concurrency is held.

    A level ends once max(`min_requests`, `rounds` × concurrency) requests lie wholly in the steady window, or after
    `level_limit_s`. `stall_timeout_s`: no byte for this long fails a request. Above `max_error_fraction` failing
    requests a level is not used. `min_gain_fraction`: two levels in a row without this much more throughput end a
    shape. `seed` fixes prompts and the lengths of the warm-up requests.
    """

    min_requests: int = 12
    rounds: float = 2.0
    stall_timeout_s: float = 60.0
    level_limit_s: float = 900.0
    max_error_fraction: float = 0.2
    min_gain_fraction: float = 0.02
    seed: int = 0

    def samples(self, concurrency: int) -> int:
        """Requests wholly in the steady window that one level needs."""
        return max(self.min_requests, round(self.rounds * concurrency))


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the server is: `base_url` without `/v1`. The key goes into a header and nowhere else."""

    base_url: str
    api: Api = Api.COMPLETIONS
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureSpec:
    """One measurement. `engine_version` and `kv_cache_tokens` are None where the server is to be asked.

    `served_model` is the name to send, which servers may choose freely; `key.model` is the model's own name.
    """

    key: ProfileKey
    served_model: str
    api: Api
    shapes: tuple[Shape, ...]
    concurrencies: tuple[int, ...]
    slo: Slo | None = None
    engine_version: str | None = None
    engine_args: Mapping[str, str] = field(default_factory=dict)
    kv_cache_tokens: int | None = None
    effort: Effort = Effort()


_SUFFIXES: Final = ("/v1/completions", "/v1/chat/completions", "/v1")
_LONGEST_QUOTE: Final = 80


def base_url(url: str) -> str | Mistake:
    """The URL without a trailing `/v1` or route, or what is wrong with it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return _unfit(f"is no URL: {error}")
    if parts.username or parts.password:
        return _unfit("may not hold a password; name the environment variable that has the key: --api-key-env NAME")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return _unfit(f"want a URL such as http://127.0.0.1:8000, found {url[:_LONGEST_QUOTE]!r}")
    if parts.query or parts.fragment:
        return _unfit("may not hold a query or a fragment")
    path = parts.path.rstrip("/")
    for suffix in _SUFFIXES:
        path = path.removesuffix(suffix)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _unfit(message: str) -> Mistake:
    return Mistake(source="--endpoint", message=message)
