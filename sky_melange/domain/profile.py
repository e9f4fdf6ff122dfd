"""What one replica sustains, and how we know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

from sky_melange.domain.units import s_to_ms

Interval: TypeAlias = tuple[float, float]
"""Multiples of a predicted figure between which the truth is in four of five cases: a tenth is beyond either end."""

TO_END: Final = math.log2(0.5 / 0.1)
"""Power of 1 + a typical error at the ends of an Interval, where errors are as large on both sides."""


class ProfileKind(StrEnum):
    """How a throughput came to be, from the most to the least trustworthy."""

    MEASURED = "measured"
    FITTED = "fitted"
    PUBLISHED = "published"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileError:
    """Error of a profile against measured runs: absolute relative errors as fractions, None where not known.

    `runs` is the number of runs compared with, `basis` says which in one sentence. The intervals are those of held-out
    cases, where each end was found by itself; None: as far on both sides as the fraction says.
    """

    statistic: str
    tpot_fraction: float | None
    ttft_fraction: float | None
    request_rate_fraction: float | None
    runs: int
    basis: str
    tpot_interval: Interval | None = None
    request_rate_interval: Interval | None = None

    @property
    def tpot_within(self) -> Interval | None:
        """The interval of TPOT, however it is known."""
        if self.tpot_interval is None and self.tpot_fraction is not None:
            return either_side(self.tpot_fraction)
        return self.tpot_interval

    @property
    def request_rate_within(self) -> Interval | None:
        """The interval of the request rate, however it is known."""
        if self.request_rate_interval is None and self.request_rate_fraction is not None:
            return either_side(self.request_rate_fraction)
        return self.request_rate_interval


def either_side(fraction: float) -> Interval:
    """The interval of errors that are as large on both sides, by the typical one."""
    end = math.pow(1.0 + fraction, TO_END)
    return 1.0 / end, end


def interval_text(interval: Interval | None) -> str:
    """`-20…+8%` of what is predicted; `?` where it is not known."""
    return "?" if interval is None else f"{100 * (interval[0] - 1):+.0f}…{100 * (interval[1] - 1):+.0f}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileProvenance:
    """Where a profile comes from; `fetched_at` is the ISO date of the data.

    `continued_from`: the sizes that were measured, where a law is used far beyond them, with `error` grown accordingly.
    `slower_by`: latencies are so many times those of the source, the pessimistic end of `error`.
    """

    kind: ProfileKind
    source: str
    fetched_at: str
    error: ProfileError | None
    notes: tuple[str, ...] = ()
    continued_from: str = ""
    slower_by: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PartialKey:
    """What is known of a `ProfileKey`, or asked for; None: nothing."""

    __slots__ = ()
    model: str | None = None
    tensor_parallel: int | None = None
    dtype: str | None = None
    engine: str | None = None


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class ProfileKey:
    """What a profile is of. `dtype` is the precision of the weights (`bfloat16`, `fp8`).

    `layout` says how the `tensor_parallel` GPUs share the work: empty for plain tensor parallelism, `ep` for experts
    spread over them, `dp` for attention in as many data-parallel ranks, `dp-ep` for both.
    """

    model: str
    accelerator: str
    tensor_parallel: int
    dtype: str
    engine: str
    layout: str = ""

    @property
    def ranks(self) -> int:
        """Parts of a replica with a KV cache and a batch of their own: a request lives in one of them."""
        return attention_ranks(self.layout, self.tensor_parallel)


def attention_ranks(layout: str, gpus: int) -> int:
    """Data-parallel ranks of a replica on so many GPUs."""
    return gpus if layout.startswith("dp") else 1


Launched: TypeAlias = tuple[str, str, int, str, tuple[tuple[str, str], ...]]
"""What a launch file says of a replica: engine, accelerator, GPUs, layout, engine settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsForm:
    """Rows of (input tokens, output tokens, concurrency) -> (request rate in req/s, TTFT in s, TPOT in s).

    `latencies[(input tokens, output tokens)]` are tuples (concurrency, ttft_s, tpot_s) by rising concurrency.
    A shape that does not fit in memory at a concurrency has no tuple there.
    """

    latencies: Mapping[tuple[int, int], tuple[tuple[int, float, float], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TpotLaw:
    """TPOT, s = fixed + sequence·N^exponent + context·N·(I + O/2) + prefill·N·I/O, at N running requests.

    The cost of one engine step: what it costs at all, the sublinear cost of each running sequence, the reads of its
    KV cache, and the prompt tokens that arrive per step under continuous batching. No coefficient is negative and the
    exponent is in 0..1, so TPOT never falls as N or I rise.
    """

    fixed_s: float
    sequence_s: float
    sequence_exponent: float
    context_s: float
    prefill_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TtftLaw:
    """TTFT, s = fixed + prompt·I + queue·N·I + sequence·N, at N running requests; no coefficient is negative.

    The second term is the request's own prefill, the third the prefills of others that it waits for.
    """

    fixed_s: float
    prompt_s: float
    queue_s: float
    sequence_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRanges:
    """What a fit was made from, or is continued to: (lowest, highest) of each, and the largest of two products.

    `request_tokens` is input + output. `context_tokens` is running requests · (input + output/2), the tokens that the
    KV cache holds on average.
    """

    input_tokens: tuple[int, int]
    output_tokens: tuple[int, int]
    concurrency: tuple[int, int]
    request_tokens: int
    context_tokens: int

    def holds_concurrency(self, concurrency: float) -> bool:
        """Whether so many requests at once were measured."""
        return self.concurrency[0] <= concurrency <= self.concurrency[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyModelForm:
    """TTFT and TPOT as functions of concurrency N, input tokens I and output tokens O.

    At most `max_running` requests run at once, and no more than the KV cache holds; others wait. Of a request's output
    tokens the engine holds `output_share_held` in the KV cache on average: 0.5 where the cache grows as it decodes,
    1 where the engine reserves the whole request.
    """

    tpot: TpotLaw
    ttft: TtftLaw
    ranges: MeasuredRanges
    max_running: int | None
    output_share_held: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedTarget:
    """The latency targets at which the rates of a `MatrixForm` were found, seconds.

    `e2e_s` is request latency. `percentile` (50, 90, 99) is what had to hold; None: the mean, as in our own targets.
    """

    tpot_s: float | None = None
    ttft_s: float | None = None
    ntpot_s: float | None = None
    e2e_s: float | None = None
    percentile: int | None = None

    def __str__(self) -> str:
        limits = (("TPOT", self.tpot_s), ("TTFT", self.ttft_s), ("NTPOT", self.ntpot_s), ("latency", self.e2e_s))
        statistic = "" if self.percentile is None else f"p{self.percentile} "
        return " and ".join(f"{statistic}{name} ≤ {s_to_ms(s):g} ms" for name, s in limits if s is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixForm:
    """Maximum request rates at one stated target (Mélange's own form); nothing is known at any other.

    `request_rates_rps[input bucket][output bucket]`, requests/s of one replica; None: it cannot serve the bucket within
    the target. Edges are the upper ends of the buckets, tokens. `request_latencies_s`, same axes: mean request
    latency at that rate, where the source says it.
    """

    input_edges: tuple[int, ...]
    output_edges: tuple[int, ...]
    request_rates_rps: tuple[tuple[float | None, ...], ...]
    target: StatedTarget
    request_latencies_s: tuple[tuple[float | None, ...], ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One profile. `engine_args` are the engine settings that the figures presume; launch files must repeat them."""

    key: ProfileKey
    engine_version: str
    engine_args: Mapping[str, str]
    kv_cache_tokens: int | None
    form: PointsForm | LatencyModelForm | MatrixForm
    provenance: ProfileProvenance

    @property
    def launched(self) -> Launched:
        """What a launch file must say to run this; `ReplicaGroup.launched` of the groups that it is of."""
        key, settings = self.key, tuple(sorted(self.engine_args.items()))
        return key.engine, key.accelerator, key.tensor_parallel, key.layout, settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The most that one replica sustains on one bucket within the SLO.

    `concurrency` is the number of requests in flight at that rate (Little's law: rate x latency). TTFT and TPOT are
    None where the profile knows only request rates.
    """

    request_rate_rps: float
    concurrency: float
    ttft_s: float | None
    tpot_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingPoint:
    """A steady state of one replica at one request size.

    `running` is how many of the requests run; the others wait for memory, which TTFT includes.
    """

    running: float
    ttft_s: float
    tpot_s: float
    request_rate_rps: float
    extrapolated: bool


class SkipReason(StrEnum):
    """Why a candidate cannot serve a bucket."""

    MEMORY = "memory"
    SLO = "slo"
    OUTSIDE_PROFILE = "outside_profile"
    CONTEXT_LIMIT = "context_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """An absent throughput with its reason: never zero, never silent."""

    reason: SkipReason
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateGrid:
    """What one replica sustains by request size: `cells[input size][output size]`."""

    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    cells: tuple[tuple[Capacity | Skipped, ...], ...]
