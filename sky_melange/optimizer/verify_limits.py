"""Checks the limits of a workload against a finished plan, in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.workload import Constraints, Objective, SpotUse, Workload

_SHARE_TOLERANCE: Final = 1e-6


def limit_violations(plan: Plan, workload: Workload) -> Iterator[str]:
    """What the plan has too much or too little of."""
    limits = workload.constraints
    yield from _candidates(plan, workload)
    yield from _accelerators(plan, limits)
    yield from _replicas(plan, limits)
    yield from _reserved(plan)
    yield from _shares(plan, limits)
    yield from _switching(plan, limits)
    yield from _budget(plan, workload)


def _candidates(plan: Plan, workload: Workload) -> Iterator[str]:
    """Every group is a machine that the workload considers, with a profile that it relies on."""
    allowed, weakest = workload.candidates, workload.constraints.min_profile_kind
    kinds = list(ProfileKind)
    for group in plan.groups:
        for key, found, among in (
            ("accelerators", group.accelerator, allowed.accelerators),
            ("clouds", group.cloud, allowed.clouds),
            (f"regions.{group.cloud}", group.region, allowed.regions.get(group.cloud)),
        ):
            if among is not None and found not in among:
                yield f"{group.name} is {found}, candidates.{key} allows {', '.join(among)}"
        if allowed.spot is (SpotUse.NEVER if group.use_spot else SpotUse.ONLY):
            yield f"{group.name} is {'' if group.use_spot else 'not '}spot, candidates.spot is {allowed.spot}"
        if weakest is not None and kinds.index(group.profile.kind) > kinds.index(weakest):
            yield f"the profile of {group.name} is {group.profile.kind}, constraints.min_profile_kind is {weakest}"


def _accelerators(plan: Plan, limits: Constraints) -> Iterator[str]:
    for accelerator, limit in limits.max_accelerators.items():
        used = _gpus(plan.groups, accelerator)
        if used > limit:
            yield f"{used} × {accelerator} are planned, constraints.max_accelerators allows {limit}"
    for place, by_accelerator in limits.max_accelerators_in.items():
        for accelerator, limit in by_accelerator.items():
            used = _gpus((g for g in plan.groups if place in (g.cloud, f"{g.cloud}/{g.region}")), accelerator)
            if used > limit:
                yield (f"{used} × {accelerator} are planned in {place}, constraints.max_accelerators_in allows {limit}")


def _gpus(groups: Iterable[ReplicaGroup], accelerator: str) -> int:
    return sum(
        group.instances * group.accelerators_per_instance for group in groups if group.accelerator == accelerator
    )


def _replicas(plan: Plan, limits: Constraints) -> Iterator[str]:
    replicas = sum(group.replicas for group in plan.groups)
    if replicas < limits.min_replicas:
        yield f"{replicas} replicas are planned, constraints.min_replicas is {limits.min_replicas}"
    on_demand = sum(group.replicas for group in plan.groups if not group.use_spot)
    if on_demand < limits.min_on_demand_replicas:
        wanted = limits.min_on_demand_replicas
        yield f"{on_demand} on-demand replicas are planned, constraints.min_on_demand_replicas is {wanted}"
    if limits.max_groups is not None and len(plan.groups) > limits.max_groups:
        yield f"{len(plan.groups)} groups are planned, constraints.max_groups is {limits.max_groups}"
    for group in plan.groups:
        if group.instances < 1:
            yield f"{group.name} has {group.instances} instances"


def _reserved(plan: Plan) -> Iterator[str]:
    """Groups that share reserved capacity have no more of it than there is."""
    used = Counter[tuple[str, int]]()
    for group in plan.groups:
        if group.reserved_instances is not None:
            place = "/".join(filter(None, (group.cloud, group.region, group.zone, group.instance_type)))
            used[place, group.reserved_instances] += group.instances
    for (place, reserved), instances in used.items():
        if instances > reserved:
            yield f"{instances} × {place} are planned at the price of reserved capacity, {reserved} are reserved"


def _shares(plan: Plan, limits: Constraints) -> Iterator[str]:
    clouds = sorted({group.cloud for group in plan.groups})
    regions = sorted({f"{group.cloud}/{group.region}" for group in plan.groups})
    for cloud in clouds:
        yield from _share(plan, "max_cloud_share", cloud, limits.max_cloud_share_fraction, lambda g: g.cloud)
    for region in regions:
        yield from _share(
            plan, "max_region_share", region, limits.max_region_share_fraction, lambda g: f"{g.cloud}/{g.region}"
        )
    yield from _share(
        plan, "max_spot_share", "spot", limits.max_spot_share_fraction, lambda g: "spot" if g.use_spot else ""
    )


def _share(
    plan: Plan, key: str, place: str, limit: float | None, place_of: Callable[[ReplicaGroup], str]
) -> Iterator[str]:
    names = {group.name for group in plan.groups if place_of(group) == place}
    total = math.fsum(route.routed_rps for route in plan.routing)
    routed = math.fsum(
        route.routed_rps * share for route in plan.routing for name, share in route.shares if name in names
    )
    if limit is not None and total > 0 and routed / total > limit + _SHARE_TOLERANCE:
        yield f"{place} gets {routed / total:.4%} of the requests, constraints.{key} allows {limit:.4%}"


def _switching(plan: Plan, limits: Constraints) -> Iterator[str]:
    """The changes stated are those between the running plan and this one."""
    keep = limits.keep
    if keep is None:
        return
    if plan.switching is None:
        yield "constraints.keep names a running plan, but the changes against it are not stated"
        return
    before, now = Counter[tuple[object, ...]](), Counter[tuple[object, ...]]()
    for running in keep.groups:
        before[running.identity] += running.instances
    for group in plan.groups:
        now[_identity(group)] += group.instances
    started, stopped = (now - before).total(), (before - now).total()
    stated = (plan.switching.started_instances, plan.switching.stopped_instances)
    if stated != (started, stopped):
        yield f"stated are {stated[0]} instances started and {stated[1]} stopped, there are {started} and {stopped}"
    charged = keep.switching_usd_per_hour * (started + stopped)
    if not math.isclose(plan.switching.charged_usd_per_hour, charged, rel_tol=1e-9, abs_tol=1e-9):
        yield f"the changes are charged USD {plan.switching.charged_usd_per_hour!r} per hour, they come to {charged!r}"


def _identity(group: ReplicaGroup) -> tuple[object, ...]:
    return (
        group.cloud,
        group.region,
        group.zone,
        group.instance_type,
        group.catalog_accelerator,
        group.accelerators_per_instance,
        group.use_spot,
        group.tensor_parallel,
    )


def _budget(plan: Plan, workload: Workload) -> Iterator[str]:
    """Where the budget decides how much traffic is planned for; otherwise `check` reports a plan that is over it."""
    limit = None if workload.budget is None else workload.budget.limit_usd_per_hour
    total = plan.cost.total_usd_per_hour
    if workload.objective is Objective.MOST_TRAFFIC and limit is not None and total > limit * (1 + 1e-9):
        yield f"the plan costs USD {total!r} per hour, the budget whose most traffic is sought is {limit!r}"
