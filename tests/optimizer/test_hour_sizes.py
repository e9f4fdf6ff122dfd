"""Sizes that differ by the hour: fleets and schedules against every one there is, by fractions; periods by counting."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from rational_lp import is_feasible

from sky_melange.domain.hours import mean_usd_per_hour
from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError
from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.problem import Loads, Problem
from sky_melange.optimizer.schedule import Cycle, ScheduleProblem, periods_by_work, periods_of
from sky_melange.optimizer.solve import hours
from sky_melange.optimizer.solve.hours import solve_schedule
from sky_melange.optimizer.solve.losses import losses_of
from sky_melange.optimizer.solve.solver import solve

EXACT = SolverSettings(mip_gap=1e-7)
Counts = tuple[tuple[int, ...], ...]
Demand = tuple[Loads, Sequence[int]]
"""Loads of one case, and the instances that carry them."""


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours, "SCHEDULE_GAP", 1e-7)


def instance(seed: int, *, losses: int = 0) -> ScheduleProblem:
    """Two sets of sizes over two candidates and two classes, with one or two cases of the estimates of sizes each."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    able = [[not (c and draw.random() < 0.2) for c in range(2)] for _ in range(2)]

    def loads() -> Loads:
        return tuple(tuple(draw.randrange(5, 140) / 100 if able[r][c] else None for c in range(2)) for r in range(2))

    cases = [loads() for _ in range(2 * draw.choice((1, 1, 2)))]
    sizes = draw.choice(((0, 1), (1, 0), (0, 1, 0), (1, 0, 1)))
    factors, seen = [], {0: 1.0, 1: 1.0}
    for position, number in enumerate(sizes):
        part = 1.0 if number not in sizes[:position] else draw.randrange(20, 95) / 100
        seen[number] = part
        factors.append((part, part))
    cycle = [*range(len(sizes)), *(draw.randrange(len(sizes)) for _ in range(5))]
    return ScheduleProblem(
        busiest=Problem(
            loads=cases[0],
            biased=tuple(cases[1:]),
            sizes=2,
            prices=(draw.randrange(50, 300) / 100, draw.randrange(50, 300) / 100),
            replicas=(1, 1),
            max_utilization=draw.choice((1.0, 0.9)),
            limits=(Cap(name="cap", weights=(1, 2), limit=6),) if draw.random() < 0.3 else (),
            weights=(0.5, 0.5),
            losses=losses,
        ),
        factors=tuple(factors),
        cycle=Cycle(period_of_hour=tuple(cycle), startup_minutes=draw.choice((0, 20, 240))),
        sizes=sizes,
    )


def carries(demands: Sequence[Demand], u: float) -> bool:
    """Whether one division of the classes keeps all of these loads within the instances, by fractions."""
    keys = [(r, c) for r in range(2) for c in range(2) if demands[0][0][r][c] is not None]
    rows = [
        (
            [Fraction(str(loads[r][c])) if c == own else Fraction(0) for r, c in keys],
            Fraction(str(u)) * Fraction(counts[own]),
        )
        for loads, counts in demands
        for own in range(2)
    ]
    whole = [([Fraction(int(r == own)) for r, _ in keys], Fraction(1)) for own in range(2)]
    return is_feasible(rows, whole)


def demands_of(problem: ScheduleProblem, rows: Counts, lost: Sequence[int]) -> Iterator[Demand]:
    """Every case of every period; where instances are lost those in which estimates are right on average."""
    each = len(problem.busiest.cases) // 2
    for row, factors, number in zip(rows, problem.factors, problem.sizes, strict=True):
        left = [max(0, n - gone) for n, gone in zip(row, lost, strict=True)]
        cases = problem.busiest.cases[number * each : (number + 1) * each]
        for case in cases[:1] if any(lost) else cases:
            yield (
                tuple(
                    tuple(
                        None if load is None else round(load * part, 9)
                        for load, part in zip(line, factors, strict=True)
                    )
                    for line in case
                ),
                left,
            )


def holds(problem: ScheduleProblem, rows: Counts) -> bool:
    losses = problem.busiest.losses
    steady = all(a >= b for one, other in itertools.pairwise(rows) for a, b in zip(one, other, strict=True))
    present = all((a > 0) == (b > 0) for a, b in zip(rows[0], rows[-1], strict=True))
    capped = all(n + 2 * m <= 6 for n, m in rows) or not problem.busiest.limits
    lost = [(0, 0), *(losses_of(rows[0], losses) if losses else ())]
    return (
        steady
        and present
        and capped
        and sum(rows[0]) > losses
        and all(carries(list(demands_of(problem, rows, gone)), problem.busiest.max_utilization) for gone in lost)
    )


def least(problem: ScheduleProblem) -> float | None:
    """What the cheapest schedule costs: every one is tried, the cheapest first."""
    most = [
        math.ceil(max(sum(row[c] or 0.0 for row in case) for case in problem.busiest.cases) / 0.9)
        + problem.busiest.losses
        for c in range(2)
    ]
    each = list(itertools.product(*(range(count + 1) for count in most)))
    steady = (
        rows
        for rows in itertools.product(each, repeat=len(problem.sizes))
        if all(a >= b for one, other in itertools.pairwise(rows) for a, b in zip(one, other, strict=True))
    )
    minutes = problem.cycle.startup_minutes
    priced = sorted(
        (mean_usd_per_hour(problem.cycle.period_of_hour, rows, problem.busiest.prices, startup_minutes=minutes), rows)
        for rows in steady
    )
    return next((cost for cost, rows in priced if holds(problem, rows)), None)


