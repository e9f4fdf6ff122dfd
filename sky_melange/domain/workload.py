"""What the user asks for: the content of workload.yaml, validated and in base units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.adapter import Adapter
from sky_melange.domain.buckets import Traffic
from sky_melange.domain.engine import engines_of
from sky_melange.domain.hours import Scaling
from sky_melange.domain.machine import OnReplica
from sky_melange.domain.own_gpus import OWN_CLOUDS, OwnGpus
from sky_melange.domain.price_record import PriceKind
from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.router import RouterSettings
from sky_melange.domain.units import HOURS_PER_MONTH


def key(*, default: Any, description: str, example: object, **bounds: float) -> Any:
    """A field that workload.yaml has as a key of the same name, declared here alone; `bounds` as `ge=1, le=9`."""
    return field(default=default, metadata={"description": description, "examples": [example], **bounds})


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


class ControllerPlace(StrEnum):
    """Where SkyServe's controller runs: on a machine of its own, or (consolidation mode) in SkyPilot's API server."""

    MACHINE = "machine"
    CONSOLIDATED = "consolidated"


AUTO_DTYPE: Final = "auto"
"""The precision that the checkpoint has."""

ANY_DTYPE: Final = "any"
"""The cheapest of the precisions that there are checkpoints of, or that the engine can make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The model to serve. `max_model_len` is the context limit in tokens (input + output); None: the model's own.

    `dtype` is AUTO_DTYPE until the checkpoint is known. `profile_as` is the model whose profiles are used, as a
    fine-tune's base model; None: the model's own. `config` is its config.json or the folder of its checkpoint,
    relative to the workload's file. `quantization` is the method by which the checkpoint was quantised; None: it has
    16 bits, or is not known. `sizes` is what a config.json said that the table of architectures does not, as JSON.
    `remote_code`: engines run code of its repository, or do not start. `dtypes` are those that a plan chooses among,
    `dtype` being the choice; empty: there is none. `checkpoints`: other ids, by dtype. `adapters`: LoRA adapters that
    its replicas serve, too; engines take `adapter_overhead` (a fraction) longer then.
    """

    id: str
    dtype: str
    max_model_len: int | None = None
    profile_as: str | None = None
    config: str | None = None
    quantization: str | None = None
    sizes: str | None = None
    remote_code: bool = False
    dtypes: tuple[str, ...] = ()
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    adapters: tuple[Adapter, ...] = ()
    adapter_overhead: float | None = key(
        default=None,
        description="By which part longer engines take where `adapters` are served: a step, or the first token, of "
        "0.5 one and a half times as long.",
        example=0.5,
        ge=0,
        le=10,
    )

    @property
    def profiled_id(self) -> str:
        """The model that profiles are looked up by."""
        return self.profile_as or self.id


LATENCIES: Final = ("tpot", "ttft", "ntpot")
PERCENTS: Final = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """`percent` of all requests have a `latency` (one of LATENCIES) of at most `limit_s`."""

    latency: str
    percent: int
    limit_s: float

    def __str__(self) -> str:
        return f"p{self.percent} {self.latency.upper()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Latency targets; at least one is set.

    `tpot_s`: mean seconds per output token after the first. `ttft_s`: seconds to the first token.
    `ntpot_s`: request latency ÷ output tokens, the measure of the Mélange paper. `attainment`: the share (0..1) of all
    requests that must each meet every target; None: the targets are of means in steady state. `percentiles` hold each
    by itself, next to that.
    """

    tpot_s: float | None = None
    ttft_s: float | None = None
    ntpot_s: float | None = None
    attainment: float | None = None
    percentiles: tuple[Percentile, ...] = ()

    def of_means(self) -> Slo:
        """The tightest limit of each latency, as a target of means: where a simulation begins."""

        def tightest(latency: str, target_s: float | None) -> float | None:
            stated = (target_s, *(each.limit_s for each in self.percentiles if each.latency == latency))
            return min((limit for limit in stated if limit is not None), default=None)

        return Slo(
            tpot_s=tightest("tpot", self.tpot_s),
            ttft_s=tightest("ttft", self.ttft_s),
            ntpot_s=tightest("ntpot", self.ntpot_s),
        )


