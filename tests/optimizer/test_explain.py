"""Every figure of an explanation, checked by solving again: on both sides of each claimed flip point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import EXACT, cost_of, problems
from property_examples import examples
from test_limits import LIMITS

from sky_melange import pipeline
from sky_melange.domain.explanation import Explanation
from sky_melange.domain.offer import Offer
from sky_melange.domain.workload import RoutingPolicy, SolverSettings, Workload
from sky_melange.errors import NotOptimalError
from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.problem import Limit, Problem
from sky_melange.optimizer.why.explain import limit_costs
from sky_melange.optimizer.why.oracle import Oracle, factor_at, forced, priced
from sky_melange.optimizer.why.rates import FACTORS, mixes

_ASIDE = 1e-4


def _objective(problem: Problem) -> float | None:
    return Oracle(EXACT).objective(problem)


@examples(60)
@given(data=st.data())
def test_at_a_flip_point_using_costs_the_same_as_not_using(data: st.DataObject) -> None:
    problem = data.draw(problems(max_classes=3, max_candidates=4, limited=False))
    for name in data.draw(st.sets(st.sampled_from(("caps", "groups", "losses", "switching", "shares")), max_size=1)):
        problem = LIMITS[name](data, problem)
    some = sorted(data.draw(st.sets(st.integers(0, problem.candidate_count - 1), min_size=1)))
    left = [c for c in range(problem.candidate_count) if c not in some]
    oracle = Oracle(EXACT)
    target = oracle.optimum_of_some(problem, left)
    if target is None:
        return
    factor = factor_at(oracle, problem, some, target)
    if factor is None:
        free = _objective(priced(forced(problem, some), some, 1e-9))
        assert free is None or free >= target * (1 - 1e-6)
        return
    below = _objective(priced(problem, some, factor * (1 - _ASIDE)))
    above = _objective(priced(forced(problem, some), some, factor * (1 + _ASIDE)))
    assert below is not None
    assert below < target
    assert above is None or above > target
    assert _objective(priced(problem, some, factor * (1 + _ASIDE))) == pytest.approx(target, rel=1e-6)


@examples(15)
@given(problems(max_classes=3, max_candidates=4, limited=False), st.data())
def test_types_are_best_up_to_a_flip_and_not_after_it(problem: Problem, data: st.DataObject) -> None:
    names = [data.draw(st.sampled_from("ABC")) for _ in range(problem.candidate_count)]
    found = mixes(Oracle(EXACT), problem, names, 10.0)
    assert found[0].from_rps == pytest.approx(10.0 * FACTORS[0])
    assert found[-1].to_rps == pytest.approx(10.0 * FACTORS[-1])
    for entry, following in zip(found, [*found[1:], None], strict=True):
        own = [c for c, name in enumerate(names) if name in entry.accelerators]
        for rate_rps in (entry.from_rps, entry.to_rps):
            scaled = problem.at_traffic(rate_rps / 10.0)
            assert cost_of(scaled.restricted_to(own)) == pytest.approx(cost_of(scaled), rel=1e-5)
        if entry.changes_at_rps is not None:
            assert following is not None
            assert following.from_rps == entry.changes_at_rps
            assert 1 < entry.changes_at_rps / entry.to_rps <= 1.0051
            scaled = problem.at_traffic(entry.changes_at_rps / 10.0)
            alone, best = _alone(scaled, own), cost_of(scaled)
            assert best is not None
            assert alone is None or alone > best * (1 + 1e-6)


def _alone(problem: Problem, kept: Sequence[int]) -> float | None:
    restricted = problem.restricted_to(kept)
    if any(all(load is None for load in row) for row in restricted.loads):
        return None
    return cost_of(restricted)


def _without(problem: Problem, kind: type[Limit]) -> Problem:
    return replace(problem, limits=tuple(limit for limit in problem.limits if not isinstance(limit, kind)))


@examples(40)
@given(data=st.data())
def test_a_constraint_costs_what_dropping_it_saves(data: st.DataObject) -> None:
    problem = data.draw(problems(max_classes=3, limited=False))
    for name in ("caps", "groups", "losses", "replicas"):
        problem = LIMITS[name](data, problem)
    with_all = cost_of(problem)
    if with_all is None:
        return
    found = {entry.name: entry.cost_without_usd_per_hour for entry in limit_costs(Oracle(EXACT), problem)}
    assert found["cap"] == pytest.approx(cost_of(_without(problem, Cap)))
    assert found["constraints.max_groups"] == pytest.approx(cost_of(_without(problem, MaxGroups)))
    assert found["constraints.tolerate_replica_losses"] == pytest.approx(cost_of(replace(problem, losses=0)))
    assert all(cost is not None and cost <= with_all * (1 + 1e-6) for cost in found.values())


@pytest.fixture
def offers(make_offer: Any) -> list[Offer]:
    return [
        make_offer("L4", 0.7),
        make_offer("L4", 0.72, region="us-west-2"),
        make_offer("H100", 3.0),
        make_offer("H100", 3.1, cloud="gcp", region="us-central1", instance_type="a3"),
        make_offer("A100", 2.5, cloud="gcp", region="us-central1", instance_type="a2"),
    ]


@pytest.fixture
def planner(make_profile: Any, make_book: Any, cpu_offer: Any) -> Callable[..., pipeline.Planned]:
    def plan(workload: Workload, offers: Sequence[Offer], *, is_explained: bool = False) -> pipeline.Planned:
        profiles = [
            make_profile("L4", shapes=((100, 100), (100, 500))),
            make_profile("H100", speed=5.0),
            make_profile("A100", speed=2.0),
        ]
        # Everywhere, so that the controller has no say in the choice: explanations are of replicas.
        places = sorted({(offer.cloud, offer.region) for offer in offers})
        book = make_book(*offers, *(cpu_offer(cloud=cloud, region=region) for cloud, region in places))
        return pipeline.make_plan(workload, book, profiles, workload_digest="0", is_explained=is_explained)

    return plan


@pytest.fixture
def workload(make_workload: Any) -> Workload:
    limits = {"max_accelerators": {"H100": 2}, "max_groups": 3, "tolerate_replica_losses": 1}
    return make_workload(((14.0, 6.0), (3.0, 2.0)), limits=limits, routing=RoutingPolicy.INPUT_AWARE)  # type: ignore[no-any-return]


def _explanation(planned: pipeline.Planned) -> Explanation:
    assert planned.plan.explanation is not None
    return planned.plan.explanation


def _repriced(offers: Sequence[Offer], changes: Callable[[Offer], float]) -> list[Offer]:
    return [replace(offer, price_usd_per_hour=offer.price_usd_per_hour * changes(offer)) for offer in offers]


def _used(planned: pipeline.Planned) -> set[str]:
    return {
        "/".join((g.cloud, g.region, g.instance_type)) + (":spot" if g.use_spot else "") for g in planned.plan.groups
    }


@pytest.mark.slow
def test_the_prices_at_which_offers_leave_and_enter(workload: Workload, offers: list[Offer], planner: Any) -> None:
    planned = planner(workload, offers, is_explained=True)
    found = _explanation(planned)
    assert {entry.label for entry in found.offers} == _used(planned)
    for entry in found.offers:
        assert entry.factor is not None
        assert entry.factor >= 1
        for factor, stays in ((entry.factor * (1 - _ASIDE), True), (entry.factor * (1 + _ASIDE), False)):
            changed = planner(workload, _repriced(offers, lambda o, f=factor, e=entry: f if o.name == e.label else 1.0))
            assert (entry.label in _used(changed)) == stays, (entry.label, factor)
    assert found.near_misses
    for miss in found.near_misses:
        if miss.enters_at_usd_per_hour is None:
            continue
        factor = miss.enters_at_usd_per_hour / miss.price_usd_per_hour
        assert factor <= 1 + 1e-9
        for aside, enters in ((factor * (1 - _ASIDE), True), (factor * (1 + _ASIDE), False)):
            changed = planner(workload, _repriced(offers, lambda o, f=aside, m=miss: f if o.name == m.label else 1.0))
            assert (miss.label in _used(changed)) == enters, (miss.label, aside)


@pytest.mark.slow
def test_what_is_best_without_an_offer_or_a_type(workload: Workload, offers: list[Offer], planner: Any) -> None:
    found = _explanation(planner(workload, offers, is_explained=True))
    for entry in (*found.offers, *found.accelerators):
        is_type = entry.price_usd_per_hour is None
        rest = [o for o in offers if (o.accelerator if is_type else o.name) != entry.label]
        if entry.without is None:
            continue
        again = planner(workload, rest)
        assert again.plan.cost.total_usd_per_hour == pytest.approx(entry.without.cost_usd_per_hour)
    for entry in found.accelerators:
        if entry.factor is None:
            continue
        for factor, stays in ((entry.factor * (1 - _ASIDE), True), (entry.factor * (1 + _ASIDE), False)):
            changed = planner(
                workload, _repriced(offers, lambda o, f=factor, e=entry: f if o.accelerator == e.label else 1.0)
            )
            assert (entry.label in {g.accelerator for g in changed.plan.groups}) == stays


def test_headroom_single_type_limits_and_routing(workload: Workload, offers: list[Offer], planner: Any) -> None:
    planned = planner(workload, offers, is_explained=True)
    found = _explanation(planned)
    cost = planned.plan.cost.total_usd_per_hour
    assert found.total_usd_per_hour == cost
    assert found.headroom_rps >= found.request_rate_rps * (1 - 1e-6)
    for entry in found.limits:
        if entry.name == "constraints.max_accelerators.H100":
            free = replace(workload.constraints, max_accelerators={})
            assert entry.cost_without_usd_per_hour == pytest.approx(
                planner(replace(workload, constraints=free), offers).plan.cost.total_usd_per_hour
            )
    best = planner(replace(workload, routing=RoutingPolicy.SIZE_AWARE), offers).plan.cost.total_usd_per_hour
    assert found.size_aware_total_usd_per_hour == pytest.approx(best)
    assert best <= cost * (1 + 1e-9)
    for name in {offer.accelerator for offer in offers}:
        rows = [a for a in planned.plan.alternatives if a.label == name]
        assert rows
    single = found.best_single_usd_per_hour
    assert single is None or single >= cost * (1 - 1e-9)


def test_the_headroom_is_all_that_the_same_instances_carry(
    make_workload: Any, offers: list[Offer], planner: Any
) -> None:
    workload = make_workload(((14.0, 6.0), (3.0, 2.0)))
    planned = planner(workload, offers, is_explained=True)
    found = _explanation(planned)
    for factor, same in ((1 - 1e-4, True), (1 + 1e-4, False)):
        scale = found.headroom_rps / found.request_rate_rps * factor
        rates = tuple(tuple(rate * scale for rate in row) for row in workload.traffic.rates_rps)
        more = planner(replace(workload, traffic=replace(workload.traffic, rates_rps=rates)), offers)
        bought = [(g.name, g.instances) for g in more.plan.groups]
        assert (bought == [(g.name, g.instances) for g in planned.plan.groups]) == same


def test_a_plan_that_is_not_proven_is_not_explained(
    workload: Workload, offers: list[Offer], planner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sky_melange import optimizer

    solve = optimizer.solve_problem
    monkeypatch.setattr(optimizer, "solve_problem", lambda *given: replace(solve(*given), status="feasible"))
    with pytest.raises(NotOptimalError, match="not proven cheapest cannot be explained"):
        planner(workload, offers, is_explained=True)


def test_no_time_left_leaves_gaps_not_guesses(workload: Workload, offers: list[Offer], planner: Any) -> None:
    planned = planner(workload, offers)
    assert planned.plan.status == "optimal"
    oracle = Oracle(SolverSettings(time_limit_s=1e-12))
    oracle._session.left_s = 0.0
    with pytest.raises(NotOptimalError):
        oracle.best(Problem(loads=((0.5, 0.4),), prices=(1.0, 2.0), replicas=(1, 1)))
