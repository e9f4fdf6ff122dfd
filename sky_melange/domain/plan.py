"""A plan: what to launch, what it costs and how traffic is divided. The in-memory form of plan.json."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.engine import layout_text
from sky_melange.domain.explanation import Explanation
from sky_melange.domain.hours import WEEK, Schedule, Term
from sky_melange.domain.machine import InRegion, InterruptionBand, OnPart, OnReplica, WithGpus
from sky_melange.domain.offer import Priced, PriceProvenance
from sky_melange.domain.price_record import PriceKind
from sky_melange.domain.profile import Launched, ProfileProvenance
from sky_melange.domain.simulation import Attained
from sky_melange.domain.units import HOURS_PER_YEAR
from sky_melange.domain.workload import RoutingPolicy

PLAN_SCHEMA_VERSION: Final = 2
"""Of plan.json: 2 from the first release that simulates. Plans of version 1 are still read; they hold no simulation."""

CONTROLLER_PURPOSE: Final = "SkyServe controller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead(InRegion):
    """A machine that a launch needs beside its replicas, at its price. `price_usd_per_hour` None: not known.

    `cluster`: the name that it is launched by; "": that of its purpose and plan.
    """

    purpose: str
    price_usd_per_hour: float | None
    price: PriceProvenance | None
    note: str = ""
    cluster: str = ""


BURST_ROOM: Final = 1.25
"""A single request's TPOT is a mean over its life: for a while a replica may run so many times what just holds."""

MOST_SIMULATED_REQUESTS: Final = 800_000
"""By more no plan is judged."""

MOST_UTILIZATION: Final = 2.5
"""Capacities are those of single sizes: a mix may carry more, as its long answers leave time for short ones."""


def max_concurrency(in_flight: float, busy_replicas: float, *, is_simulated: bool) -> int:
    """`ReplicaGroup.max_concurrency` of replicas that, fully loaded, hold so many requests in all."""
    running = in_flight / busy_replicas if busy_replicas > 0 else 1.0
    return max(1, math.ceil(running * (BURST_ROOM if is_simulated else 1.0) - 1e-9))


