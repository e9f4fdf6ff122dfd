"""Several workloads that share limits: against every choice of plans, and what must hold of any fleet."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from brute_force import cheapest_divided_cost, cheapest_fleet_cost, cheapest_placed_cost
from hypothesis import assume, event, given
from hypothesis import strategies as st
from problems import EXACT, problems
from property_examples import examples

from sky_melange.errors import InfeasibleError
from sky_melange.optimizer import (
    DividedMachine,
    FleetProblem,
    FleetSolution,
    SharedLimit,
    SharedShare,
    solve_fleet,
    solve_problem,
)
from sky_melange.optimizer.problem import Problem

_TOLERANCE = 1e-5


@st.composite
def fleets(draw: st.DrawFn) -> FleetProblem:
    """Two or three workloads of a few candidates, and less of something shared than they would take."""
    several = [
        draw(problems(max_classes=2, max_candidates=draw(st.sampled_from((2, 3))), limited=draw(st.booleans())))
        for _ in range(draw(st.integers(2, 3)))
    ]
    weights = tuple(tuple(draw(st.integers(0, 3)) for _ in problem.prices) for problem in several)
    try:
        alone = [solve_problem(problem, EXACT) for problem in several]
    except InfeasibleError:
        assume(False)
    wanted = sum(
        w * n for row, found in zip(weights, alone, strict=True) for w, n in zip(row, found.counts, strict=True)
    )
    shared = SharedLimit(name="gpus", weights=weights, limit=max(0, wanted - draw(st.integers(0, 4))))
    return FleetProblem.of(several, [shared])


def _solved(fleet: FleetProblem) -> FleetSolution | None:
    try:
        return solve_fleet(fleet, EXACT)
    except InfeasibleError:
        return None


@pytest.mark.slow
@examples(200)
@given(fleets())
def test_a_fleet_costs_what_every_choice_of_plans_finds(fleet: FleetProblem) -> None:
    shared = [(limit.weights, limit.limit) for limit in fleet.shared]

    def by_enumeration(slack: float) -> float | None:
        return cheapest_fleet_cost(fleet.problems, shared, slack=slack)

    expected = by_enumeration(0.0)
    assume(expected == by_enumeration(_TOLERANCE) == by_enumeration(-1e-9))
    found = _solved(fleet)
    event(
        "none"
        if expected is None
        else "bound"
        if expected != sum(solve_problem(p, EXACT).cost_usd_per_hour for p in fleet.problems)
        else "free"
    )
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.cost_usd_per_hour == pytest.approx(expected, rel=1e-9)
    assert found.status == "optimal"
    assert fleet.is_within(found.counts)


@examples(40)
@given(fleets())
def test_what_is_shared_never_helps_and_parts_of_it_never_cost_less(fleet: FleetProblem) -> None:
    together = _solved(fleet)
    free = _solved(replace(fleet, shared=()))
    if together is None:
        return
    assert free is not None
    assert together.cost_usd_per_hour >= free.cost_usd_per_hour * (1 - 1e-6)
    # The same plans keep to parts of what is shared that sum to it: dividing it beforehand can only cost more.
    halves = [
        _alone(problem, limit, k, limit.limit // len(fleet.problems))
        for limit in fleet.shared
        for k, problem in enumerate(fleet.problems)
    ]
    if all(cost is not None for cost in halves):
        assert sum(cost for cost in halves if cost is not None) >= together.cost_usd_per_hour * (1 - 1e-6)


def _alone(problem: Problem, limit: SharedLimit, k: int, part: int) -> float | None:
    own = replace(limit, weights=(limit.weights[k],), limit=part)
    found = _solved(FleetProblem.of([replace(problem, limits=problem.limits)], [own]))
    return None if found is None else found.cost_usd_per_hour


def test_the_worth_of_what_is_shared_is_stated() -> None:
    # Both want the cheap machine for 1 instead of the dear one for 3; there is one.
    problem = Problem(loads=((0.9, 0.9),), prices=(1.0, 3.0), replicas=(1, 1))
    fleet = FleetProblem.of([problem, problem], [SharedLimit(name="cheap", weights=((1, 0), (1, 0)), limit=1)])
    found = solve_fleet(fleet, EXACT)
    assert found.cost_usd_per_hour == 4.0
    assert found.worth_usd_per_hour == pytest.approx((2.0,))
    assert sorted(found.counts) == [(0, 1), (1, 0)]


def test_losses_are_survived_in_a_fleet_too() -> None:
    problem = Problem(loads=((1.5, 1.5),), prices=(1.0, 1.2), replicas=(1, 1), losses=1)
    fleet = FleetProblem.of([problem, problem], [SharedLimit(name="cheap", weights=((1, 0), (1, 0)), limit=4)])
    found = solve_fleet(fleet, EXACT)
    # Three each; two of the six must be dear.
    assert found.cost_usd_per_hour == pytest.approx(4 + 2 * 1.2)
    assert all(sum(counts) == 3 for counts in found.counts)
    assert all(solution.contingencies for solution in found.solutions)


def test_too_little_is_said_with_what_each_needs() -> None:
    problem = Problem(loads=((1.5,),), prices=(1.0,), replicas=(1,))
    fleet = FleetProblem.of([problem, problem], [SharedLimit(name="gpus", weights=((1,), (1,)), limit=3)])
    with pytest.raises(InfeasibleError, match=r"gpus: 4 are needed \(workload 1 2, workload 2 2\), 3 are there"):
        solve_fleet(fleet, EXACT)


@st.composite
def divided_fleets(draw: st.DrawFn) -> FleetProblem:
    """Workloads that may buy machines of their own, and parts of a machine that they divide."""
    gpus, usd_per_hour = 4, draw(st.sampled_from((2.0, 3.0, 5.0, 8.0)))
    several, parts = [], []
    count = draw(st.integers(2, 3))
    for _ in range(count):
        problem = draw(problems(max_classes=2, max_candidates=5 - count, limited=False))
        row = tuple(draw(st.sampled_from((0, 1, 2))) for _ in problem.prices)
        prices = (
            usd_per_hour * part / gpus if part else price for part, price in zip(row, problem.prices, strict=True)
        )
        several.append(replace(problem, prices=tuple(prices)))
        parts.append(row)
    machine = DividedMachine(name="box", gpus=gpus, usd_per_hour=usd_per_hour, parts=tuple(parts), uses=(1,))
    own = tuple(tuple(part or draw(st.integers(0, 1)) for part in row) for row in parts)
    shared = SharedLimit(name="gpus", weights=own, limit=draw(st.integers(0, 24)))
    return FleetProblem.of(several, [shared], machines=[machine])


@examples(200)
@given(divided_fleets())
def test_divided_machines_cost_what_every_choice_of_plans_and_packings_finds(fleet: FleetProblem) -> None:
    (machine,), (limit,) = fleet.machines, fleet.shared
    expected = cheapest_divided_cost(
        fleet.problems, machine.parts, machine.gpus, machine.usd_per_hour, (limit.weights, limit.limit)
    )
    found = _solved(fleet)
    event("none" if expected is None else "divided" if found and machine.taken(found.counts) else "whole")
    if expected is None:
        assert found is None
        return
    assert found is not None
    assert found.cost_usd_per_hour == pytest.approx(expected, rel=1e-6)
    assert found.status == "optimal"
    assert fleet.is_within(found.counts)
    # Without parts nothing is cheaper.
    whole = replace(
        fleet, machines=(), problems=tuple(_without_parts(p, machine.parts[k]) for k, p in enumerate(fleet.problems))
    )
    undivided = _solved(whole)
    assert undivided is None or found.cost_usd_per_hour <= undivided.cost_usd_per_hour * (1 + 1e-6)


@examples(120)
@given(divided_fleets())
def test_divided_machines_of_large_fleets_are_looked_for_among_few_candidates(fleet: FleetProblem) -> None:
    (machine,), (limit,) = fleet.machines, fleet.shared
    expected = cheapest_divided_cost(
        fleet.problems, machine.parts, machine.gpus, machine.usd_per_hour, (limit.weights, limit.limit)
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sky_melange.optimizer.solve.fleet._SMALL", 0)
        found = _solved(fleet)
    if found is None:
        # The few may not keep to a limit that others would.
        event("none" if expected is None else "not found")
        return
    assert expected is not None
    event(f"gap {found.cost_usd_per_hour / expected - 1:.1f}, {found.status}")
    assert fleet.is_within(found.counts)
    assert found.cost_usd_per_hour == pytest.approx(fleet.cost(found.counts))
    # What is proven is of all candidates.
    assert found.bound_usd_per_hour <= expected * (1 + 1e-6)
    assert found.cost_usd_per_hour * (1 - found.mip_gap) <= expected * (1 + 1e-6)
    assert found.status == "feasible" or found.cost_usd_per_hour == pytest.approx(expected, rel=1e-5)


def test_few_candidates_prove_nothing_of_those_that_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each by itself takes half a machine; three halves are two machines, and two halves with one of its own are less.
    problem = Problem(loads=((0.9, 0.9, 0.9),), prices=(1.9, 2.0, 2.0), replicas=(1, 1, 1))
    machine = DividedMachine(name="box", gpus=4, usd_per_hour=3.8, parts=((2, 0, 0),) * 3, uses=(1,))
    limit = SharedLimit(name="gpus", weights=((2, 9, 1),) * 3, limit=99)
    fleet = FleetProblem.of([problem] * 3, [limit], machines=[machine])
    expected = cheapest_divided_cost(fleet.problems, machine.parts, 4, 3.8, (limit.weights, limit.limit))
    assert expected == pytest.approx(5.8)
    monkeypatch.setattr("sky_melange.optimizer.solve.fleet._SMALL", 0)
    found = solve_fleet(fleet, EXACT)
    assert found.cost_usd_per_hour == pytest.approx(expected)
    assert found.bound_usd_per_hour == pytest.approx(5.7)
    assert (found.status, found.mip_gap) == ("feasible", pytest.approx(0.1 / 5.8))


def _without_parts(problem: Problem, parts: tuple[int, ...]) -> Problem:
    loads = tuple(tuple(None if part else load for load, part in zip(row, parts, strict=True)) for row in problem.loads)
    return replace(problem, loads=loads, biased=())


CLOUD = "fleet.constraints.max_cloud_share"


@st.composite
def placed_fleets(draw: st.DrawFn) -> FleetProblem:
    """Workloads of different size in two or three places, none of which may get all of their requests."""
    count, tenths = draw(st.integers(2, 3)), draw(st.integers(4, 9))
    names = ("here", "there", "elsewhere")[: draw(st.sampled_from((2, 2, 3)))]
    several, candidates = [], []
    for _ in range(count):
        problem = draw(problems(max_classes=2, max_candidates=5 - count, limited=False))
        weights = (1.0,) if problem.class_count == 1 else draw(st.sampled_from(((0.5, 0.5), (0.25, 0.75))))
        # Mostly every candidate serves everything: where it cannot, no share may be possible.
        loads = tuple(tuple(load or draw(st.sampled_from((None, 0.3, 0.7))) for load in row) for row in problem.loads)
        several.append(replace(problem, weights=weights, loads=loads))
        start = draw(st.integers(0, 2))
        candidates.append([names[(start + c) % len(names)] for c in range(problem.candidate_count)])
    parts = draw(st.sampled_from(((0.5, 0.5), (0.25, 0.75), (0.875, 0.125)) if count == 2 else ((0.25, 0.5, 0.25),)))
    shares = [
        SharedShare(
            key=CLOUD,
            place=place,
            members=tuple(tuple(each == place for each in row) for row in candidates),
            weights=parts,
            limit_fraction=tenths / 10,
        )
        for place in names
    ]
    return FleetProblem.of(several, [], shares=shares)


def _by_enumeration(fleet: FleetProblem, slack: float) -> float | None:
    places = [(each.members, Fraction(str(each.limit_fraction)) + Fraction(slack)) for each in fleet.shares]
    return cheapest_placed_cost(fleet.problems, places, [Fraction(part) for part in fleet.shares[0].weights])


@pytest.mark.slow
@examples(150)
@given(placed_fleets(), st.booleans())
def test_a_limited_share_costs_what_every_choice_of_plans_and_routes_finds(fleet: FleetProblem, large: bool) -> None:
    expected = _by_enumeration(fleet, 0.0)
    assume(expected == _by_enumeration(fleet, _TOLERANCE) == _by_enumeration(fleet, -_TOLERANCE))
    free = sum(solve_problem(replace(p, limits=()), EXACT).cost_usd_per_hour for p in fleet.problems)
    event("none" if expected is None else "bound" if expected > free * (1 + 1e-9) else "free")
    try:
        with pytest.MonkeyPatch.context() as patched:
            if large:
                # As fleets are solved that are too large for one program: by prices of places alone.
                patched.setattr("sky_melange.optimizer.solve.fleet._SMALL", 0)
            found = solve_fleet(fleet, EXACT)
    except InfeasibleError as error:
        event(str(error)[: len(CLOUD)])
        assert expected is None
        return
    assert expected is not None
    event(f"{'by prices, ' if large else ''}gap {found.cost_usd_per_hour / expected - 1:.0%}")
    assert fleet.keeps_shares(found.solutions)
    # A share never makes it cheaper, and the bound is one.
    assert found.cost_usd_per_hour >= expected * (1 - 1e-9) >= free * (1 - 2e-9)
    assert found.bound_usd_per_hour <= expected * (1 + 1e-6)
    if not large:
        assert found.cost_usd_per_hour == pytest.approx(expected, rel=1e-9)
        assert found.status == "optimal"


def test_the_smallest_share_that_does_is_named() -> None:
    # The small workload fits in the second place alone, the large one in the first alone.
    first = Problem(loads=((0.9, None),), prices=(1.0, 1.0), replicas=(1, 1), weights=(1.0,))
    second = replace(first, loads=((None, 0.9),))
    shares = [
        SharedShare(key=CLOUD, place=place, members=(row, row), weights=(0.75, 0.25), limit_fraction=0.6)
        for place, row in (("here", (True, False)), ("there", (False, True)))
    ]
    with pytest.raises(InfeasibleError, match=rf"{CLOUD} = 0\.6 cannot be met: .* write 0\.75,"):
        solve_fleet(FleetProblem.of([first, second], [], shares=shares), EXACT)
    loose = [replace(each, limit_fraction=0.75) for each in shares]
    assert solve_fleet(FleetProblem.of([first, second], [], shares=loose), EXACT).cost_usd_per_hour == 2.0
