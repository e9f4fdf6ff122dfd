"""What the user asks for: the content of workload.yaml, validated and in base units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sky_melange.domain.buckets import Traffic


class RoutingPolicy(StrEnum):
    """What the front door knows of a request when it picks a replica group."""

    SIZE_AWARE = "size_aware"
    INPUT_AWARE = "input_aware"
    BLIND = "blind"


class Formulation(StrEnum):
    """How a bucket's traffic may be divided: any share, or multiples of one slice (as Mélange does)."""

    EXACT = "exact"
    SLICED = "sliced"


class SpotUse(StrEnum):
    """Whether spot offers are candidates."""

    NEVER = "never"
    ALLOW = "allow"
    ONLY = "only"


class LaunchMode(StrEnum):
    """`serve`: one SkyServe service a replica group. `cluster`: one SkyPilot cluster of N nodes a group."""

    SERVE = "serve"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model to serve. `max_model_len` is the context limit in tokens (input + output); None: the model's own."""

    id: str
    dtype: str
    max_model_len: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Latency targets; at least one is set.

    `tpot_s`: mean seconds per output token after the first. `ttft_s`: seconds to the first token.
    `ntpot_s`: request latency ÷ output tokens, the measure of the Mélange paper.
    """

    tpot_s: float | None = None
    ttft_s: float | None = None
    ntpot_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFilter:
    """Which offers are considered. None means no restriction. `regions` restricts only the clouds it names."""

    accelerators: tuple[str, ...] | None = None
    clouds: tuple[str, ...] | None = None
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spot: SpotUse = SpotUse.NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Limits on the plan. `max_accelerators` counts GPUs (not instances) by canonical name."""

    max_utilization: float = 0.9
    max_accelerators: Mapping[str, int] = field(default_factory=dict)
    min_replicas: int = 1
    max_groups: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverSettings:
    """`mip_gap` is relative (0.0001 = proven within 0.01 %). `slices` is read by the sliced formulation only.

    `break_ties`: among plans of the same cost take the one with fewest groups, then instances; False: any of them.
    """

    formulation: Formulation = Formulation.EXACT
    slices: int = 8
    time_limit_s: float = 60.0
    mip_gap: float = 1e-6
    break_ties: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that the plan may cost, USD per hour with overhead."""

    usd_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePolicy:
    """`trust` names quarantined offers (`Offer.name`, or a prefix of it that ends at a `/`) to use all the same."""

    trust: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the emitted files start the engine. `secrets` are names only; `engine_args` are appended verbatim, quoted."""

    mode: LaunchMode = LaunchMode.SERVE
    engine: str = "vllm"
    engine_args: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A validated workload. `name` prefixes every service."""

    name: str
    model: Model
    slo: Slo
    traffic: Traffic
    candidates: CandidateFilter = CandidateFilter()
    constraints: Constraints = Constraints()
    routing: RoutingPolicy = RoutingPolicy.INPUT_AWARE
    budget: Budget | None = None
    prices: PricePolicy = PricePolicy()
    solver: SolverSettings = SolverSettings()
    launch: Launch = Launch()
