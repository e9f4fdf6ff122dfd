"""Several workloads on one budget: what fleet.yaml asks for, and the answer."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sky_melange.domain.machine import Machine, OnMachine, WithGpus
from sky_melange.domain.offer import Priced
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Answered, Overhead, Plan
from sky_melange.domain.workload import Budget, Objective, Workload

FLEET_SCHEMA_VERSION: Final = 1
FLEET_FILE: Final = "fleet.json"
MACHINE_FILE: Final = re.compile(r"[a-z][a-z0-9-]*-shared-[a-z0-9-]+\.sky\.yaml")
"""Names of the launch files of machines that workloads share."""

LEAST_PRIORITY: Final = 1
MIDDLE_PRIORITY: Final = 5
MOST_PRIORITY: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMember:
    """A workload of the fleet: its `file`, relative to the fleet's.

    Where not all traffic can be served, that of lower `priority` yields first, down to `min_fraction` of it.
    """

    file: str
    priority: int = MIDDLE_PRIORITY
    min_fraction: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConstraints:
    """What the workloads share: as in `Constraints`, of all plans together.

    `max_vcpus_in[place][pattern]`: vCPUs of the instance types of a family (`p5.*`), as clouds state their quotas.
    `max_cloud_share_fraction`, `max_region_share_fraction`: of all requests, each counted by what the workload costs
    alone (`counted_parts`). `tolerated_losses`: any so many of all instances; each may be of any workload.
    """

    max_accelerators: Mapping[str, int] = field(default_factory=dict)
    max_accelerators_in: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    max_vcpus_in: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    max_cloud_share_fraction: float | None = None
    max_region_share_fraction: float | None = None
    tolerated_losses: int = 0

    @property
    def shares(self) -> tuple[tuple[str, float], ...]:
        """(key, fraction) of the limits on what one place may get."""
        stated = (
            ("max_cloud_share", self.max_cloud_share_fraction),
            ("max_region_share", self.max_region_share_fraction),
        )
        return tuple((key, fraction) for key, fraction in stated if fraction is not None and fraction < 1)


@dataclass(frozen=True, kw_only=True)
class FleetTerms:
    """What is asked of all together."""

    __slots__ = ()
    constraints: FleetConstraints
    budget: Budget | None
    objective: Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet(FleetTerms):
    """A validated fleet.yaml. `share_machines`: engines of several workloads may run on one machine.

    `one_router` serves all workloads, by `model` in the body; otherwise each plan has the router that it needs.
    """

    name: str
    members: tuple[FleetMember, ...]
    share_machines: bool = False
    one_router: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedEngine:
    """An engine on a machine that workloads share: which group of whose plan, on which GPUs, and its port."""

    workload: str
    group: str
    gpus: tuple[int, ...]
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedMachine(OnMachine, WithGpus, Priced):
    """A machine whose GPUs several workloads divide: one launch file, paid for once.

    Plans count their parts of it (`ReplicaGroup.part`), whose prices sum to its own.
    """

    name: str
    disk_gb: int
    engines: tuple[SharedEngine, ...]
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberPlan:
    """What became of a workload. Its plan is in the folder of its name beside fleet.json.

    `plan_sha256`: the digest that its plan.json states of itself; "" until it is written. `served_fraction` of its
    traffic is planned for. `alone_usd_per_hour`: what its cheapest plan would cost in an hour (the busiest) if it
    shared nothing, for as much traffic; None: no such plan was found, or it is not known.
    """

    name: str
    workload_file: str
    priority: int
    min_fraction: float
    served_fraction: float
    usd_per_hour: float
    mean_usd_per_hour: float
    alone_usd_per_hour: float | None
    plan_sha256: str = ""


def counted_parts(alone_usd_per_hour: Sequence[float]) -> tuple[float, ...]:
    """How much of a fleet's traffic the requests of each workload are, by what it costs alone; all 0: nothing costs."""
    total = math.fsum(alone_usd_per_hour)
    return tuple(cost / total if total else 0.0 for cost in alone_usd_per_hour)


def place_named_by(key: str, cloud: str, region: str) -> str:
    """What `max_cloud_share` or `max_region_share` calls the place of a machine."""
    return cloud if key == "max_cloud_share" else f"{cloud}/{region}"