class CloudsFrom(StrEnum):
    """Where `CandidateFilter.clouds` come from.

    The workload states them, or they are those that SkyPilot has enabled, or, where that is not known, the usual ones.
    """

    STATED = "stated"
    ENABLED = "enabled"
    USUAL = "usual"


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFilter:
    """Which offers are considered. None means no restriction. `regions` restricts only the clouds it names.

    `purchase`: all kinds that may be bought where commitments are among them, `spot` agrees then; otherwise empty, and
    `spot` says it all. `clouds` empty: none but `own`, the GPUs that one has, which no other key but `accelerators`
    and `spot` restricts. Clouds that are not stated shut out no machine of the user's own price list.
    """

    accelerators: tuple[str, ...] | None = None
    clouds: tuple[str, ...] | None = None
    regions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spot: SpotUse = SpotUse.NEVER
    purchase: tuple[PriceKind, ...] = ()
    own: tuple[OwnGpus, ...] = ()
    clouds_from: CloudsFrom = CloudsFrom.STATED

    @property
    def stated_clouds(self) -> tuple[str, ...] | None:
        """Those that the workload names itself."""
        return self.clouds if self.clouds_from is CloudsFrom.STATED else None

    def own_at(self, cloud: str, region: str) -> tuple[OwnGpus, ...]:
        """The GPUs that one has in a place."""
        return tuple(gpus for gpus in self.own if (gpus.cloud, gpus.place) == (cloud, region))

    def has_cloud(self, cloud: str, region: str, *, is_own: bool = False) -> bool:
        """Whether machines of a cloud are considered at all. `is_own`: at a price that the user states."""
        if cloud in OWN_CLOUDS:
            return bool(self.own_at(cloud, region))
        is_open = self.clouds is None or (is_own and self.clouds_from is not CloudsFrom.STATED)
        return is_open or cloud in (self.clouds or ())

    @property
    def commitments(self) -> tuple[PriceKind, ...]:
        """Terms that may be bought."""
        return tuple(kind for kind in self.purchase if kind.years)

    @property
    def by_the_hour(self) -> bool:
        """Whether machines may be bought on demand."""
        return PriceKind.ON_DEMAND in self.purchase if self.purchase else self.spot is not SpotUse.ONLY

    def without_commitments(self) -> CandidateFilter:
        """The same where nothing is bought for a term; what was, is bought by the hour."""
        return replace(self, purchase=())


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningGroup(OnReplica):
    """Instances of one deployment that run already, as a previous plan lists them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepExisting:
    """A plan that runs, and what changing it is worth avoiding.

    Each instance started or stopped counts as `switching_usd_per_hour` of extra cost in the choice (not in the price).
    """

    plan: str
    groups: tuple[RunningGroup, ...]
    switching_usd_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Limits on the plan. `max_accelerators` counts GPUs (not instances) by canonical name.

    `max_accelerators_in[place][accelerator]`: the same within a place, a cloud (`aws`) or a region (`aws/us-east-1`).
    Shares are fractions (0..1) of all requests that any one cloud, any one region, or all spot instances together may
    get; None: no limit. `max_utilization` None: only what `slo.attainment` allows. `tolerate_replica_losses`:
    instances, whichever, without which the rest still carries all traffic within `max_utilization` and the routing
    policy. `min_replicas` 0: none need run in hours without requests. `min_profile_kind`: weaker profiles are not
    used.
    """

    max_utilization: float | None = 0.9
    max_accelerators: Mapping[str, int] = field(default_factory=dict)
    max_accelerators_in: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    min_replicas: int = 1
    min_on_demand_replicas: int = 0
    max_groups: int | None = None
    max_cloud_share_fraction: float | None = None
    max_region_share_fraction: float | None = None
    max_spot_share_fraction: float | None = None
    tolerate_replica_losses: int = 0
    keep: KeepExisting | None = None
    max_changes_per_hour: int | None = key(
        default=None,
        description="The most instances that a schedule starts and stops from one hour to the next, over all groups.",
        example=8,
        ge=1,
        le=1_000_000,
    )
    min_profile_kind: ProfileKind | None = key(
        default=None,
        description="The weakest kind of throughput profile to rely on: measured, fitted, published or estimated.",
        example="fitted",
    )

    @property
    def may_stop(self) -> bool:
        """Whether hours without requests may run no replica."""
        return self.min_replicas == 0

    @property
    def utilization_limit(self) -> float:
        """`max_utilization`, or all of a replica's capacity."""
        return 1.0 if self.max_utilization is None else self.max_utilization


class Objective(StrEnum):
    """What is best: the least cost for the traffic, or the most traffic within the budget (at the least cost)."""

    LEAST_COST = "least_cost"
    MOST_TRAFFIC = "most_traffic"


