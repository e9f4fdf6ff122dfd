"""For each constraint, a plan that keeps it and a tampered one that the verifier names it for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.domain.plan import Contingency, Plan
from sky_melange.domain.profile import Capacity, Skipped
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.workload import (
    Budget,
    CandidateFilter,
    KeepExisting,
    Objective,
    RoutingPolicy,
    RunningGroup,
    SpotUse,
    Workload,
)
from sky_melange.optimizer.verify import verify

Capacities = dict[str, Sequence[Capacity | Skipped]]
Change = Callable[[Plan], Plan]

_RUNNING = RunningGroup(
    cloud="aws",
    region="us-east-1",
    zone=None,
    instance_type="h100.x1",
    catalog_accelerator="H100",
    accelerators_per_instance=1,
    use_spot=False,
    tensor_parallel=1,
    instances=1,
)
_GONE = replace(_RUNNING, instance_type="t4.x1", catalog_accelerator="T4", instances=3)

LIMITS: dict[str, Any] = {
    "max_accelerators_in": {"aws": {"H100": 2}, "gcp/us-central1": {"L4": 8}},
    "min_on_demand_replicas": 1,
    "max_cloud_share_fraction": 0.7,
    "max_region_share_fraction": 0.7,
    "max_spot_share_fraction": 0.5,
    "tolerate_replica_losses": 1,
    "keep": KeepExisting(plan="plan.json", groups=(_RUNNING, _GONE), switching_usd_per_hour=0.05),
}


@pytest.fixture(scope="module")
def workload(make_workload: Any) -> Workload:
    return make_workload(  # type: ignore[no-any-return]
        routing=RoutingPolicy.INPUT_AWARE,
        limits=LIMITS,
        router=RouterSettings(kind=RouterKind.NONE),
        candidates=CandidateFilter(spot=SpotUse.ALLOW),
    )


@pytest.fixture(scope="module")
def planned(workload: Workload, make_offer: Any, cpu_offer: Any, make_profile: Any, make_book: Any) -> pipeline.Planned:
    offers = [
        make_offer("H100", 3.0),
        make_offer("L4", 0.3, use_spot=True),
        make_offer("L4", 0.7, cloud="gcp", region="us-central1", instance_type="g2-standard-8"),
        cpu_offer(0.25),
        cpu_offer(0.2, cloud="gcp", region="us-central1", instance_type="e2-standard-4"),
    ]
    profiles = [make_profile("L4"), make_profile("H100", speed=4.0)]
    return pipeline.make_plan(workload, make_book(*offers), profiles, workload_digest="0")


@pytest.fixture(scope="module")
def capacities(planned: pipeline.Planned) -> Capacities:
    by_type = {(c.offer.cloud, c.offer.instance_type, c.offer.use_spot): c.capacities for c in planned.candidates}
    return {group.name: by_type[group.cloud, group.instance_type, group.use_spot] for group in planned.plan.groups}


def test_the_plan_keeps_every_limit(planned: pipeline.Planned, workload: Workload, capacities: Capacities) -> None:
    plan = planned.plan
    assert verify(plan, workload, capacities) == ()
    assert {group.cloud for group in plan.groups} == {"aws", "gcp"}
    assert any(group.use_spot for group in plan.groups)
    assert len(plan.contingencies) == len(plan.groups)
    assert plan.switching is not None
    assert plan.switching.stopped_instances >= 3


def _groups(plan: Plan, **changes: Any) -> Plan:
    return replace(plan, groups=tuple(replace(group, **changes) for group in plan.groups))


def _first_contingency(plan: Plan, change: Callable[[Contingency], Contingency]) -> Plan:
    first, *rest = plan.contingencies
    return replace(plan, contingencies=(change(first), *rest))


def _all_to(plan: Plan, name: str) -> Callable[[Contingency], Contingency]:
    def change(contingency: Contingency) -> Contingency:
        return replace(contingency, shares=tuple(((name, 1.0),) for _ in contingency.shares))

    return change


def _one_input_apart(contingency: Contingency) -> Contingency:
    """The first of two buckets of one input size goes elsewhere."""
    shares = dict(contingency.shares[0])
    (largest, share), *_ = sorted(shares.items(), key=lambda entry: -entry[1])
    others = [name for row in contingency.shares for name, _ in row if name != largest]
    moved = {largest: share - 0.01, others[0]: shares.get(others[0], 0.0) + 0.01}
    return replace(contingency, shares=(tuple(sorted({**shares, **moved}.items())), *contingency.shares[1:]))


TAMPERED: dict[str, tuple[Change, str]] = {
    "accelerators in a place": (
        lambda plan: replace(
            plan,
            groups=(*plan.groups, replace(plan.groups[0], name="more", cloud="aws", accelerator="H100", instances=9)),
        ),
        "× H100 are planned in aws, constraints.max_accelerators_in allows 2",
    ),
    "accelerators in a region": (
        lambda plan: _groups(plan, cloud="gcp", region="us-central1", accelerator="L4", instances=9),
        "× L4 are planned in gcp/us-central1, constraints.max_accelerators_in allows 8",
    ),
    "on-demand replicas": (
        lambda plan: _groups(plan, use_spot=True),
        "0 on-demand replicas are planned, constraints.min_on_demand_replicas is 1",
    ),
    "reserved capacity": (
        lambda plan: _groups(plan, cloud="aws", region="r", zone=None, instance_type="m", reserved_instances=1),
        "× aws/r/m are planned at the price of reserved capacity, 1 are reserved",
    ),
    "cloud share": (
        lambda plan: _groups(plan, cloud="aws"),
        "aws gets 100.0000% of the requests, constraints.max_cloud_share allows 70.0000%",
    ),
    "region share": (
        lambda plan: _groups(plan, cloud="aws", region="us-east-1"),
        "aws/us-east-1 gets 100.0000% of the requests, constraints.max_region_share allows",
    ),
    "spot share": (
        lambda plan: _groups(plan, use_spot=True),
        "spot gets 100.0000% of the requests, constraints.max_spot_share allows 50.0000%",
    ),
    "a loss without routing": (
        lambda plan: replace(plan, contingencies=plan.contingencies[1:]),
        "there is no routing for the loss of 1 × ",
    ),
    "too few instances to lose one": (
        lambda plan: replace(plan, groups=(replace(plan.groups[0], instances=1),), contingencies=()),
        "1 instances are planned, constraints.tolerate_replica_losses is 1",
    ),
    "a loss after which a group is overloaded": (
        lambda plan: _first_contingency(plan, _all_to(plan, _smallest(plan))),
        "is used to",
    ),
    "a loss after which requests go where nothing is": (
        lambda plan: _first_contingency(plan, _all_to(plan, "nowhere")),
        "is sent to nowhere, which cannot serve it",
    ),
    "a loss after which part of the requests goes nowhere": (
        lambda plan: _first_contingency(
            plan, lambda c: replace(c, shares=tuple(tuple((n, s / 2) for n, s in row) for row in c.shares))
        ),
        "do not sum to 1",
    ),
    "a loss after which a bucket has no routing": (
        lambda plan: _first_contingency(plan, lambda c: replace(c, shares=c.shares[1:])),
        "3 buckets are routed, there are 4",
    ),
    "a loss after which alike buckets part": (
        lambda plan: _first_contingency(plan, _one_input_apart),
        "input_aware routing cannot tell bucket",
    ),
    "changes that are not stated": (
        lambda plan: replace(plan, switching=None),
        "constraints.keep names a running plan, but the changes against it are not stated",
    ),
    "fewer changes than there are": (
        lambda plan: _switched(plan, stopped_instances=0),
        "instances started and 0 stopped, there are",
    ),
    "changes charged wrongly": (
        lambda plan: _switched(plan, charged_usd_per_hour=0.0),
        "the changes are charged USD 0.0 per hour, they come to",
    ),
}


def _smallest(plan: Plan) -> str:
    return min(plan.groups, key=lambda group: (group.replicas, group.accelerator == "H100", group.name)).name


def _switched(plan: Plan, **changes: Any) -> Plan:
    assert plan.switching is not None
    return replace(plan, switching=replace(plan.switching, **changes))


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_plan(name: str, planned: pipeline.Planned, workload: Workload, capacities: Capacities) -> None:
    change, expected = TAMPERED[name]
    known = {**capacities, "more": capacities[planned.plan.groups[0].name]}
    violations = verify(change(planned.plan), workload, known)
    assert any(expected in violation for violation in violations), violations


def test_each_instance_is_needed_to_survive(
    planned: pipeline.Planned, workload: Workload, capacities: Capacities
) -> None:
    for group in planned.plan.groups:
        fewer = tuple(
            replace(other, instances=other.instances - (other.name == group.name)) for other in planned.plan.groups
        )
        assert verify(replace(planned.plan, groups=fewer), workload, capacities)


def test_a_budget_whose_most_traffic_is_sought_is_not_exceeded(
    make_workload: Any, make_offer: Any, cpu_offer: Any, make_profile: Any, make_book: Any
) -> None:
    workload = make_workload(
        objective=Objective.MOST_TRAFFIC,
        budget=Budget(usd_per_hour=10.0),
        router=RouterSettings(kind=RouterKind.NONE),
    )
    book = make_book(make_offer("L4", 0.7), make_offer("H100", 3.0), cpu_offer(0.25))
    profiles = [make_profile("L4"), make_profile("H100", speed=4.0)]
    planned = pipeline.make_plan(workload, book, profiles, workload_digest="0")
    total = planned.plan.cost.total_usd_per_hour
    assert total <= 10.0
    by_type = {c.offer.instance_type: c.capacities for c in planned.candidates}
    known = {group.name: by_type[group.instance_type] for group in planned.plan.groups}
    assert verify(planned.plan, planned.workload, known) == ()
    less = replace(planned.workload, budget=Budget(usd_per_hour=total - 0.01))
    assert any("the budget whose most traffic is sought" in v for v in verify(planned.plan, less, known))
    more = replace(planned.workload.traffic, rates_rps=_scaled(planned.workload, 1.001))
    dearer = replace(planned.workload, traffic=more, objective=Objective.LEAST_COST)
    again = pipeline.make_plan(dearer, book, profiles, workload_digest="0")
    assert again.plan.cost.total_usd_per_hour > 10.0


def _scaled(workload: Workload, factor: float) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(rate * factor for rate in row) for row in workload.traffic.rates_rps)