LEAST_DISK_GB: Final = 512
"""Room for the engine and 70 billion weights of 16 bits, twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCommitment:
    """`instances` of a group that are bought for a term (0: none pays), at a price per hour and instance.

    They are paid for in every hour of `kind.years` years, used or not. `as_of` and `source` are of the price.
    """

    kind: PriceKind
    instances: int
    price_usd_per_hour: float
    as_of: str
    source: str

    @property
    def term(self) -> Term:
        """What they cost in every hour."""
        return Term(instances=self.instances, price_usd_per_hour=self.price_usd_per_hour)

    @property
    def usd_per_hour(self) -> float:
        """Of all of them."""
        return self.instances * self.price_usd_per_hour

    @property
    def owed_usd(self) -> float:
        """Over the whole term, whatever becomes of the traffic."""
        return self.usd_per_hour * HOURS_PER_YEAR * self.kind.years

    def break_even_hours(self, on_demand_usd_per_hour: float) -> float:
        """Hours of a week for which an instance must run so that the commitment costs no more than the price by the
        hour; more than WEEK: never.
        """
        return WEEK * self.price_usd_per_hour / on_demand_usd_per_hour if on_demand_usd_per_hour else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaGroup(OnReplica, OnPart, WithGpus, Priced):
    """A candidate and how many instances of it: one SkyPilot YAML.

    `utilization` is the load on the group ÷ its replicas (0..1). `max_concurrency` is the number of requests in flight
    on a replica that is fully loaded with the traffic routed here and just meets the SLO: the mean of its buckets'
    concurrencies, weighted by the time that each takes; BURST_ROOM times that where it was simulated. For a spot
    group, `on_demand_price_usd_per_hour` is that of the machine which SkyServe starts for each one that is not up,
    and `interruption` how often that is; None: not known, or nothing is started. `reserved_instances` is how many
    there are at the price, which is then of reserved capacity; None: as many as the cloud has. `max_utilization` is
    the `utilization` up to which the group was planned, found by simulation; None: `constraints.max_utilization`.
    `engine_version` is that of the profile; what is launched is `ENGINES[engine]`. `layout` is as in `ProfileKey`.
    `committed`: how many are bought for a term; None: that cannot be. Others cost `price_usd_per_hour` while they run.
    `runs_apart`: the replicas of an instance are processes of their own behind one port, and not ranks of one engine.
    `part`: each instance is one of the parts of a machine that a fleet divides, whose launch file is the fleet's.
    """

    name: str
    replicas_per_instance: int
    utilization: float
    max_concurrency: int
    engine_version: str
    engine_args: tuple[tuple[str, str], ...]
    profile: ProfileProvenance
    file: str
    on_demand_price_usd_per_hour: float | None = None
    interruption: InterruptionBand | None = None
    reserved_instances: int | None = None
    max_utilization: float | None = None
    runs_apart: bool = False
    disk_gb: int = LEAST_DISK_GB
    committed: GroupCommitment | None = None

    @property
    def machine_usd_per_hour(self) -> float:
        """Price of the whole machine that an instance is, or is a part of."""
        fraction = 1.0 if self.part is None else self.part.price_fraction
        return self.price_usd_per_hour / fraction if fraction else self.price_usd_per_hour

    @property
    def gpus_text(self) -> str:
        """For messages: the GPUs of an instance, `8`, or those of a part, `4 of 8`."""
        of_all = "" if self.part is None else f" of {self.part.accelerators}"
        return f"{self.accelerators_per_instance}{of_all}"

    @property
    def launched(self) -> Launched:
        """What its launch file says of a replica: that of the profiles that it may be planned with."""
        return self.engine, self.accelerator, self.tensor_parallel, self.layout, self.engine_args

    @property
    def layout_text(self) -> str:
        """For messages: `TP 8`, `TP 4 dp-ep, SGLang`."""
        return layout_text(self.tensor_parallel, self.layout, self.engine)

    @property
    def cost_usd_per_hour(self) -> float:
        """Price of all its instances, and of those that are committed."""
        return self.costs(self.instances)

    def costs(self, instances: int) -> float:
        """An hour in which so many of its instances run, USD: those that are committed are paid for anyway."""
        if self.committed is None:
            return self.price_usd_per_hour * instances
        by_the_hour = max(0, instances - self.committed.instances)
        return math.fsum((self.committed.usd_per_hour, self.price_usd_per_hour * by_the_hour))

    @property
    def surge_usd_per_hour(self) -> float:
        """What on-demand machines add while no spot machine is up but all are asked for; 0 where not known."""
        return (self.on_demand_price_usd_per_hour or 0.0) * self.instances

    @property
    def replicas(self) -> int:
        """Engine replicas over all its instances."""
        return self.instances * self.replicas_per_instance


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How one bucket is divided. `shares` are (group name, fraction 0..1), summing to 1, largest group name last.

    `can_serve` names every group of the plan that meets the targets on this bucket, whatever its share: where requests
    may go when their own groups are down or full. `taken_rps`: the requests that the front door takes for those of the
    bucket, and divides so, where it estimates sizes; None: those of the bucket.
    """

    input_tokens: int
    output_tokens: int
    rate_rps: float
    shares: tuple[tuple[str, float], ...]
    can_serve: tuple[str, ...] = ()
    taken_rps: float | None = None

    @property
    def routed_rps(self) -> float:
        """Requests/s that are divided so."""
        return self.rate_rps if self.taken_rps is None else self.taken_rps


