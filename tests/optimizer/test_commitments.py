"""Schedules with commitments against every schedule and every number of committed instances; which offer is bought."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from fractions import Fraction

import pytest
from brute_force import beside
from test_hours import EXACT, Counts, assert_least, instance, schedules

from sky_melange.domain.hours import mean_usd_per_hour, worth_committing
from sky_melange.optimizer.schedule import ScheduleProblem
from sky_melange.optimizer.solve import hours
from sky_melange.optimizer.solve.hours import solve_schedule


def with_terms(seed: int) -> ScheduleProblem:
    """A small problem some of whose candidates may be bought for a term, some only so."""
    problem, draw = instance(seed), random.Random(seed)  # noqa: S311 - no secret
    on_demand = tuple(
        draw.choice((None, math.inf, *(round(price / part, 3) for part in (0.35, 0.6, 0.9))))
        for price in problem.busiest.prices
    )
    return replace(problem, on_demand=on_demand)


def least_by_hand(problem: ScheduleProblem, rows: Counts) -> Fraction:
    """Hour by hour, for every number of committed instances; the least."""
    cycle, minutes = problem.cycle.period_of_hour, Fraction(str(problem.cycle.startup_minutes))
    total = Fraction(0)
    for c, (price, hourly) in enumerate(zip(problem.busiest.prices, problem.on_demand, strict=True)):
        term = Fraction(str(price))
        by_the_hour = term if hourly is None else None if math.isinf(hourly) else Fraction(str(hourly))
        found = []
        for k in range(1 if hourly is None else max(row[c] for row in rows) + 1):
            cost, beyond = Fraction(0), [max(0, row[c] - k) for row in rows]
            if by_the_hour is None and any(beyond):
                continue
            for hour, period in enumerate(cycle):
                started = max(0, beyond[period] - beyond[cycle[hour - 1]])
                cost += term * k + (by_the_hour or 0) * (beyond[period] + started * minutes / 60)
            found.append(cost / len(cycle))
        total += min(found)
    keep = problem.busiest.keep
    changes = 0 if keep is None else sum(abs(n - then) for n, then in zip(rows[0], keep.previous, strict=True))
    charged = 0 if keep is None else Fraction(str(keep.usd_per_hour)) * changes
    return total + beside(problem.busiest, rows[0]) + charged


@pytest.mark.parametrize("seed", range(1000, 1050))
def test_no_schedule_with_commitments_costs_less(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours, "SCHEDULE_GAP", 1e-7)
    problem = with_terms(seed)
    every = {rows: least_by_hand(problem, rows) for rows in schedules(problem)}
    assert_least(problem, every)


def test_the_problems_have_every_kind_of_purchase() -> None:
    bought = [with_terms(seed).on_demand for seed in range(1000, 1050)]
    kinds = {None if price is None else math.isinf(price) for prices in bought for price in prices}
    assert kinds == {None, True, False}


@pytest.mark.parametrize("seed", range(40))
def test_the_busiest_hour_of_a_schedule_stays_within_its_budget_as_it_is_bought(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hours, "SCHEDULE_GAP", 1e-7)
    problem = with_terms(seed)
    every = {rows: least_by_hand(problem, rows) for rows in schedules(problem)}
    if problem.busiest.keep is not None or not every:
        return
    costs = {rows: problem.cost_in(rows, 0) for rows in every}
    limit = sorted(costs.values())[len(costs) // 3] * (1 + 1e-9)
    limited = replace(problem, busiest=replace(problem.busiest, max_cost_usd_per_hour=limit))
    found = solve_schedule(limited, EXACT)
    assert limited.cost_in(found.counts, 0) <= limit * (1 + 1e-6)
    best = min(float(cost) for rows, cost in every.items() if costs[rows] <= limit)
    assert problem.cost(found.counts) == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("seed", range(30))
def test_as_many_are_committed_as_cost_least(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    counts = sorted((draw.randrange(1, 12) for _ in range(draw.randrange(1, 5))), reverse=True)
    cycle = [*range(len(counts)), *(draw.randrange(len(counts)) for _ in range(20))]
    hourly, term, minutes = 2.0, draw.choice((0.5, 1.0, 1.9)), draw.choice((0.0, 30.0))
    found = worth_committing(
        cycle, counts, on_demand_usd_per_hour=hourly, committed_usd_per_hour=term, startup_minutes=minutes
    )

    def cost(k: int) -> float:
        rest = [[max(0, n - k)] for n in counts]
        return term * k + mean_usd_per_hour(cycle, rest, [hourly], startup_minutes=minutes)

    costs = [cost(k) for k in range(max(counts) + 1)]
    assert costs[found] == pytest.approx(min(costs), rel=1e-12)
    assert found == min(k for k, each in enumerate(costs) if each == pytest.approx(min(costs), rel=1e-12))
