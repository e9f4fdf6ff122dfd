"""Every constraint against enumeration: alone and together, on small problems, with and without pruning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import pytest
from enumeration import least_objective, plans
from hypothesis import assume, given
from hypothesis import strategies as st
from problems import EXACT, SLICED, charges_of, cost_of, limited, problems
from property_examples import examples, mostly_slow
from rational_lp import is_feasible

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import SolverSettings, Workload
from sky_melange.errors import InfeasibleError
from sky_melange.optimizer import solve_problem
from sky_melange.optimizer.limits import LIMITS as KINDS
from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.replicas import MinOnDemandReplicas, MinReplicas
from sky_melange.optimizer.limits.shares import ShareLimit
from sky_melange.optimizer.problem import GroupCapacities, Keep, Limit, Problem, Program
from sky_melange.optimizer.solve.rows import FIRST, LAST
from sky_melange.optimizer.solve.traffic import most_traffic

_TOLERANCE = 1e-5
Draw = Callable[[st.DataObject, Problem], Problem]


def _flags(data: st.DataObject, problem: Problem) -> tuple[bool, ...]:
    return tuple(data.draw(st.booleans()) for _ in range(problem.candidate_count))


def _with_caps(data: st.DataObject, problem: Problem) -> Problem:
    usage = tuple(data.draw(st.integers(0, 4)) for _ in range(problem.candidate_count))
    return limited(problem, Cap(name="cap", weights=usage, limit=data.draw(st.integers(0, 12))))


def _with_floors(data: st.DataObject, problem: Problem) -> Problem:
    supply = tuple(each if flag else 0 for each, flag in zip(problem.replicas, _flags(data, problem), strict=True))
    return limited(problem, MinOnDemandReplicas(weights=supply, limit=data.draw(st.integers(1, 3))))


def _with_shares(data: st.DataObject, problem: Problem) -> Problem:
    parts = [data.draw(st.integers(1, 8)) for _ in range(problem.class_count)]
    whole = 2 ** (sum(parts) - 1).bit_length()
    parts[0] += whole - sum(parts)
    limits = [
        ShareLimit(
            name="share",
            places=(("somewhere", _flags(data, problem)),),
            limit_fraction=data.draw(st.sampled_from((0.25, 0.5, 0.75))),
        )
        for _ in range(data.draw(st.integers(1, 2)))
    ]
    return limited(replace(problem, weights=tuple(part / whole for part in parts)), *limits)


def _with_budget(data: st.DataObject, problem: Problem) -> Problem:
    return replace(problem, max_cost_usd_per_hour=data.draw(st.integers(50, 3000)) / 100)


def _with_losses(data: st.DataObject, problem: Problem) -> Problem:
    return replace(problem, losses=data.draw(st.integers(1, 2)))


def _with_switching(data: st.DataObject, problem: Problem) -> Problem:
    previous = tuple(data.draw(st.integers(0, 3)) for _ in range(problem.candidate_count))
    return replace(problem, keep=Keep(previous=previous, usd_per_hour=data.draw(st.sampled_from((0.05, 0.5, 5.0)))))


LIMITS: dict[str, Draw] = {
    "caps": _with_caps,
    "replicas": lambda data, problem: limited(
        problem, MinReplicas(weights=problem.replicas, limit=data.draw(st.integers(2, 4)))
    ),
    "groups": lambda data, problem: limited(problem, MaxGroups(limit=data.draw(st.integers(1, 2)))),
    "utilization": lambda data, problem: replace(problem, max_utilization=data.draw(st.sampled_from((0.3, 0.7)))),
    "floors": _with_floors,
    "shares": _with_shares,
    "budget": _with_budget,
    "switching": _with_switching,
    "losses": _with_losses,
    "charges": lambda data, problem: replace(
        problem, charges=data.draw(charges_of(problem.candidate_count, limited=True))
    ),
}


def _agree(problem: Problem) -> None:
    expected = least_objective(problem)
    # A problem that the solver's tolerance decides says nothing about either side.
    assume(expected == least_objective(problem, slack=_TOLERANCE) == least_objective(problem, slack=-1e-9))
    try:
        solution = solve_problem(problem, EXACT)
    except InfeasibleError:
        assert expected is None
        return
    assert expected is not None
    assert solution.status == "optimal"
    assert solution.counts in set(plans(problem))
    assert problem.objective(solution.counts) == pytest.approx(expected, rel=1e-9)


def test_every_constraint_has_its_enumeration() -> None:
    assert {*LIMITS} == {*FIRST, *KINDS, *LAST} - {"assignment", "coverage"}


@pytest.mark.parametrize("name", mostly_slow(LIMITS, *{*LIMITS} - {"losses"}))
@examples(40)
@given(data=st.data())
def test_a_limit_alone(name: str, data: st.DataObject) -> None:
    problem = data.draw(problems(max_classes=3, limited=False))
    _agree(LIMITS[name](data, problem))


@examples(60)
@given(data=st.data())
def test_limits_together(data: st.DataObject) -> None:
    problem = data.draw(problems(max_classes=2, limited=False))
    for name in data.draw(st.sets(st.sampled_from(sorted({*LIMITS} - {"utilization"})), min_size=2, max_size=4)):
        problem = LIMITS[name](data, problem)
    _agree(problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain(Limit):
    """A limit of which nothing is known but its rows: everything else is the default."""

    name: str = "plain"
    inner: Limit

    @classmethod
    def of(cls, workload: Workload, candidates: Sequence[Candidate]) -> Iterator[Self]:
        return iter(())

    def restricted_to(self, kept: Sequence[int]) -> Self:
        return replace(self, inner=self.inner.restricted_to(kept))

    def rows(self, program: Program) -> None:
        self.inner.rows(program)

    def setting(self) -> str:
        return self.inner.setting()

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        return iter(())


@examples(60)
@given(data=st.data())
def test_the_defaults_are_right_for_every_limit(data: st.DataObject) -> None:
    problem = data.draw(problems(max_classes=3, limited=False))
    for name in data.draw(st.sets(st.sampled_from(("caps", "replicas", "groups", "floors", "shares")), min_size=1)):
        problem = LIMITS[name](data, problem)
    plain = replace(problem, limits=tuple(Plain(inner=limit) for limit in problem.limits))
    found, expected = cost_of(plain), cost_of(problem)
    assert found == (None if expected is None else pytest.approx(expected, rel=1e-9))


@examples(30)
@given(data=st.data())
def test_the_most_traffic_costs_the_budget_and_a_little_more_costs_more(data: st.DataObject) -> None:
    problem = data.draw(problems(max_classes=3, limited=False))
    for name in data.draw(st.sets(st.sampled_from(("caps", "groups", "shares", "losses")), max_size=2)):
        problem = LIMITS[name](data, problem)
    budget = data.draw(st.integers(200, 3000)) / 100
    try:
        found = most_traffic(replace(problem, max_cost_usd_per_hour=budget), EXACT)
    except InfeasibleError:
        smallest = cost_of(problem.at_traffic(1e-6))
        assert smallest is None or smallest > budget
        return
    below = cost_of(problem.at_traffic(found.factor * (1 - 1e-5)))
    above = cost_of(problem.at_traffic(found.factor * (1 + 1e-4)))
    assert below is not None
    assert below <= budget * (1 + 1e-6)
    assert above is None or above > budget
    assert found.factor <= found.bound * (1 + 1e-9)


@examples(30)
@given(problems(max_classes=3, limited=False), st.integers(1, 2))
def test_a_contingency_for_every_loss_routes_all_traffic(problem: Problem, losses: int) -> None:
    solution = solve_problem(replace(problem, losses=losses), EXACT)
    for contingency in solution.contingencies:
        assert sum(contingency.lost) == losses
        left = [count - gone for count, gone in zip(solution.counts, contingency.lost, strict=True)]
        for c, count in enumerate(left):
            carried = sum(load * contingency.shares[r][c] for r, load in problem.loads_on(c))
            assert carried <= problem.max_utilization * count * (1 + 1e-5)
        for row in contingency.shares:
            assert sum(row) == pytest.approx(1.0)


@examples(60)
@given(problems(limited=False, max_classes=3), st.data())
def test_plans_hold_in_every_case_of_the_estimates(problem: Problem, data: st.DataObject) -> None:
    """With loads that differ by case, the cheapest plan costs what enumeration finds; in slices it holds too."""
    problem = _with_cases(data, problem)
    expected = least_objective(problem)
    assume(expected == least_objective(problem, slack=_TOLERANCE) == least_objective(problem, slack=-1e-9))
    assert cost_of(problem) == pytest.approx(expected, rel=1e-9)
    for formulation in (EXACT, SLICED):
        solution = solve_problem(problem, formulation)
        for loads in problem.cases:
            for c, count in enumerate(solution.counts):
                carried = sum(load * solution.shares[r][c] for r, load in problem.loads_on(c, loads))
                assert carried <= problem.max_utilization * count * (1 + 2e-6)


def _with_cases(data: st.DataObject, problem: Problem) -> Problem:
    cases = tuple(
        tuple(
            tuple(None if load is None else load * data.draw(st.sampled_from((0.8, 1.0, 1.25, 1.6))) for load in row)
            for row in problem.loads
        )
        for _ in range(data.draw(st.integers(1, 2)))
    )
    return replace(problem, biased=cases)


def test_survival_costs_what_it_must() -> None:
    # One instance of either carries all; without losses the first, with one loss two of them, with two three.
    problem = Problem(loads=((0.5, 0.4),), prices=(1.0, 1.5), replicas=(1, 1), max_utilization=0.9)
    for losses, cost in ((0, 1.0), (1, 2.0), (2, 3.0)):
        assert cost_of(replace(problem, losses=losses)) == cost
    # Half of the traffic can only go to the second: one spare of each kind.
    partial = replace(problem, loads=((0.5, 0.4), (None, 0.2)), losses=1)
    assert solve_problem(partial, EXACT).counts == (0, 2)


def test_running_instances_stay_until_leaving_them_pays() -> None:
    problem = Problem(loads=((1.7, 1.7),), prices=(1.0, 1.1), replicas=(1, 1), max_utilization=0.9)
    assert solve_problem(problem, EXACT).counts == (2, 0)
    running = Keep(previous=(0, 2), usd_per_hour=0.04)
    # Moving both saves 0.20 and is charged 4 × 0.04.
    assert solve_problem(replace(problem, keep=running), EXACT).counts == (2, 0)
    assert solve_problem(replace(problem, keep=replace(running, usd_per_hour=0.06)), EXACT).counts == (0, 2)


def test_shares_are_of_requests_not_of_load() -> None:
    # The second class is a tenth of the requests and most of the load.
    limit = ShareLimit(name="spot", places=(("spot", (True, False)),), limit_fraction=0.1)
    problem = Problem(
        loads=((0.1, 0.1), (3.0, 3.0)), prices=(0.5, 1.0), replicas=(1, 1), weights=(0.9, 0.1), limits=(limit,)
    )
    assert solve_problem(problem, EXACT).counts == (3, 1)


def test_the_simplex_that_decides_on_answers_worked_out_by_hand() -> None:
    one, two = [1, 0], [0, 1]
    assert is_feasible([(one, 1), (two, 1)], [([1, 1], 2)])  # type: ignore[arg-type]
    assert not is_feasible([(one, 1), (two, 1)], [([1, 1], Fraction(5, 2))])  # type: ignore[arg-type]
    assert not is_feasible([(one, 1)], [([1, 0], 2)])  # type: ignore[arg-type]
    assert is_feasible([([-1, 0], -1), (one, 3)], [([1, 1], 2)])  # type: ignore[arg-type]


def test_cbc_agrees_under_limits() -> None:
    problem = Problem(
        loads=((1.2, 0.7, 0.3), (0.4, None, 0.2), (0.9, 0.5, None)),
        prices=(1.0, 1.9, 2.3),
        replicas=(1, 2, 4),
        max_utilization=0.9,
        losses=1,
        weights=(0.5, 0.25, 0.25),
        limits=(
            MaxGroups(limit=2),
            ShareLimit(name="share", places=(("a", (True, False, False)),), limit_fraction=0.5),
        ),
    )
    from sky_melange.domain.workload import SolverName

    assert cost_of(problem, SolverSettings(name=SolverName.CBC)) == pytest.approx(least_objective(problem))
    assert cost_of(problem) == pytest.approx(least_objective(problem))