def place_shares(
    plans: Sequence[Plan], constraints: FleetConstraints, alone_usd_per_hour: Sequence[float]
) -> Iterator[PlaceShare]:
    """What each place gets where its share is limited, counted from the routing of finished plans."""
    parts = counted_parts(alone_usd_per_hour)
    for key, fraction in constraints.shares:
        by_place: dict[str, list[set[str]]] = {}
        for k, plan in enumerate(plans):
            for group in plan.groups:
                place = place_named_by(key, group.cloud, group.region)
                by_place.setdefault(place, [set() for _ in plans])[k].add(group.name)
        for place, groups in sorted(by_place.items()):
            yield PlaceShare(
                name=f"fleet.constraints.{key}.{place}",
                limit_fraction=fraction,
                fractions=tuple(
                    part * plan.request_fraction(*names) for part, plan, names in zip(parts, plans, groups, strict=True)
                ),
            )


def machine_place(machine: Machine) -> str:
    """`cloud/region/instance type`: what has one number of vCPUs."""
    return f"{machine.cloud}/{machine.region}/{machine.instance_type}"


def charged_once(plans: Sequence[tuple[Plan, Workload]], router: Overhead | None = None) -> list[tuple[Plan, Workload]]:
    """The plans of a fleet as they are paid for together: SkyServe's controller, which each names, in one of them.

    The first has the `router` of all.
    """
    found: list[tuple[Plan, Workload]] = []
    is_charged = False
    for plan, workload in plans:
        own = () if router is None or found else (router,)
        kept = tuple(each for each in plan.overhead if not is_charged or each.purpose != CONTROLLER_PURPOSE)
        is_charged = is_charged or any(each.purpose == CONTROLLER_PURPOSE for each in kept)
        found.append((replace(plan, overhead=(*kept, *own)), workload))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedUse:
    """A limit over all plans, and who takes how much of it, in the order of the members.

    `worth_usd_per_hour`: what one unit more would save, by the prices that prove the cost; 0: it is not short. `idle`:
    taken by GPUs of shared machines on which no engine runs.
    """

    name: str
    limit: int
    used: tuple[int, ...]
    worth_usd_per_hour: float
    idle: int = 0

    @property
    def total(self) -> int:
        """Of all members, and of nobody."""
        return sum(self.used) + self.idle


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceShare:
    """What a place gets of the requests of all, where that is limited, and by workload, in the order of the members."""

    name: str
    limit_fraction: float
    fractions: tuple[float, ...]

    @property
    def total(self) -> float:
        """Of all members."""
        return math.fsum(self.fractions)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityCost:
    """What the traffic of one priority adds to the cost, USD per hour, and how much of it is served."""

    priority: int
    usd_per_hour: float
    served_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetInputs:
    """What the plans were made from: the way to the fleet's file (None: none can be followed), and its digest."""

    fleet_file: str | None
    fleet_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan(FleetTerms, Answered):
    """The answer. `status` and `mip_gap` are of what all cost together, as in `Plan`.

    `usd_per_hour` is the sum of the plans less `shared_usd_per_hour`: controllers of SkyServe that each plan counts by
    itself, where one runs all services; and `router_machine`, where one router serves all, which no plan counts.
    `needed_usd_per_hour`: what all the traffic of all would cost, where some yields; None: none does, or no such fleet
    exists. `vcpus` of an instance by `machine_place`, where quotas count them.
    """

    members: tuple[MemberPlan, ...]
    shared: tuple[SharedUse, ...]
    usd_per_hour: float
    mean_usd_per_hour: float
    shared_usd_per_hour: float
    inputs: FleetInputs
    warnings: tuple[str, ...] = ()
    priorities: tuple[PriorityCost, ...] = ()
    vcpus: Mapping[str, float] = field(default_factory=dict)
    machines: tuple[SharedMachine, ...] = ()
    needed_usd_per_hour: float | None = None
    places: tuple[PlaceShare, ...] = ()
    router_machine: Overhead | None = None

    @property
    def beside_usd_per_hour(self) -> float:
        """What the fleet costs more than the sum of its plans: its router, less what is shared."""
        router = None if self.router_machine is None else self.router_machine.price_usd_per_hour
        return (router or 0.0) - self.shared_usd_per_hour
