"""What must hold between the answers to two problems, and what an answer must hold by itself."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest
from brute_force import beside, limits_of_kind
from hypothesis import given
from hypothesis import strategies as st
from problems import EXACT, SLICED, cost_of, limited, problems, seeded_problem
from property_examples import examples

from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer import Solution, solve_problem
from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.replicas import MinReplicas
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve import solver
from sky_melange.optimizer.solve.reduction import reduce_problem
from sky_melange.optimizer.solve.session import Session

_FORMULATIONS = pytest.mark.parametrize("formulation", [EXACT, SLICED], ids=["exact", "sliced"])
_EXAMPLES = examples(40)


def at_most(first: float | None, second: float | None) -> bool:
    """Whether first ≤ second, where None (infeasible) is dearer than anything."""
    if second is None:
        return True
    return first is not None and first <= second * (1 + 1e-9)


def unpruned_cost(problem: Problem, settings: SolverSettings) -> float:
    """The cost when no candidate is taken out beforehand."""
    return solver._solve_reduced(problem, Session(settings)).cost_usd_per_hour


def assert_holds(problem: Problem, solution: Solution) -> None:
    """Every class is served whole, by instances that are there, within the allowed load and every limit."""
    for row, loads in zip(solution.shares, problem.loads, strict=True):
        assert math.fsum(row) == pytest.approx(1.0, abs=1e-9)
        for share, load, count in zip(row, loads, solution.counts, strict=True):
            assert 0 <= share <= 1 + 1e-9
            assert share == 0 or (load is not None and count > 0)
    for c, count in enumerate(solution.counts):
        carried = math.fsum(load * solution.shares[r][c] for r, load in problem.loads_on(c))
        assert carried <= problem.max_utilization * count * (1 + 2e-6)
    for floor in limits_of_kind(problem, MinReplicas):
        assert sum(n * k for n, k in zip(solution.counts, problem.replicas, strict=True)) >= floor.limit
    for most in limits_of_kind(problem, MaxGroups):
        assert sum(count > 0 for count in solution.counts) <= most.limit
    for cap in limits_of_kind(problem, Cap):
        assert sum(n * usage for n, usage in zip(solution.counts, cap.weights, strict=True)) <= cap.limit


@_FORMULATIONS
@_EXAMPLES
@given(problem=problems(max_candidates=5))
def test_an_answer_keeps_every_constraint_and_states_its_own_cost(formulation, problem: Problem) -> None:  # type: ignore[no-untyped-def]
    try:
        solution = solve_problem(problem, formulation)
    except InfeasibleError:
        return
    assert_holds(problem, solution)
    exactly = sum((Fraction(p) * n for p, n in zip(problem.prices, solution.counts, strict=True)), Fraction(0))
    exactly += beside(problem, solution.counts)
    assert solution.cost_usd_per_hour == pytest.approx(float(exactly), rel=1e-14)
    assert solution.status == "optimal"
    assert 0 <= solution.mip_gap <= EXACT.mip_gap


@_EXAMPLES
@given(problems(), st.data())
def test_more_demand_never_costs_less(problem: Problem, data: st.DataObject) -> None:
    r = data.draw(st.integers(0, problem.class_count - 1))
    factor = data.draw(st.sampled_from((1.05, 1.5, 3.0)))
    loads = [
        tuple(load if load is None or index != r else load * factor for load in row)
        for index, row in enumerate(problem.loads)
    ]
    assert at_most(cost_of(problem), cost_of(replace(problem, loads=tuple(loads))))


@_EXAMPLES
@given(problems(max_candidates=4), st.data())
def test_another_candidate_never_costs_more(problem: Problem, data: st.DataObject) -> None:
    left_out = data.draw(st.integers(0, problem.candidate_count - 1))
    kept = [c for c in range(problem.candidate_count) if c != left_out]
    smaller = problem.restricted_to(kept)
    if any(all(load is None for load in row) for row in smaller.loads):
        return
    assert at_most(cost_of(problem), cost_of(smaller))


@_EXAMPLES
@given(problems(), st.data())
def test_a_dearer_price_never_lowers_the_cost(problem: Problem, data: st.DataObject) -> None:
    c = data.draw(st.integers(0, problem.candidate_count - 1))
    prices = tuple(price * (1.3 if index == c else 1.0) for index, price in enumerate(problem.prices))
    assert at_most(cost_of(problem), cost_of(replace(problem, prices=prices)))


@_EXAMPLES
@given(problems(limited=False), st.integers(1, 3))
def test_a_limit_never_lowers_the_cost(problem: Problem, max_groups: int) -> None:
    free = cost_of(problem)
    assert free is not None
    assert at_most(free, cost_of(limited(problem, MaxGroups(limit=max_groups))))
    assert at_most(free, cost_of(limited(problem, MinReplicas(weights=problem.replicas, limit=4))))
    assert at_most(free, cost_of(replace(problem, max_utilization=problem.max_utilization / 2)))
    cap = Cap(name="cap", weights=(1,) * problem.candidate_count, limit=2)
    assert at_most(free, cost_of(limited(problem, cap)))


@_FORMULATIONS
@_EXAMPLES
@given(problem=problems(max_candidates=6))
def test_pruning_dominated_candidates_keeps_the_cost(formulation, problem: Problem) -> None:  # type: ignore[no-untyped-def]
    try:
        whole = unpruned_cost(problem, formulation)
    except InfeasibleError:
        assert cost_of(problem, formulation) is None
        return
    assert cost_of(problem, formulation) == pytest.approx(whole, rel=1e-9)


@_FORMULATIONS
@_EXAMPLES
@given(problem=problems(max_candidates=7))
def test_taking_out_candidates_by_their_bound_keeps_the_cost(formulation, problem: Problem) -> None:  # type: ignore[no-untyped-def]
    """The reduction is meant for large problems; here it has to work on small ones, where the answer is known."""
    expected = cost_of(problem, formulation)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "_SMALL", 1)
        patch.setattr(solver, "_FIRST_LOOK", 2)
        found = cost_of(problem, formulation)
    assert found == (expected if expected is None else pytest.approx(expected, rel=1e-9))


@_FORMULATIONS
@_EXAMPLES
@given(problem=problems(max_candidates=7))
def test_when_the_time_is_up_the_first_plan_is_better_than_none(formulation, problem: Problem) -> None:  # type: ignore[no-untyped-def]
    """It keeps every constraint, and the optimum lies within the gap that it states."""
    least = cost_of(problem, formulation)

    def too_late(*_: object) -> Solution:
        raise NotOptimalError("no plan was found")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solver, "_SMALL", 1)
        patch.setattr(solver, "_FIRST_LOOK", 2)
        patch.setattr(solver, "_solve_reduced", too_late)
        try:
            found = solve_problem(problem, formulation)
        except NotOptimalError:
            return
    assert_holds(problem, found)
    assert found.status == "feasible"
    assert least is not None
    assert found.cost_usd_per_hour * (1 - found.mip_gap) <= least * (1 + 1e-9)
    assert least <= found.cost_usd_per_hour * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_a_dearer_plan_is_not_taken_for_having_been_searched_for_longer(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = seeded_problem(seed, classes=6, candidates=40, most_load=3.0, gaps=0.2)
    original = solver._solve_reduced

    def unlucky(reduced: Problem, session: Session) -> Solution:
        best = original(reduced, session)
        doubled = tuple(2 * count for count in best.counts)
        return replace(best, counts=doubled, status="feasible", mip_gap=0.9)

    best = solve_problem(problem, EXACT)
    monkeypatch.setattr(solver, "_SMALL", 1)
    monkeypatch.setattr(solver, "_FIRST_LOOK", 4)
    monkeypatch.setattr(solver, "_solve_reduced", unlucky)
    found = solve_problem(problem, EXACT)
    assert_holds(problem, found)
    assert found.status == "feasible"
    assert best.cost_usd_per_hour * (1 - 1e-9) <= found.cost_usd_per_hour < 2 * best.cost_usd_per_hour


def test_without_a_first_plan_the_time_limit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = seeded_problem(1, classes=6, candidates=40, most_load=3.0, gaps=0.2)
    monkeypatch.setattr(solver, "_among", lambda *_: None)
    with pytest.raises(NotOptimalError, match="no plan was found within the time limit of 1e-09 s"):
        solve_problem(problem, replace(EXACT, time_limit_s=1e-9))


@pytest.mark.parametrize("seed", range(4))
def test_a_problem_large_enough_for_the_bound_costs_the_same_without_it(seed: int) -> None:
    problem = seeded_problem(seed, classes=8, candidates=40, most_load=3.0, gaps=0.2)
    assert cost_of(problem) == pytest.approx(unpruned_cost(problem, EXACT), rel=1e-6)


@_EXAMPLES
@given(problems(max_candidates=6))
def test_the_bounds_hold_for_the_optimum(problem: Problem) -> None:
    try:
        solution = solve_problem(problem, EXACT)
    except InfeasibleError:
        return
    bounds = reduce_problem(problem)
    assert bounds.lower_bound <= solution.cost_usd_per_hour * (1 + 1e-9)
    total = solution.cost_usd_per_hour * (1 + 1e-9)
    for count, surcharge, alone in zip(solution.counts, bounds.surcharges, bounds.alone, strict=True):
        assert count == 0 or bounds.mix_bound + surcharge <= total or alone <= total


@_EXAMPLES
@given(problems(max_candidates=5), st.randoms(use_true_random=False))
def test_the_order_of_candidates_does_not_change_the_cost(problem: Problem, rng: random.Random) -> None:
    order = list(range(problem.candidate_count))
    rng.shuffle(order)
    expected = cost_of(problem)
    found = cost_of(problem.restricted_to(order))
    assert found == (expected if expected is None else pytest.approx(expected, rel=1e-9))


@pytest.mark.parametrize("copies", [100, 3_400])
def test_copies_of_an_offer_change_nothing_and_only_the_first_is_used(copies: int) -> None:
    problem = seeded_problem(4, classes=5, candidates=3)
    expected = solve_problem(problem, EXACT)
    copied = problem.restricted_to([0, 1, 2] + [0] * copies + [1] * copies + [2] * copies)
    found = solve_problem(copied, EXACT)
    assert found.cost_usd_per_hour == expected.cost_usd_per_hour
    assert found.counts == expected.counts + (0,) * 3 * copies


def test_the_same_problem_has_the_same_answer_twice() -> None:
    problem = seeded_problem(11, classes=12, candidates=8)
    assert solve_problem(problem, EXACT) == solve_problem(problem, EXACT)
    assert solve_problem(problem, SLICED) == solve_problem(problem, SLICED)


class TestTies:
    """Fewest groups, then fewest instances, then the earliest candidates."""

    def test_fewest_groups_come_before_fewest_instances(self) -> None:
        # Three of the first, or one each of the others: both cost 3.
        problem = Problem(loads=((1.5, 1.0, None), (1.5, None, 1.0)), prices=(1.0, 1.5, 1.5), replicas=(1, 1, 1))
        for formulation in (EXACT, SLICED):
            assert solve_problem(problem, formulation).counts == (3, 0, 0)

    def test_of_as_many_groups_the_one_with_fewest_instances(self) -> None:
        problem = Problem(loads=((2.0, 1.0),), prices=(1.0, 2.0), replicas=(1, 1))
        for formulation in (EXACT, SLICED):
            assert solve_problem(problem, formulation).counts == (0, 1)

    def test_of_as_many_instances_the_earliest(self) -> None:
        # Two caps keep both candidates from dominating each other.
        caps = (Cap(name="a", weights=(1, 0), limit=9), Cap(name="b", weights=(0, 1), limit=9))
        problem = Problem(loads=((1.0, 1.0), (1.0, 1.0)), prices=(1.0, 1.0), replicas=(1, 1), limits=caps)
        for formulation in (EXACT, SLICED):
            assert solve_problem(problem, formulation).counts == (2, 0)

    def test_all_prices_and_loads_tied(self) -> None:
        problem = Problem(loads=((0.7,) * 20,) * 3, prices=(1.0,) * 20, replicas=(1,) * 20)
        assert solve_problem(problem, EXACT).counts == (3, *(0,) * 19)

    def test_a_tie_never_costs_more(self) -> None:
        # A millionth of a dollar is no tie.
        problem = Problem(loads=((1.5, 1.0, None), (1.5, None, 1.0)), prices=(1.0, 1.5, 1.4999), replicas=(1, 1, 1))
        assert solve_problem(problem, EXACT).counts == (0, 1, 1)


def test_the_load_is_spread_over_the_groups_in_use() -> None:
    problem = Problem(loads=((1.0, 1.0), (0.9, None), (None, 0.3)), prices=(1.0, 1.0), replicas=(1, 1))
    solution = solve_problem(replace(problem, max_utilization=0.8, loads=((1.0, 1.0), (0.9, None), (None, 0.3))), EXACT)
    used = [
        math.fsum(load * solution.shares[r][c] for r, load in problem.loads_on(c)) / count
        for c, count in enumerate(solution.counts)
        if count
    ]
    assert max(used) == pytest.approx(min(used), abs=1e-6)
