"""Checks a finished plan from the outside: demand, capacity, limits and cost, in plain Python.

Knows nothing of the solver or its model. It takes the plan as written, recomputes every sum, and reports what does
not hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.commitments import commitment_faults
from sky_melange.domain.front_door import ROUTER_PURPOSE, needs_router
from sky_melange.domain.hours import Period, most_changes
from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Plan, ReplicaGroup, Route
from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.schedule_rules import schedule_faults
from sky_melange.domain.size_estimate import size_estimates
from sky_melange.domain.workload import CandidateFilter, ControllerPlace, LaunchMode, RoutingPolicy, SpotUse, Workload
from sky_melange.optimizer.limits import LIMITS
from sky_melange.optimizer.limits.utilization import TOLERANCE
from sky_melange.optimizer.problem import GroupCapacities


def verify(plan: Plan, workload: Workload, capacities: GroupCapacities) -> tuple[str, ...]:
    """Every way in which the plan does not do what it says; empty when it holds."""
    buckets = workload.traffic.buckets()
    return (
        *_demand(plan, workload, buckets),
        *_policy(plan, workload),
        *_candidates(plan, workload),
        *(message for kind in LIMITS.values() for message in kind.violations(plan, workload, capacities)),
        *_overhead(plan, workload),
        *_cost(plan),
        *_schedule(plan, workload, capacities),
        *commitment_faults(plan, workload),
    )


def _demand(plan: Plan, workload: Workload, buckets: Sequence[Bucket]) -> Iterator[str]:
    """Every bucket with traffic is routed, whole, to groups that exist."""
    names = {group.name for group in plan.groups}
    routed = {(route.input_tokens, route.output_tokens): route for route in plan.routing}
    if len(routed) != len(plan.routing):
        yield "a bucket is routed twice"
    taken = size_estimates(workload).taken_rps(buckets)
    for index, bucket in enumerate(buckets):
        route = routed.get((bucket.input_tokens, bucket.output_tokens))
        if route is None:
            yield f"bucket {bucket.label} has traffic but no route"
            continue
        if not math.isclose(route.rate_rps, bucket.rate_rps, rel_tol=TOLERANCE):
            yield f"bucket {bucket.label} is planned for {route.rate_rps:g} req/s, the workload has {bucket.rate_rps:g}"
        taken_rps = bucket.rate_rps if taken is None else taken[index]
        if not math.isclose(route.routed_rps, taken_rps, rel_tol=TOLERANCE, abs_tol=1e-12):
            yield f"bucket {bucket.label} is taken to get {route.routed_rps:g} req/s, recomputed {taken_rps:g}"
        if not math.isclose(math.fsum(share for _, share in route.shares), 1.0, rel_tol=TOLERANCE):
            yield f"the shares of bucket {bucket.label} do not sum to 1"
        for name, share in route.shares:
            if name not in names:
                yield f"bucket {bucket.label} is routed to {name}, which is no group of the plan"
            if not 0 <= share <= 1 + TOLERANCE:
                yield f"bucket {bucket.label} sends the share {share:g} to {name}"


def _policy(plan: Plan, workload: Workload) -> Iterator[str]:
    """Buckets that the front door cannot tell apart have the same shares."""
    if plan.policy is not workload.routing:
        yield f"the plan routes {plan.policy}, the workload asks for {workload.routing}"
    first: dict[int, Route] = {}
    for route in plan.routing:
        key = {RoutingPolicy.INPUT_AWARE: route.input_tokens, RoutingPolicy.BLIND: 0}.get(plan.policy)
        if key is None:
            return
        twin = first.setdefault(key, route)
        if dict(twin.shares) != dict(route.shares):
            yield (
                f"{plan.policy} routing cannot tell ≤{route.input_tokens} in × ≤{route.output_tokens} out from "
                f"≤{twin.input_tokens} in × ≤{twin.output_tokens} out, but their shares differ"
            )


def _candidates(plan: Plan, workload: Workload) -> Iterator[str]:
    """Every group is a machine that the workload considers, with a profile that it relies on."""
    allowed, weakest = workload.candidates, workload.constraints.min_profile_kind
    kinds = list(ProfileKind)
    for group in plan.groups:
        for key, found, among in (
            ("accelerators", group.accelerator, allowed.accelerators),
            ("clouds", group.cloud, None if _has_cloud(allowed, group) else allowed.clouds),
            (f"regions.{group.cloud}", group.region, allowed.regions.get(group.cloud)),
        ):
            if among is not None and found not in among:
                yield f"{group.name} is {found}, candidates.{key} allows {', '.join(among)}"
        if group.cloud in OWN_CLOUDS and not any(
            gpus.accelerator == group.accelerator and group.accelerators_per_instance in gpus.sizes
            for gpus in allowed.own_at(group.cloud, group.region)
        ):
            asked = f"{group.accelerators_per_instance} × {group.accelerator}"
            yield f"{group.name} has pods with {asked} on {group.cloud} {group.region}, which candidates.own has not"
        if allowed.spot is (SpotUse.NEVER if group.use_spot else SpotUse.ONLY):
            yield f"{group.name} is {'' if group.use_spot else 'not '}spot, candidates.spot is {allowed.spot}"
        if weakest is not None and kinds.index(group.profile.kind) > kinds.index(weakest):
            yield f"the profile of {group.name} is {group.profile.kind}, constraints.min_profile_kind is {weakest}"


def _has_cloud(allowed: CandidateFilter, group: ReplicaGroup) -> bool:
    # Which GPUs there are of one's own is a question of its own.
    return group.cloud in OWN_CLOUDS or allowed.has_cloud(group.cloud, group.region, is_own=group.price.is_own)


def _overhead(plan: Plan, workload: Workload) -> Iterator[str]:
    """The machines beside the replicas are those that these groups need, each once."""
    wanted = []
    launch = workload.launch
    if launch.mode is LaunchMode.SERVE and launch.controller is ControllerPlace.MACHINE:
        wanted.append(CONTROLLER_PURPOSE)
    if needs_router(plan.groups, workload):
        wanted.append(ROUTER_PURPOSE)
    found = [machine.purpose for machine in plan.overhead]
    if sorted(found) != sorted(wanted):
        yield f"beside the replicas are {', '.join(found) or 'no machines'}, needed: {', '.join(wanted) or 'none'}"


def _cost(plan: Plan) -> Iterator[str]:
    """Cost equals Σ price x count, and the total adds the overhead whose price is known."""
    replicas = math.fsum(group.cost_usd_per_hour for group in plan.groups)
    surge = math.fsum(group.surge_usd_per_hour for group in plan.groups)
    overhead = math.fsum(machine.price_usd_per_hour or 0.0 for machine in plan.overhead)
    for what, stated, computed in (
        ("replicas", plan.cost.replicas_usd_per_hour, replicas),
        ("overhead", plan.cost.overhead_usd_per_hour, overhead),
        ("total", plan.cost.total_usd_per_hour, math.fsum((replicas, overhead))),
        ("worst_case", plan.cost.worst_case_usd_per_hour, math.fsum((replicas, overhead, surge))),
    ):
        if not math.isclose(stated, computed, rel_tol=1e-9, abs_tol=1e-9):
            yield f"cost.{what}_usd_per_hour is {stated!r}, the sum is {computed!r}"
    for group in plan.groups:
        if not (math.isfinite(group.price_usd_per_hour) and group.price_usd_per_hour >= 0):
            yield f"{group.name} has the price {group.price_usd_per_hour!r}"


_OF_THE_HOUR: Final = ("budget", "switching")
"""Limits of the busiest period alone."""


def _schedule(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
    """Every hour has its instances, which carry its rate within every limit, and the costs are those of the cycle."""
    schedule = plan.schedule
    if schedule is None:
        return
    yield from schedule_faults(plan, workload)
    if len(schedule.periods) != 1 + max(schedule.period_of_hour, default=-1) or any(
        len(period.instances) != len(plan.groups) for period in schedule.periods
    ):
        return
    for period in schedule.periods:
        if not period.rate_rps and workload.constraints.may_stop:
            continue
        view, asked = in_period(plan, workload, period)
        for name, kind in LIMITS.items():
            if name not in _OF_THE_HOUR:
                for message in kind.violations(view, asked, capacities):
                    yield f"{hours_of(period)}: {message}"
    limit = workload.constraints.max_changes_per_hour
    most = most_changes(schedule.period_of_hour, [period.instances for period in schedule.periods])
    if limit is not None and most > limit:
        yield f"{most} instances start or stop from one hour to the next, constraints.max_changes_per_hour is {limit}"


def hours_of(period: Period) -> str:
    """For messages."""
    sizes = "" if period.sizes is None else f" with the sizes {period.sizes!r}"
    return f"in the hours of up to {period.rate_rps:g} req/s{sizes}"


def in_period(plan: Plan, workload: Workload, period: Period) -> tuple[Plan, Workload]:
    """A period of a plan's schedule as a plan of its own, and the traffic that it is for."""
    traffic = workload.traffic
    part = period.rate_rps / traffic.request_rate_rps
    groups = tuple(
        replace(group, instances=count, utilization=group.utilization * part * group.instances / max(1, count))
        for group, count in zip(plan.groups, period.instances, strict=True)
    )
    counts = {group.name: group.instances for group in groups}
    routing = tuple(
        replace(
            route,
            rate_rps=route.rate_rps * part,
            taken_rps=None if route.taken_rps is None else route.taken_rps * part,
        )
        for route in plan.routing
    )
    view = replace(
        plan,
        groups=groups,
        routing=routing,
        schedule=None,
        contingencies=tuple(
            each for each in plan.contingencies if all(gone <= counts.get(name, 0) for name, gone in each.lost)
        ),
    )
    number = next((i for i, each in enumerate(traffic.size_sets) if each.name == period.sizes), 0)
    return view, replace(workload, traffic=traffic.within(number, period.rate_rps))
