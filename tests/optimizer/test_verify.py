"""The verifier accepts what the pipeline makes, and names what is wrong with every tampered plan."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sky_melange import pipeline
from sky_melange.domain.plan import Overhead, Plan, ReplicaGroup
from sky_melange.domain.profile import Capacity, Skipped
from sky_melange.domain.router import RouterKind, RouterSettings
from sky_melange.domain.size_estimate import size_estimates
from sky_melange.domain.workload import RoutingPolicy, Workload
from sky_melange.optimizer.verify import verify

Capacities = dict[str, Sequence[Capacity | Skipped]]
Change = Callable[[Plan], Plan]


@pytest.fixture(scope="module")
def workload(make_workload: Any) -> Workload:
    limits = {"max_accelerators": {"H100": 2, "L4": 8}, "max_groups": 2, "min_replicas": 2}
    router = RouterSettings(kind=RouterKind.NONE)
    return make_workload(routing=RoutingPolicy.INPUT_AWARE, limits=limits, router=router)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def planned(workload: Workload, make_offer: Any, cpu_offer: Any, make_profile: Any, make_book: Any) -> pipeline.Planned:
    """A mix: L4 serves only inputs of 100 tokens, so an H100 is needed, and the rest is cheapest on L4."""
    small = make_profile("L4", shapes=((100, 100), (100, 500)))
    book = make_book(make_offer("L4", 0.7), make_offer("H100", 3.0), cpu_offer(0.25))
    return pipeline.make_plan(workload, book, [small, make_profile("H100", speed=4.0)], workload_digest="0")


@pytest.fixture(scope="module")
def capacities(planned: pipeline.Planned) -> Capacities:
    by_type = {candidate.offer.instance_type: candidate.capacities for candidate in planned.candidates}
    return {group.name: by_type[group.instance_type] for group in planned.plan.groups}


def test_the_plan_is_a_mix_and_holds(planned: pipeline.Planned, workload: Workload, capacities: Capacities) -> None:
    assert [(group.name, group.instances) for group in planned.plan.groups] == [("chat-h100", 1), ("chat-l4", 2)]
    assert planned.plan.cost.replicas_usd_per_hour == pytest.approx(4.4)
    assert planned.plan.cost.total_usd_per_hour == pytest.approx(4.65)
    assert verify(planned.plan, workload, capacities) == ()


def test_a_groups_concurrency_is_that_of_its_traffic_at_full_load(repository: Path) -> None:
    """By Little's law: what is in flight on a group when its traffic grows until its replicas are fully loaded."""
    planned = pipeline.plan_file(repository / "examples" / "means" / "workload.yaml")
    rates = [bucket.rate_rps for bucket in planned.workload.traffic.buckets()]
    for group in planned.plan.groups:
        (capacities,) = (
            one.capacities
            for one in planned.candidates
            if (one.offer.instance_type, one.offer.region, one.offer.use_spot, one.profile.key.tensor_parallel)
            == (group.instance_type, group.region, group.use_spot, group.tensor_parallel)
            and one.offer.cloud == group.cloud
        )
        in_flight, most = 0.0, 0.0
        shares = [dict(route.shares).get(group.name, 0.0) for route in planned.plan.routing]
        for part in size_estimates(planned.workload).parts:
            rate, capacity = rates[part.bucket], capacities[part.bucket]
            if share := shares[part.taken_for] * part.fractions[0]:
                assert isinstance(capacity, Capacity)
                latency_s = capacity.concurrency / capacity.request_rate_rps
                in_flight += rate * share * latency_s
                most = max(most, capacity.concurrency)
        replicas_used = group.utilization * group.replicas
        assert group.max_concurrency == pytest.approx(in_flight / replicas_used, abs=1.0)
        # The largest of any bucket would let far more in.
        assert group.max_concurrency < most * 0.75


def _group(plan: Plan, name: str, **changes: Any) -> Plan:
    groups = [replace(group, **changes) if group.name == name else group for group in plan.groups]
    return replace(plan, groups=tuple(groups))


