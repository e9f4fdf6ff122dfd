"""What a request log says once it is counted: requests by size, by window of time, and what was left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from sky_melange.domain.buckets import BucketSize, TokenGrid
from sky_melange.domain.digest import in_order
from sky_melange.domain.hours import HourCount, Hours
from sky_melange.domain.router import SizeFit

CALENDAR_FROM_S: Final = 100_000_000
"""Times from here on (1973-03-03) are seconds since 1970, UTC; smaller ones are seconds since the log began."""


BURST_REQUESTS: Final = 5
"""Mean requests in the windows of a scale from which on it can tell bursts from chance."""

BURST_SCALES_S: Final = (10, 60, 600, 3600)

BURSTS_GROW: Final = 2.0
"""An Allan factor that is so many times as large at the next scale is not that of gaps, at which it stays."""


class TimeUnit(StrEnum):
    """Unit of numbers in a time column. `auto`: told by their size, which only works for times since 1970."""

    AUTO = "auto"
    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


class Rejection(StrEnum):
    """Why a row of a log is not counted. The first that applies, in this order."""

    INPUT_MISSING = "input_missing"
    INPUT_NOT_A_NUMBER = "input_not_a_number"
    INPUT_NOT_FINITE = "input_not_finite"
    INPUT_NEGATIVE = "input_negative"
    INPUT_TOO_LARGE = "input_too_large"
    INPUT_NOT_WHOLE = "input_not_whole"
    INPUT_ZERO = "input_zero"
    OUTPUT_MISSING = "output_missing"
    OUTPUT_NOT_A_NUMBER = "output_not_a_number"
    OUTPUT_NOT_FINITE = "output_not_finite"
    OUTPUT_NEGATIVE = "output_negative"
    OUTPUT_TOO_LARGE = "output_too_large"
    OUTPUT_NOT_WHOLE = "output_not_whole"
    OUTPUT_ZERO = "output_zero"
    TIME_MISSING = "time_missing"
    TIME_UNREADABLE = "time_unreadable"
    TIME_UNIT_UNKNOWN = "time_unit_unknown"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    FAILED = "failed"
    FROM_CACHE = "from_cache"
    NO_GENERATION = "no_generation"
    NOT_A_REQUEST = "not_a_request"
    REPEATED = "repeated"
    OUTSIDE_PERIOD = "outside_period"


REJECTION_MEANINGS: Final[Mapping[Rejection, str]] = {
    Rejection.INPUT_MISSING: "no input token count",
    Rejection.INPUT_NOT_A_NUMBER: "input token count is not a number",
    Rejection.INPUT_NOT_FINITE: "input token count is NaN or infinite",
    Rejection.INPUT_NEGATIVE: "input token count is negative",
    Rejection.INPUT_TOO_LARGE: "input token count is over 100,000,000",
    Rejection.INPUT_NOT_WHOLE: "input token count is not a whole number",
    Rejection.INPUT_ZERO: "0 input tokens",
    Rejection.OUTPUT_MISSING: "no output token count",
    Rejection.OUTPUT_NOT_A_NUMBER: "output token count is not a number",
    Rejection.OUTPUT_NOT_FINITE: "output token count is NaN or infinite",
    Rejection.OUTPUT_NEGATIVE: "output token count is negative",
    Rejection.OUTPUT_TOO_LARGE: "output token count is over 100,000,000",
    Rejection.OUTPUT_NOT_WHOLE: "output token count is not a whole number",
    Rejection.OUTPUT_ZERO: "0 output tokens: a failed request",
    Rejection.TIME_MISSING: "no time",
    Rejection.TIME_UNREADABLE: "time is in no known format",
    Rejection.TIME_UNIT_UNKNOWN: "time is a small number of unknown unit",
    Rejection.FAILED: "the gateway says that the request failed",
    Rejection.FROM_CACHE: "answered from the gateway's cache, so no GPU works for it",
    Rejection.NO_GENERATION: "an embedding or another call that generates no tokens",
    Rejection.NOT_A_REQUEST: "another event or step than a request to a model",
    Rejection.REPEATED: "another row of a request that is counted, by its id or its parent's",
    Rejection.OUTSIDE_PERIOD: "before --since, or not before --until",
    Rejection.TIME_OUT_OF_RANGE: "time lies before 1970, before the log's zero, or after 9999",
}


@dataclass(frozen=True, kw_only=True)
class NamedColumns:
    """Columns of a log by what they hold. `model` names that of a request, where a log may hold several.

    `id` is the same for all rows of one request. `blocks` lists the ids of a prompt's blocks of `block_tokens`: prompts
    that begin alike share them.
    """

    __slots__ = ()
    input: str
    output: str
    time_unit: TimeUnit = TimeUnit.AUTO
    model: str | None = None
    id: str | None = None
    blocks: str | None = None
    block_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogColumns(NamedColumns):
    """Which columns of a log hold what. `time` None: the log has no times. `layout` names the format, for reports.

    `bytes` holds the bytes of a request's body, or of its prompt. `unused` are further columns that change what a plan
    is worth, each with what it says.
    """

    time: str | None = None
    bytes: str | None = None
    layout: str = "columns as given"
    unused: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As reports and presets state it."""
        first = ("input", "output", "time", "bytes", "time_unit", "layout", "model", "id", "unused")
        return in_order(asdict(self), first)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixCache:
    """Of each of `replicas` that get a log's requests in turn: so many tokens of the prompts used last."""

    tokens: int
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixHits:
    """`fraction` of all prompt tokens were found in `cache`."""

    cache: PrefixCache
    fraction: float

    def __str__(self) -> str:
        each = f"{self.cache.replicas:,} replicas that get requests in turn, {self.cache.tokens:,} tokens each"
        where = each if self.cache.replicas > 1 else f"one replica, {self.cache.tokens:,} tokens"
        return f"{self.fraction:.1%} of the prompt tokens are found in a prefix cache (least recently used; {where})."


