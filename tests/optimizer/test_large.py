"""How large problems are solved, on small ones whose optimum enumeration knows; and limits of work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from enumeration import least_objective, plans
from hypothesis import assume, event, given
from hypothesis import strategies as st
from problems import EXACT, SLICED, problems, seeded_problem
from property_examples import examples
from test_limits import LIMITS
from test_properties import assert_holds

from benchmarks.solver.instances import unstructured
from sky_melange.domain.workload import SolverSettings, Workload
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer import solve_problem
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.remarks import search_warnings
from sky_melange.optimizer.solve import solver
from sky_melange.optimizer.solve.dominance import undominated
from sky_melange.optimizer.solve.lagrange import relax
from sky_melange.optimizer.solve.lp import build_lp, objective_expression, run
from sky_melange.optimizer.solve.reduction import reduce_problem
from sky_melange.optimizer.solve.session import Session

_TOLERANCE = 1e-5


def _large(problem: Problem, settings: SolverSettings = EXACT) -> solver.Solution | None:
    return solver.solve_large(problem, undominated(problem), Session(settings))


@pytest.mark.slow
@examples(150)
@given(data=st.data())
def test_bounds_and_plans_with_any_limits(data: st.DataObject) -> None:
    problem = data.draw(problems(max_classes=3, limited=False))
    for name in data.draw(st.sets(st.sampled_from(sorted({*LIMITS} - {"utilization"})), max_size=3)):
        problem = LIMITS[name](data, problem)
    expected = least_objective(problem)
    assume(expected is not None and expected == least_objective(problem, slack=_TOLERANCE))
    assert expected is not None
    reduction = relax(problem, Session(EXACT)).reduction
    assert reduction.lower_bound <= expected * (1 + 1e-9)
    best = [plan for plan in plans(problem) if problem.objective(plan) <= expected * (1 + 1e-9)]
    kept = reduction.keep(expected)
    assert all(c in kept for plan in best for c, count in enumerate(plan) if count)
    found = _large(problem)
    event("none" if found is None else found.status)
    if found is not None:
        assert found.counts in set(plans(problem, slack=_TOLERANCE))
        objective = problem.objective(found.counts)
        assert objective * (1 - found.mip_gap) <= expected * (1 + 1e-6) <= objective * (1 + 2e-6)


@pytest.mark.parametrize("settings", [EXACT, SLICED], ids=["exact", "sliced"])
@pytest.mark.parametrize("seed", range(6))
def test_it_proves_what_the_ordinary_solve_proves(seed: int, settings: SolverSettings) -> None:
    problem = seeded_problem(seed, classes=6, candidates=12)
    found, expected = _large(problem, settings), solve_problem(problem, settings)
    assert found is not None
    assert_holds(problem, found)
    assert found.cost_usd_per_hour == pytest.approx(expected.cost_usd_per_hour, rel=2e-6)


@pytest.mark.slow
def test_the_prices_prove_more_than_each_class_where_it_is_cheapest() -> None:
    problem = unstructured(5, classes=30, candidates=40, total_load=8.0)
    settings = SolverSettings(mip_gap=1e-4)
    optimum = solve_problem(problem, settings)
    simple, better = reduce_problem(problem).lower_bound, relax(problem, Session(settings)).reduction.lower_bound
    assert simple < better <= optimum.cost_usd_per_hour
    assert optimum.cost_usd_per_hour - better < (optimum.cost_usd_per_hour - simple) / 2


def test_machines_that_cost_nothing() -> None:
    problem = unstructured(2, classes=6, candidates=10, total_load=3.0)
    some_free = replace(problem, prices=(0.0, 0.0, *problem.prices[2:]))
    for each in (some_free, replace(problem, prices=(0.0,) * 10)):
        found = _large(each)
        assert found is not None
        assert found.cost_usd_per_hour == pytest.approx(solve_problem(each, EXACT).cost_usd_per_hour, rel=2e-6)


@pytest.mark.parametrize("factor", [1e-9, 1e4])
def test_next_to_no_traffic_and_very_much(factor: float) -> None:
    problem = seeded_problem(3, classes=5, candidates=8).at_traffic(factor)
    found, expected = _large(problem), solve_problem(problem, EXACT)
    assert found is not None
    assert_holds(problem, found)
    assert found.cost_usd_per_hour == pytest.approx(expected.cost_usd_per_hour, rel=3e-6)


@pytest.mark.slow
def test_few_groups_raise_the_bound() -> None:
    problem = unstructured(5, classes=30, candidates=40, total_load=8.0)
    few = replace(problem, limits=(MaxGroups(limit=2),))
    free, limited = (relax(each, Session(EXACT)).reduction.lower_bound for each in (problem, few))
    optimum = solve_problem(few, SolverSettings(mip_gap=1e-4, time_limit_s=30))
    assert free < limited <= optimum.cost_usd_per_hour


@pytest.mark.slow
def test_work_ends_the_search_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = unstructured(1, classes=40, candidates=100, total_load=12.0)
    monkeypatch.setattr(solver, "_LARGE", 1)
    monkeypatch.setattr(solver, "_PAIRS_PER_S", 0)
    session = Session(SolverSettings(mip_gap=1e-6, time_limit_s=30))
    slower = Session(session.settings, time_limit_s=25)
    first, again = solver.solve_within(problem, session), solver.solve_within(problem, slower)
    assert (first.status, first.ended_by) == ("feasible", "work")
    assert 0 < first.mip_gap < 0.1
    assert again == first
    assert_holds(problem, first)


def test_the_clock_ends_the_search_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = unstructured(1, classes=40, candidates=100, total_load=12.0)
    session = Session(SolverSettings(mip_gap=1e-6, time_limit_s=30))
    search = solver._cheaper

    def slow(*given: Any) -> Any:
        answer = search(*given)
        session.left_s = 0.0
        return answer

    monkeypatch.setattr(solver, "_cheaper", slow)
    found = solver.solve_large(problem, undominated(problem), session)
    assert found is not None
    assert (found.status, found.ended_by) == ("feasible", "time")
    assert_holds(problem, found)


def test_a_search_that_is_stopped_before_it_has_a_plan_has_none() -> None:
    problem = unstructured(1, classes=40, candidates=60)
    program = build_lp(problem, None, tight=True)
    program.lp.setObjective(objective_expression(problem, program.variables))
    session = Session(EXACT, work=1)
    with pytest.raises(NotOptimalError, match="no plan was found"):
        run(problem, program.variables, program.lp, session)
    assert session.is_over
    with pytest.raises(NotOptimalError):
        session.solve(program.lp)


def test_an_infeasible_problem_is_still_infeasible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "_LARGE", 0)
    problem = replace(seeded_problem(1, classes=3, candidates=3), max_cost_usd_per_hour=0.01)
    with pytest.raises(InfeasibleError):
        solve_problem(problem, EXACT)


def test_the_warning_names_the_limit_that_ended_the_search(make_workload: Callable[..., Workload]) -> None:
    workload = make_workload()
    assert list(search_warnings(workload, None)) == []
    assert "work that solver.time_limit_s (60) allows was done" in "".join(search_warnings(workload, "work"))
    assert "by the clock" in "".join(search_warnings(workload, "time"))