@dataclass(frozen=True, slots=True, kw_only=True)
class Contingency:
    """How to route when instances are lost, until they are back.

    `lost` are (group name, instances gone); `shares[bucket]`, in the order of `Plan.routing`, are as in `Route`.
    `peak_utilization` is the largest load ÷ remaining replicas of a group then.
    """

    lost: tuple[tuple[str, int], ...]
    shares: tuple[tuple[tuple[str, float], ...], ...]
    peak_utilization: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Switching:
    """What changes against the running plan of `constraints.keep`.

    `charged_usd_per_hour` is what the choice of the plan was charged for that; nobody pays it.
    """

    started_instances: int
    stopped_instances: int
    charged_usd_per_hour: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """The best plan of a single accelerator type, or why there is none (its costs are None then).

    `cost_usd_per_hour` is of its replicas. `total_usd_per_hour` adds controller and router, as in `Cost`; None too in
    plans of earlier releases.
    """

    label: str
    cost_usd_per_hour: float | None
    instances: int | None
    accelerators: int | None
    note: str
    total_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """USD per hour. `replicas` is the sum over groups of what their instances cost; `total` adds the overhead.

    `worst_case` is what it may cost for a while: SkyServe starts an on-demand machine for every spot machine that
    is not ready yet, so for a time it may pay for all of both.
    """

    replicas_usd_per_hour: float
    overhead_usd_per_hour: float
    total_usd_per_hour: float
    worst_case_usd_per_hour: float

    @classmethod
    def of(cls, groups: Sequence[ReplicaGroup], overhead: Iterable[Overhead]) -> Cost:
        """Σ price × count, and the overhead whose price is known; sums are exact to the last bit of a float.

        The worst case adds the on-demand machines that stand in for all spot machines at once, where their price is
        known.
        """
        replicas = math.fsum(group.cost_usd_per_hour for group in groups)
        beside = math.fsum(machine.price_usd_per_hour or 0.0 for machine in overhead)
        total = math.fsum((replicas, beside))
        return cls(
            replicas_usd_per_hour=replicas,
            overhead_usd_per_hour=beside,
            total_usd_per_hour=total,
            worst_case_usd_per_hour=math.fsum((total, *(group.surge_usd_per_hour for group in groups))),
        )


def mean_cost(cost: Cost, groups: Sequence[ReplicaGroup], schedule: Schedule | None) -> Cost:
    """A cost as means over the cycle of a schedule, of whose busiest period it is; without one it is the mean itself.

    `groups` in the order of the schedule's `instances`.
    """
    if schedule is None:
        return cost
    replicas = schedule.mean_usd_per_hour([group.price_usd_per_hour for group in groups], 0.0, terms_of(groups))
    surges = schedule.mean_usd_per_hour([group.on_demand_price_usd_per_hour or 0.0 for group in groups], 0.0)
    total = math.fsum((replicas, cost.overhead_usd_per_hour))
    return Cost(
        replicas_usd_per_hour=replicas,
        overhead_usd_per_hour=cost.overhead_usd_per_hour,
        total_usd_per_hour=total,
        worst_case_usd_per_hour=math.fsum((total, surges)),
    )