class SolverName(StrEnum):
    """The program that solves the model."""

    HIGHS = "highs"
    CBC = "cbc"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolverSettings:
    """`mip_gap` is relative (0.0001 = proven within 0.01 %). `slices` is read by the sliced formulation only.

    `break_ties`: among plans of the same cost take the one with fewest groups, then instances, and spread
    its load evenly; False: any of them.
    """

    name: SolverName = SolverName.HIGHS
    formulation: Formulation = Formulation.EXACT
    slices: int = 8
    time_limit_s: float = 60.0
    mip_gap: float = 1e-6
    break_ties: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that the plan may cost with overhead: USD per hour, per month of 730 hours, or both; None: no limit."""

    usd_per_hour: float | None = None
    usd_per_month: float | None = None

    @property
    def limit_usd_per_hour(self) -> float | None:
        """The tighter of the two, USD per hour; None when neither is set."""
        monthly = None if self.usd_per_month is None else self.usd_per_month / HOURS_PER_MONTH
        return min((limit for limit in (self.usd_per_hour, monthly) if limit is not None), default=None)


class Disagreement(StrEnum):
    """What to do where two sources give one offer different prices: the dearer, the first source's, or neither."""

    HIGHEST = "highest"
    PREFER = "prefer"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """`fraction` (0..1) off the listed price of every offer that fits all the names given; None fits any.

    Spot prices are discounted only where `spot` is set: negotiated discounts seldom cover them.
    """

    fraction: float
    cloud: str | None = None
    accelerator: str | None = None
    instance_type: str | None = None
    spot: bool = False


EVERY_CLOUD: Final = "all"
"""In `PricePolicy.require_clouds`: every candidate cloud."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePolicy:
    """Which prices are believed, and which are one's own.

    `sources` in order of preference. `base_url`: where the hosted catalogs are, instead of SkyPilot's own addresses.
    `max_age_hours`: older prices are not used; None: they are, with a warning. `require_clouds`: clouds without whose
    prices there is no plan; `all` stands for every candidate cloud. `trust` names quarantined offers
    (`Offer.name`, or a prefix of it that ends at a `/`) to use all the same. `overrides`: a file of negotiated prices
    and reserved capacity.
    """

    sources: tuple[str, ...] = ("skypilot",)
    base_url: str | None = None
    max_age_hours: float | None = None
    require_clouds: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    on_disagreement: Disagreement = Disagreement.HIGHEST
    discounts: tuple[Discount, ...] = ()
    overrides: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePolicy:
    """Which throughput profiles are used, beside the bundled ones.

    `files`: the user's own, as written in the workload. `extrapolate`: use profiles outside the ranges that they cover.
    `estimate`: estimate accelerators that have no profile from their datasheets. `confidence`: the probability with
    which a replica is at least as fast as it is planned to be, by the stated error of its profile.
    """

    files: tuple[str, ...] = ()
    extrapolate: bool = False
    estimate: bool = True
    confidence: float = key(
        default=0.8,
        description="How sure to be that replicas are as fast as planned, by the stated errors of their profiles: 0.8 "
        "is 4 cases in 5, 0.5 takes the predictions themselves.",
        example=0.8,
        ge=0.5,
        le=0.99,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the emitted files start the engine. `secrets` are names only; None: those that the model needs.
    `engine_args` are appended verbatim, quoted.

    `engine` is one of ENGINES, or ANY_ENGINE.
    `api_key_secret` names the one whose value router and replicas want as a bearer token; None: they ask nobody.
    """

    mode: LaunchMode = LaunchMode.SERVE
    controller: ControllerPlace = ControllerPlace.MACHINE
    engine: str = "vllm"
    engine_args: tuple[str, ...] = ()
    secrets: tuple[str, ...] | None = None
    api_key_secret: str | None = None
    scaling: Scaling | None = key(
        default=None,
        description="How many instances run. `fixed`: those of the busiest hour. `schedule`: those of each hour of "
        "`traffic.hours`, by the clock. `autoscale`: SkyServe decides, between the fewest and the most that any hour "
        "needs. Without it: `schedule` where there are hours and it saves money, otherwise `fixed`.",
        example="schedule",
    )
    trust_remote_code: bool = key(
        default=False,
        description="Whether engines may run code of the model's repository (`--trust-remote-code`). It is passed on "
        "only for models that need it.",
        example=True,
    )
    startup_minutes: float | None = key(
        default=None,
        description="From starting an instance until it serves: its machine, its image and the weights. Without it: "
        "estimated from the size of the weights.",
        example=12,
        ge=0,
        le=240,
    )
    min_running_fraction: float = key(
        default=0.0,
        description="With `scaling: autoscale`, the part of the busiest hour's instances of each group that runs at "
        "any time: 0.5 is half. A plan may keep more, never less.",
        example=0.5,
        ge=0,
        le=1,
    )

    @property
    def engines(self) -> tuple[str, ...]:
        """Those to choose from."""
        return engines_of(self.engine)

    @property
    def all_secrets(self) -> tuple[str, ...]:
        """Names of all that the launch files of the groups ask for."""
        return tuple(dict.fromkeys((*(self.secrets or ()), *filter(None, [self.api_key_secret]))))


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
    objective: Objective = Objective.LEAST_COST
    profiles: ProfilePolicy = ProfilePolicy()
    router: RouterSettings = field(default_factory=RouterSettings)
