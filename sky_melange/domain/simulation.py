"""What a simulated fleet did to its requests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and percentiles of a latency, seconds."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class Served:
    """How many requests, and their latencies: None where none was served, or none with more than one token."""

    __slots__ = ()
    requests: int
    ttft_s: Spread | None
    tpot_s: Spread | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedGroup(Served):
    """One replica group. Latencies and attainment are None where it served no request.

    `share_fraction`: of all requests, the part that it served. `busy_fraction`: of its replicas' time, the part with a
    step under way. `mean_running`: requests running on a replica while one is; at most `running_limit`.
    `queue_growth_rps`: requests in flight added per second; near 0 in a steady state. `preemptions`: requests put back
    because the KV cache was full. `held`: as in `Simulation`.
    """

    name: str
    instances: int
    replicas: int
    share_fraction: float
    attainment: float | None
    busy_fraction: float
    mean_running: float
    running_limit: int
    queue_growth_rps: float
    preemptions: int
    held: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedBucket:
    """The requests of one bucket by their true sizes; edges None: larger than the last one."""

    input_tokens: int | None
    output_tokens: int | None
    requests: int
    attainment: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPercentile:
    """A percentile target, `p99 TTFT`: the share of all requests within its limit; enough are at least `target`."""

    name: str
    limit_s: float
    target: float
    attainment: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedFractions:
    """Of all requests, those that missed a target, by the target; a request may miss several."""

    refused: float
    ttft: float
    tpot: float
    ntpot: float


@dataclass(frozen=True, kw_only=True)
class Attained(Served):
    """`attainment`: the share of all `requests` that met every target; a refused request has missed.

    `attainment_error`: half of the 95 % confidence interval. `arrivals` says in words how they came. `percentiles` are
    those of the targets. `thinned_to`: the fleet was simulated at this fraction of its size; None: whole.
    """

    __slots__ = ()
    attainment: float
    attainment_error: float
    refused_fraction: float
    arrivals: str
    seed: int
    thinned_to: float | None = None
    percentiles: tuple[SimulatedPercentile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation(Attained):
    """The answer. `held` is `attainment`, or what is as far from `slo.attainment` as the percentile that is missed by
    most: misses count by how many are allowed.
    """

    request_rate_rps: float
    duration_s: float
    itl_s: Spread | None
    latency_s: Spread | None
    missed: MissedFractions
    groups: tuple[SimulatedGroup, ...]
    buckets: tuple[SimulatedBucket, ...]
    is_stable: bool
    queue_growth_rps: float
    histogram_tpot_s: tuple[tuple[float, int], ...] = ()
    histogram_ttft_s: tuple[tuple[float, int], ...] = ()
    held: float = 0.0
