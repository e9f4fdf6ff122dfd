"""What came out: of one request, of one concurrency, of one shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sky_melange.profiles.measure.spec import Shape


class ErrorKind(StrEnum):
    """Why a request failed."""

    CONNECTION = "connection"
    STALLED = "stalled"
    OVERLOADED = "overloaded"
    REFUSED = "refused"
    SERVER = "server"
    MALFORMED = "malformed"
    WRONG_LENGTH = "wrong length"
    NO_USAGE = "no usage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that did not do what was asked; `detail` is one line for people."""

    kind: ErrorKind
    detail: str
    finished_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A request served in full. Times are of one monotonic clock, seconds; token counts are the server's."""

    started_s: float
    first_token_s: float
    last_token_s: float
    finished_s: float
    prompt_tokens: int
    completion_tokens: int

    @property
    def ttft_s(self) -> float:
        """Seconds from sending the request to the first token."""
        return self.first_token_s - self.started_s

    @property
    def tpot_s(self) -> float | None:
        """Mean seconds per token after the first; None for a single token."""
        if self.completion_tokens < 2:
            return None
        return (self.last_token_s - self.first_token_s) / (self.completion_tokens - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Statistics of one latency within the steady window, seconds.

    `standard_error` is that of the mean, from means of batches in time; None with too few requests.
    """

    mean: float
    p50: float
    p99: float
    standard_error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelResult:
    """One shape at one concurrency, within the steady window.

    `input_tokens`: mean prompt length by the server's count. `requests`: those that TTFT and TPOT are means of.
    `completed`: all that finished in the window of `window_s` seconds, so completed ÷ window_s is a request rate too.
    `errors`: failed requests in the window by kind. `client_lag_s`: how late the client's own event loop ran, mean.
    """

    shape: Shape
    concurrency: int
    input_tokens: float
    requests: int
    completed: int
    window_s: float
    elapsed_s: float
    ttft_s: Spread
    tpot_s: Spread
    errors: Mapping[str, int]
    client_lag_s: float

    @property
    def request_rate_rps(self) -> float:
        """Little's law, as planning uses it: steadier than a count over a window of few requests."""
        latency_s = self.ttft_s.mean + self.tpot_s.mean * (self.shape.output_tokens - 1)
        return self.concurrency / latency_s

    @property
    def counted_rate_rps(self) -> float:
        """Requests/s that were served in full in the window."""
        return self.completed / self.window_s

    @property
    def error_count(self) -> int:
        """Failed requests in the window."""
        return sum(self.errors.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelFailure:
    """A level that gave no usable figures, with the reason.

    `suspect`: whether the server itself may be gone, which is worth a look before going on. `refused`: whether the
    server said that it does not serve such requests at all.
    """

    reason: str
    suspect: bool = False
    refused: bool = False


class EndKind(StrEnum):
    """Why a shape is finished."""

    SLO = "slo"
    THROUGHPUT = "throughput"
    CONCURRENCY = "concurrency"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeEnd:
    """A shape is finished; `reason` in words.

    REFUSED: the server does not serve this size at all. FAILED: the last concurrency tried gave no figures.
    """

    shape: Shape
    kind: EndKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What the server says of itself; `kv_cache_tokens` is None where it does not say."""

    engine_version: str
    kv_cache_tokens: int | None