def _route(plan: Plan, index: int, **changes: Any) -> Plan:
    routes = list(plan.routing)
    routes[index] = replace(routes[index], **changes)
    return replace(plan, routing=tuple(routes))


def _shares(plan: Plan, shares: dict[str, float]) -> Plan:
    """These shares for every bucket of 100 input tokens."""
    found = [
        replace(route, shares=tuple(shares.items())) if route.input_tokens == 100 else route for route in plan.routing
    ]
    return replace(plan, routing=tuple(found))


def _extra(plan: Plan, **changes: Any) -> Plan:
    group: ReplicaGroup = replace(plan.groups[-1], name="chat-more", **changes)
    return replace(plan, groups=(*plan.groups, group))


TAMPERED: dict[str, tuple[Change, str]] = {
    "one instance removed": (
        lambda plan: _group(plan, "chat-l4", instances=1),
        "chat-l4 is used to",
    ),
    "all instances removed": (lambda plan: _group(plan, "chat-l4", instances=0), "chat-l4 has 0 instances"),
    "one instance added, its cost not": (
        lambda plan: _group(plan, "chat-l4", instances=3),
        "cost.replicas_usd_per_hour is",
    ),
    "more traffic to a group than it carries": (
        lambda plan: _shares(plan, {"chat-l4": 1.0}),
        "chat-l4 is used to",
    ),
    "shares that do not sum to one": (
        lambda plan: _shares(plan, {"chat-l4": 0.4, "chat-h100": 0.5}),
        "the shares of bucket ≤100 in × ≤100 out do not sum to 1",
    ),
    "a negative share": (
        lambda plan: _shares(plan, {"chat-l4": -0.1, "chat-h100": 1.1}),
        "sends the share -0.1 to chat-l4",
    ),
    "a share that is not a number": (
        lambda plan: _shares(plan, {"chat-l4": float("nan"), "chat-h100": 1.0}),
        "do not sum to 1",
    ),
    "a bucket sent where it cannot be served": (
        lambda plan: _route(plan, 2, shares=(("chat-l4", 1.0),)),
        "chat-l4 is sent bucket ≤1000 in × ≤100 out, which it cannot serve: 1000 input tokens, but the profile covers",
    ),
    "a route dropped": (
        lambda plan: replace(plan, routing=plan.routing[1:]),
        "bucket ≤100 in × ≤100 out has traffic but no route",
    ),
    "a route twice": (
        lambda plan: replace(plan, routing=(*plan.routing, plan.routing[0])),
        "a bucket is routed twice",
    ),
    "a route at another rate": (
        lambda plan: _route(plan, 3, rate_rps=0.5),
        "bucket ≤1000 in × ≤500 out is planned for 0.5 req/s, the workload has 1",
    ),
    "an unknown group": (
        lambda plan: _shares(plan, {"chat-a100": 0.5, "chat-h100": 0.5}),
        "is routed to chat-a100, which is no group of the plan",
    ),
    "buckets that look alike routed apart": (
        lambda plan: _route(plan, 1, shares=(("chat-h100", 1.0),)),
        "input_aware routing cannot tell ≤100 in × ≤500 out from ≤100 in × ≤100 out",
    ),
    "another policy": (
        lambda plan: replace(plan, policy=RoutingPolicy.SIZE_AWARE),
        "the plan routes size_aware, the workload asks for input_aware",
    ),
    "more accelerators than allowed": (
        lambda plan: _group(plan, "chat-h100", accelerators_per_instance=8),
        "8 × H100 are planned, constraints.max_accelerators allows 2",
    ),
    "more groups than allowed": (
        _extra,
        "3 groups are planned, constraints.max_groups is 2",
    ),
    "fewer replicas than asked for": (
        lambda plan: replace(plan, groups=plan.groups[:1]),
        "1 replicas are planned, constraints.min_replicas is 2",
    ),
    "another cost of the replicas": (
        lambda plan: replace(plan, cost=replace(plan.cost, replicas_usd_per_hour=4.39)),
        "cost.replicas_usd_per_hour is 4.39",
    ),
    "another cost of the overhead": (
        lambda plan: replace(plan, cost=replace(plan.cost, overhead_usd_per_hour=0.0)),
        "cost.overhead_usd_per_hour is 0.0",
    ),
    "another total": (
        lambda plan: replace(plan, cost=replace(plan.cost, total_usd_per_hour=4.4)),
        "cost.total_usd_per_hour is 4.4",
    ),
    "overhead left out": (lambda plan: replace(plan, overhead=()), "cost.overhead_usd_per_hour is 0.25"),
    "a price changed": (
        lambda plan: _group(plan, "chat-h100", price_usd_per_hour=2.0),
        "cost.replicas_usd_per_hour is",
    ),
    "a price that is not a number": (
        lambda plan: _group(plan, "chat-h100", price_usd_per_hour=float("nan")),
        "chat-h100 has the price nan",
    ),
    "a negative price": (
        lambda plan: _group(plan, "chat-h100", price_usd_per_hour=-3.0),
        "chat-h100 has the price -3.0",
    ),
    "another utilisation": (
        lambda plan: _group(plan, "chat-l4", utilization=0.1),
        "chat-l4 states a utilisation of 0.1",
    ),
    "no groups": (lambda plan: replace(plan, groups=()), "which is no group of the plan"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_plan(name: str, planned: pipeline.Planned, workload: Workload, capacities: Capacities) -> None:
    change, expected = TAMPERED[name]
    known = {**capacities, "chat-more": capacities["chat-l4"]}
    violations = verify(change(planned.plan), workload, known)
    assert any(expected in violation for violation in violations), violations


def test_each_instance_of_each_group_is_needed(
    planned: pipeline.Planned, workload: Workload, capacities: Capacities
) -> None:
    for group in planned.plan.groups:
        fewer = _group(planned.plan, group.name, instances=group.instances - 1)
        violations = verify(fewer, workload, capacities)
        assert any(violation.startswith(group.name) for violation in violations), violations


def test_overhead_of_unknown_price_adds_nothing(
    planned: pipeline.Planned, workload: Workload, capacities: Capacities
) -> None:
    unknown: Overhead = replace(planned.plan.overhead[0], price_usd_per_hour=None)
    cost = replace(planned.plan.cost, overhead_usd_per_hour=0.0, total_usd_per_hour=4.4, worst_case_usd_per_hour=4.4)
    assert verify(replace(planned.plan, overhead=(unknown,), cost=cost), workload, capacities) == ()


def test_the_verifier_does_not_load_the_solver(repository: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import sky_melange.optimizer.verify; "
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('pulp', 'highspy') "
        "or name == 'sky_melange.optimizer.solve.solver'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(repository)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("requests_per_second", "policy"), [(100.0, policy) for policy in RoutingPolicy] + [(20_000.0, RoutingPolicy.BLIND)]
)
def test_what_the_pipeline_plans_holds_under_every_policy(
    requests_per_second: float, policy: RoutingPolicy, make_workload: Any, planning: Any
) -> None:
    rate = requests_per_second
    workload = make_workload(((0.5 * rate, 0.25 * rate), (0.125 * rate, 0.125 * rate)), routing=policy)
    planned = planning(workload)
    assert planned.plan.policy is policy


@pytest.fixture
def planning(make_offer: Any, cpu_offer: Any, make_profile: Any, make_book: Any) -> Callable[[Workload], Any]:
    def plan(workload: Workload) -> pipeline.Planned:
        book = make_book(make_offer("L4", 0.7), make_offer("H100", 1.8), cpu_offer())
        return pipeline.make_plan(
            workload, book, [make_profile("L4"), make_profile("H100", speed=2.5)], workload_digest="0"
        )

    return plan


@pytest.mark.slow
def test_a_very_large_plan_with_a_very_small_group_passes_its_own_check(make_workload: Any, planning: Any) -> None:
    for thousands in range(300, 340):
        rate = 1000.0 * thousands
        limits = {"max_accelerators": {"H100": 1}}
        planning(make_workload(((rate, rate / 3), (rate / 7, rate / 11)), routing=RoutingPolicy.BLIND, limits=limits))