MUCH_LARGER: Final = 1.1
"""By so much larger requests of an hour are more than what they are planned as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HourSizes:
    """Hours of a cycle whose requests are alike in size, and how many are in each bucket (a row per input edge).

    `worst`: how many times as many input or output tokens, whichever is more, the requests of one of its hours have on
    average. `untold`: so many of them have too few requests to tell.
    """

    hours: tuple[int, ...]
    requests: tuple[tuple[int, ...], ...]
    mean_input_tokens: float
    mean_output_tokens: float
    worst: float
    untold: int = 0

    @property
    def name(self) -> str:
        """`1052-in-1354-out`."""
        return f"{self.mean_input_tokens:.0f}-in-{self.mean_output_tokens:.0f}-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """How a log is counted.

    `columns` None: recognised by their names. `buckets`: `melange`, `extend`, `auto:K`, or edges `25,100x25,100`.
    `rate_percentile` is in 0..100, over windows of `window_s` whole seconds. `where` says which rows are the traffic
    (see traces/where.py), `model_column` which column names the model. Requests from `since_s` on and before `until_s`
    are counted, both as the log's times. `prefix_cache`: what it would have found is measured. `hours`: the rate is
    counted by hour, too. `by_hour`: so are the sizes, and nobody need be told that they differ.
    """

    columns: LogColumns | None = None
    time_unit: TimeUnit | None = None
    buckets: str = "melange"
    window_s: int = 60
    rate_percentile: float = 99.0
    where: str | None = None
    model_column: str | None = None
    since_s: int | None = None
    until_s: int | None = None
    prefix_cache: PrefixCache | None = None
    hours: HourCount | None = None
    by_hour: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursReference:
    """A file that a workload names for its `traffic.hours`; `options` say how it is counted, their `hours` by what."""

    file: str
    options: TraceOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceReference:
    """Where a workload's traffic comes from: the files of a log, or a preset; exactly one.

    `request_rate_rps` overrides the log's own rate.
    """

    files: tuple[str, ...] = ()
    preset: str | None = None
    request_rate_rps: float | None = None
    options: TraceOptions = TraceOptions()
    bucket_size: BucketSize = BucketSize.UPPER


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The requests of one bucket and the sums of their tokens."""

    input_index: int
    output_index: int
    requests: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """Valid requests beyond the last edge of an axis: how many, and the sums of their tokens."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSummary:
    """Requests per second by window.

    Windows are `window_s` seconds long; one begins at every second, so they overlap. `windows` lie within the log, and
    so are `complete`; where the log is shorter than a window, there is one and none is complete. `empty` ones have no
    request. `planned_rps` is the percentile and `peak_rps` the most of any window, `mean_rps` that of the log;
    `dispersion` is variance ÷ mean of the requests in a window (1 for a Poisson process; None with a single window).
    `hour_of_week[day from Monday][hour UTC]` in requests/s, None where the log says nothing; None without a calendar.
    `over_time` are (start in seconds, requests/s) of at most some hundred equal spans, for a chart. `burstiness` are
    (seconds, Allan factor): half the mean square of the change from one window of so many seconds to the next ÷ the
    mean number of requests in one. 1 for a Poisson process, and for gaps of coefficient of variation c about c²; slow
    changes, as over a day, do not count. `hours`: the rate to plan for in each hour, where that was asked for.
    """

    window_s: int
    percentile: float
    windows: int
    complete: int
    empty: int
    first_s: int
    last_s: int
    planned_rps: float
    mean_rps: float
    peak_rps: float
    dispersion: float | None
    hour_of_week: tuple[tuple[float | None, ...], ...] | None
    over_time: tuple[tuple[int, float], ...]
    burstiness: tuple[tuple[int, float], ...] = ()
    hours: Hours | None = None

    @property
    def burst_scale_s(self) -> int | None:
        """The shortest scale, of ten seconds or more, that says how bursty the log is: its windows hold some requests.

        In windows of less than a few, every process looks like Poisson's. None where no scale does, or where the times
        do not say it of that scale.
        """
        enough = (scale_s for scale_s in BURST_SCALES_S if scale_s * self.mean_rps >= BURST_REQUESTS)
        shortest = min(enough, default=None)
        return shortest if shortest in dict(self.burstiness) else None

    @property
    def gap_cv(self) -> float | None:
        """The coefficient of variation of gaps with which drawn arrivals ask for the fleet that the log asks for.

        The square root of the Allan factor at `burst_scale_s`. Where the factor still grows at the next scale, the log
        has bursts of all lengths, which no spread of gaps has: as spread as it is over ten seconds they would all be
        within one. A mean of the factors at one and at ten seconds stands for it then (decision 260).
        """
        if self.burst_scale_s is None:
            return None
        factors = dict(self.burstiness)
        factor = factors[self.burst_scale_s]
        second, longer = (factors.get(scale_s) for scale_s in (1, 6 * self.burst_scale_s))
        if self.burst_scale_s == BURST_SCALES_S[0] and second and longer and longer > BURSTS_GROW * factor:
            factor = math.exp((math.log(second) + 2 * math.log(factor)) / 3) if factor > second else factor
        return math.sqrt(factor)

    @property
    def has_calendar(self) -> bool:
        """Whether times are dates, not seconds since the log began."""
        return self.first_s >= CALENDAR_FROM_S


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """A counted log. `source` says in words where it comes from.

    `cells` are those with requests, by input then output index of `grid`. `rate` is None for a log without times.
    `fit` and `input_parts` (as in `Traffic`, requests) are None for a log without bytes.
    `time_reading` says in a sentence which unit its times were taken to be in, and why, where that had to be found out.
    `notes` are sentences on what a reader should know: rows left out, requests outside the grid, guesses made.
    """

    source: str
    columns: LogColumns
    grid: TokenGrid
    cells: tuple[Cell, ...]
    outside: Outside = Outside()
    rejected: Mapping[Rejection, int] = field(default_factory=dict)
    zoneless: int = 0
    rate: RateSummary | None = None
    time_reading: str | None = None
    notes: tuple[str, ...] = ()
    fit: SizeFit | None = None
    input_parts: tuple[tuple[int, ...], ...] | None = None
    prefix_hits: PrefixHits | None = None

    @property
    def requests_inside(self) -> int:
        """Requests in the histogram."""
        return sum(cell.requests for cell in self.cells)

    @property
    def requests(self) -> int:
        """Valid requests: in the histogram and outside it."""
        return self.requests_inside + self.outside.requests

    @property
    def rows_rejected(self) -> int:
        """Rows that are not counted."""
        return sum(self.rejected.values())

    def counts(self) -> tuple[tuple[int, ...], ...]:
        """`[input bucket][output bucket]`, requests."""
        found = {(cell.input_index, cell.output_index): cell.requests for cell in self.cells}
        return tuple(
            tuple(found.get((i, j), 0) for j in range(len(self.grid.output_edges)))
            for i in range(len(self.grid.input_edges))
        )