def terms_of(groups: Iterable[ReplicaGroup]) -> tuple[Term | None, ...]:
    """What each group has bought for a term."""
    return tuple(None if group.committed is None else group.committed.term for group in groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputDigests:
    """sha256 (hex) of what the plan was made from.

    `workload_file` is the path of the workload, relative to the plan's folder; None: it was planned from no file.
    """

    workload: str
    prices: str
    profiles: str
    workload_file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastKnownOffer(Priced):
    """The offer of a missing cloud that would have carried the traffic for least, at the price last seen there.

    `name` as in `Offer.name`. `alone_usd_per_hour`: what so many of it would cost that they carry all of the traffic
    alone; None where it cannot serve every request.
    """

    name: str
    accelerator: str
    accelerators_per_instance: int
    alone_usd_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingCloud:
    """A candidate cloud without prices, which the plan therefore cannot use; why, and what it last sold."""

    cloud: str
    problem: str
    last_known: LastKnownOffer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPlan(Attained):
    """What a simulation of the plan says, by a seed that took no part in the search for it.

    `plans` were simulated until this one was found. `slower_fraction`, `slower_attainment`: the same with
    engines that are so much slower than their profiles, and `slower_usd_per_hour` what a plan costs more that holds
    then, too; None: none was found. `draws`: of what its profiles may be off by, where it has several that may be, and
    `draws_held` those of them in which it holds.
    """

    target: float
    plans: int
    slower_fraction: float
    slower_attainment: float
    slower_usd_per_hour: float | None
    draws: int = 0
    draws_held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedPrice:
    """A provider's list price for a model, by its Hugging Face id; `served_as` is the provider's name for it."""

    model: str
    provider: str
    served_as: str
    usd_per_million_input: float
    usd_per_million_output: float
    dated: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostedApi:
    """The cheapest known API for the planned tokens, at its list price; a mean over the hours of a schedule.

    `is_upper_bound`: tokens are counted by the upper edges of buckets, so the API costs at most that. `own_from_rps`:
    the least rate found, of the same requests, at which this plan's fleet, or whole copies of it, costs no more than
    the API. `loaded_usd_per_hour`: the API at the rate that fully loads the fleet. None: not known, or no such rate.
    """

    price: HostedPrice
    usd_per_hour: float
    is_upper_bound: bool
    own_from_rps: float | None
    loaded_usd_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupEmissions:
    """Of a replica group. `board_watts` are of all GPUs of one instance. None: not known."""

    group: str
    board_watts: float | None
    country: str | None
    grams_co2e_per_kwh: float | None
    year: int | None
    grams_co2e_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Emissions:
    """The GPUs alone, at full board power: without hosts, cooling and the router. A mean over the hours of a schedule.

    `grams_co2e_per_hour` is None where that of any group is not known: a part would look like the whole.
    """

    grams_co2e_per_hour: float | None
    groups: tuple[GroupEmissions, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What an hour costs in the mean when things change: this plan, and the cheapest one found without commitments.

    `never_usd_per_hour` None: no plan can do without. `spot_factors`: factors on spot prices by accelerator.
    """

    name: str
    traffic_factor: float
    spot_factors: tuple[tuple[str, float], ...]
    usd_per_hour: float
    never_usd_per_hour: float | None

    @property
    def regret_usd_per_hour(self) -> float | None:
        """What having committed costs more then; below 0: it saves so much."""
        return None if self.never_usd_per_hour is None else self.usd_per_hour - self.never_usd_per_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitments:
    """What commitments save or cost: `scenarios[0]` is as planned.

    `least_traffic_factor`: from so many times the planned traffic on they cost no more than never committing, by counts
    in proportion; None: whatever the traffic, or not known.
    """

    scenarios: tuple[Scenario, ...]
    least_traffic_factor: float | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to launch, replicas and all beside them, what it costs, and what else there was to choose.

    `size_aware_total_usd_per_hour`: the total under the routing policy that knows most; None: not proven.
    """

    __slots__ = ()
    cost: Cost
    groups: tuple[ReplicaGroup, ...]
    overhead: tuple[Overhead, ...]
    alternatives: tuple[Alternative, ...]
    size_aware_total_usd_per_hour: float | None = None
    switching: Switching | None = None


@dataclass(frozen=True, kw_only=True)
class Answered:
    """`status` is `optimal` or `feasible`; `mip_gap` is relative, None when no bound is known."""

    __slots__ = ()
    name: str
    status: str
    mip_gap: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Choice, Answered):
    """The whole answer.

    `contingencies` has one entry for each loss that `constraints.tolerate_replica_losses` asks the plan to survive.
    `explanation` is there when it was asked for. `simulated`: None where nothing was. `missing_clouds`: candidate
    clouds whose prices could not be obtained. `schedule`: how many instances run in which hours; None: always all.
    `hosted_api`: None where no list price of the model is known; `emissions`: None in plans of earlier releases.
    `commitments`: None where nothing is bought for a term. `served_fraction` of the workload's traffic is planned for;
    less than 1 in a fleet whose budget does not pay for more. `fleet_losses`: of instances, that its fleet tolerates.
    """

    policy: RoutingPolicy
    routing: tuple[Route, ...]
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    inputs: InputDigests
    contingencies: tuple[Contingency, ...] = ()
    explanation: Explanation | None = None
    missing_clouds: tuple[MissingCloud, ...] = ()
    simulated: SimulatedPlan | None = None
    schedule: Schedule | None = None
    hosted_api: HostedApi | None = None
    emissions: Emissions | None = None
    commitments: Commitments | None = None
    served_fraction: float = 1.0
    fleet_losses: int = 0

    def request_fraction(self, *groups: str) -> float:
        """The part of all requests (0..1) that goes to these groups."""
        total = math.fsum(route.routed_rps for route in self.routing)
        parts = (route.routed_rps * share for route in self.routing for name, share in route.shares if name in groups)
        return math.fsum(parts) / total if total else 0.0

    @property
    def whole_groups(self) -> tuple[ReplicaGroup, ...]:
        """Those that have machines of their own: launch files of the fleet start the engines of the others."""
        return tuple(group for group in self.groups if group.part is None)

    @property
    def mean_usd_per_hour(self) -> float:
        """The total over a day or week, by its hours."""
        return self.cost.total_usd_per_hour if self.schedule is None else self.schedule.usd_per_hour