def assert_least(problem: ScheduleProblem) -> None:
    expected = least(problem)
    if expected is None:
        with pytest.raises(InfeasibleError):
            solve_schedule(problem, EXACT)
        return
    found = solve_schedule(problem, EXACT)
    assert found.cost_usd_per_hour == pytest.approx(expected, rel=1e-6)
    assert holds(problem, found.counts)
    assert found.status == "optimal"
    for row in found.shares:
        assert sum(row) == pytest.approx(1.0)
    each = len(problem.busiest.cases) // 2
    for counts, factors, number in zip(found.counts, problem.factors, problem.sizes, strict=True):
        for case in problem.busiest.cases[number * each : (number + 1) * each]:
            for c, count in enumerate(counts):
                load = sum((row[c] or 0.0) * found.shares[r][c] for r, row in enumerate(case)) * factors[c]
                assert load <= count * problem.busiest.max_utilization * (1 + 1e-6)


@pytest.mark.parametrize("seed", range(30))
def test_no_schedule_costs_less_than_the_one_found(seed: int) -> None:
    assert_least(instance(seed))


@pytest.mark.parametrize("seed", range(100, 110))
def test_every_set_of_sizes_survives_the_loss_of_an_instance(seed: int) -> None:
    assert_least(instance(seed, losses=1))


@pytest.mark.parametrize("losses", [0, 1])
@pytest.mark.parametrize("seed", range(200, 215))
def test_the_fleet_around_the_clock_is_the_cheapest_that_serves_every_set(seed: int, losses: int) -> None:
    problem = replace(instance(seed, losses=losses).busiest, limits=())
    alone = ScheduleProblem(
        busiest=problem, factors=((1.0, 1.0),) * 2, cycle=Cycle(period_of_hour=(0, 1)), sizes=(0, 1)
    )
    found = solve(problem, EXACT)
    assert holds(alone, (found.counts,) * 2)
    most = sum(found.counts)
    cheaper = [
        counts
        for counts in itertools.product(range(most + 3), repeat=2)
        if problem.cost(counts) < problem.cost(found.counts) * (1 - 1e-6)
    ]
    assert not any(holds(alone, (counts,) * 2) for counts in cheaper)


def test_sets_that_are_alike_give_the_schedule_of_one() -> None:
    problem = instance(3)
    one = replace(problem.busiest.of_sizes(0), sizes=1)
    alike = replace(
        problem,
        busiest=replace(one, biased=(*one.biased, *one.cases), sizes=2),
        factors=((1.0, 1.0), (0.6, 0.6)),
        sizes=(0, 1),
        cycle=Cycle(period_of_hour=(0, 1)),
    )
    # Each set has a period at its own busiest rate: here that of the second is 0.6 of what its loads are.
    plain = replace(alike, busiest=one, sizes=())
    assert solve_schedule(alike, EXACT).counts == solve_schedule(plain, EXACT).counts


def excess(rates: Sequence[float], sizes: Sequence[int], work: Sequence[float], of: Sequence[int]) -> float:
    """What a division of the hours plans beyond what they need; infinite where a period has hours of two sets."""
    total = 0.0
    for period in set(of):
        own = [hour for hour, each in enumerate(of) if each == period]
        if len({sizes[hour] for hour in own}) > 1:
            return math.inf
        total += sum((max(rates[each] for each in own) - rates[hour]) * work[sizes[hour]] for hour in own)
    return total


@pytest.mark.parametrize("seed", range(40))
def test_periods_plan_the_least_beyond_what_hours_need(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    rates = [draw.choice((1.0, 2.0, 3.5, 5.0, 8.0)) for _ in range(6)]
    sizes = [0, 1, *(draw.randrange(2) for _ in range(4))]
    work, most = (draw.choice((0.5, 1.0, 3.0)), 1.0), draw.randint(2, 4)
    found = periods_by_work(rates, sizes, work, most)
    assert len(found.rates_rps) <= most
    assert list(found.work) == sorted(found.work, reverse=True)
    assert found.work[0] == 1.0
    for hour, period in enumerate(found.of_hour):
        assert found.sizes[period] == sizes[hour]
        assert rates[hour] <= found.rates_rps[period]
    best = min(excess(rates, sizes, work, of) for of in itertools.product(range(most), repeat=6))
    assert excess(rates, sizes, work, found.of_hour) == pytest.approx(best)


def test_hours_without_requests_belong_to_the_last_period_or_are_one_more() -> None:
    rates, sizes = [4.0, 0.0, 2.0, 0.0], [0, -1, 1, -1]
    runs = periods_by_work(rates, sizes, [1.0, 5.0])
    assert runs.of_hour == (1, 1, 0, 1)
    assert (runs.rates_rps, runs.sizes, runs.work) == ((2.0, 4.0), (1, 0), (1.0, 0.4))
    stops = periods_by_work(rates, sizes, [1.0, 5.0], may_stop=True)
    assert (stops.of_hour, stops.rates_rps, stops.work[-1]) == ((1, 2, 0, 2), (2.0, 4.0, 0.0), 0.0)


def test_one_set_of_sizes_has_the_periods_of_the_rates() -> None:
    rates = [float(hour % 7) for hour in range(24)]
    found = periods_by_work(rates, [0] * 24, [3.0], may_stop=True)
    assert (found.of_hour, found.rates_rps) == periods_of(rates, may_stop=True)
