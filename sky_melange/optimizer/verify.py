"""Checks a finished plan from the outside: demand, capacity, limits and cost, in plain Python.

Knows nothing of the solver or its model. It takes the plan as written, recomputes every sum, and reports what does
not hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.front_door import ROUTER_PURPOSE, needs_router
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Plan, Route
from sky_melange.domain.profile import Skipped
from sky_melange.domain.size_estimate import capacity_of, size_estimates
from sky_melange.domain.workload import ControllerPlace, LaunchMode, RoutingPolicy, Workload
from sky_melange.optimizer.verify_limits import limit_violations
from sky_melange.optimizer.verify_losses import TOLERANCE, GroupCapacities, loss_violations

__all__ = ["TOLERANCE", "GroupCapacities", "verify"]


def verify(plan: Plan, workload: Workload, capacities: GroupCapacities) -> tuple[str, ...]:
    """Every way in which the plan does not do what it says; empty when it holds."""
    buckets = workload.traffic.buckets()
    return (
        *_demand(plan, workload, buckets),
        *_capacity(plan, workload, buckets, capacities),
        *_policy(plan, workload),
        *limit_violations(plan, workload),
        *loss_violations(plan, workload, capacities),
        *_overhead(plan, workload),
        *_cost(plan),
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


def _capacity(plan: Plan, workload: Workload, buckets: Sequence[Bucket], capacities: GroupCapacities) -> Iterator[str]:
    """No group carries more than its replicas sustain within the allowed utilisation, on buckets that it can serve."""
    routed = {(route.input_tokens, route.output_tokens): route for route in plan.routing}
    estimates = size_estimates(workload)
    shares = [_shares(routed.get((bucket.input_tokens, bucket.output_tokens))) for bucket in buckets]
    for group in plan.groups:
        busy_replicas = [0.0] * estimates.cases
        for part in estimates.parts:
            bucket = buckets[part.bucket]
            share = shares[part.taken_for].get(group.name, 0.0)
            if share == 0:
                continue
            capacity = capacity_of(part, capacities[group.name])
            if isinstance(capacity, Skipped):
                as_what = "" if part.taken_for == part.bucket else f" as if it were {buckets[part.taken_for].label}"
                yield f"{group.name} is sent bucket {bucket.label}{as_what}, which it cannot serve: {capacity.detail}"
                continue
            for case, fraction in enumerate(part.fractions):
                busy_replicas[case] += bucket.rate_rps * share * fraction / capacity.request_rate_rps
        utilization = busy_replicas[0] / group.replicas if group.replicas else math.inf
        most = max(busy_replicas)
        limit = workload.constraints.max_utilization
        if most > 0 and most > group.replicas * limit * (1 + TOLERANCE):
            used = most / group.replicas if group.replicas else math.inf
            where = "" if most == busy_replicas[0] else ", where all estimates of sizes are off"
            yield f"{group.name} is used to {used:.4f} of its {group.replicas} replicas, over {limit:g}{where}"
        elif not math.isclose(utilization if group.replicas else 0.0, group.utilization, abs_tol=1e-6):
            yield f"{group.name} states a utilisation of {group.utilization:g}, recomputed {utilization:g}"


def _shares(route: Route | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, share in () if route is None else route.shares:
        found[name] = found.get(name, 0.0) + share
    return found


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
    replicas = math.fsum(group.price_usd_per_hour * group.instances for group in plan.groups)
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
