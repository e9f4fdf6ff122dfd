"""Schedules against every schedule there is, single plans, and sums by hand; what they must hold, recomputed."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from brute_force import _Continuous, _Sliced, beside, limits_of_kind

from sky_melange.domain.hours import followed, mean_usd_per_hour, most_changes, starts_in
from sky_melange.domain.workload import Formulation, SolverSettings
from sky_melange.errors import InfeasibleError
from sky_melange.optimizer.charges import Charges, RouterCharge
from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.replicas import MinReplicas
from sky_melange.optimizer.problem import Keep, Limit, Problem
from sky_melange.optimizer.schedule import Cycle, ScheduleProblem, periods_of
from sky_melange.optimizer.solve import hours
from sky_melange.optimizer.solve.hours import _lines_under, solve_schedule
from sky_melange.optimizer.solve.solver import solve

EXACT = SolverSettings(mip_gap=1e-7)
Counts = tuple[tuple[int, ...], ...]


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours, "SCHEDULE_GAP", 1e-7)


def schedules(problem: ScheduleProblem, slices: int | None = None) -> Iterator[Counts]:
    """Every monotone schedule that keeps the rules, by fractions; shares by linear programming duality."""
    busiest = problem.busiest
    loads = [[None if load is None else Fraction(str(load)) for load in row] for row in busiest.loads]
    fits = _Continuous(loads) if slices is None else _Sliced(loads, slices)
    most = [
        math.ceil(sum(row[c] or 0 for row in loads) / Fraction(str(busiest.max_utilization))) + 1 + busiest.losses
        for c in range(busiest.candidate_count)
    ]
    each = list(itertools.product(*(range(count + 1) for count in most)))
    for rows in itertools.product(each, repeat=len(problem.factors)):
        steady = all(a >= b for one, other in itertools.pairwise(rows) for a, b in zip(one, other, strict=True))
        present = all((a > 0) == (b > 0) for a, b in zip(rows[0], with_traffic(problem, rows)[-1], strict=True))
        if steady and present and _keeps(problem, rows) and _carries(problem, fits, rows):
            yield rows


def with_traffic(problem: ScheduleProblem, rows: Counts) -> Counts:
    return rows[: sum(factors[0] > 0 for factors in problem.factors)]


def _keeps(problem: ScheduleProblem, rows: Counts) -> bool:
    busiest = problem.busiest
    limit = problem.cycle.max_changes
    if limit is not None and most_changes(problem.cycle.period_of_hour, rows) > limit:
        return False
    for row in with_traffic(problem, rows):
        if sum(n * each for n, each in zip(row, busiest.replicas, strict=True)) < max(
            (one.limit for one in limits_of_kind(busiest, MinReplicas)), default=0
        ):
            return False
        if any(sum(n > 0 for n in row) > one.limit for one in limits_of_kind(busiest, MaxGroups)):
            return False
        for cap in limits_of_kind(busiest, Cap):
            if sum(w * n for w, n in zip(cap.weights, row, strict=True)) > cap.limit:
                return False
    return True


def _carries(problem: ScheduleProblem, fits: _Continuous | _Sliced, rows: Counts) -> bool:
    u = Fraction(str(problem.busiest.max_utilization))

    def room(lost: Sequence[int]) -> list[Fraction]:
        return [
            min(
                u * max(0, row[c] - lost[c]) / Fraction(str(factors[c]))
                for row, factors in zip(with_traffic(problem, rows), problem.factors, strict=False)
            )
            for c in range(len(lost))
        ]

    size = problem.busiest.candidate_count
    losses = [
        lost
        for lost in itertools.product(range(problem.busiest.losses + 1), repeat=size)
        if sum(lost) == problem.busiest.losses and all(gone <= n for gone, n in zip(lost, rows[0], strict=True))
    ]
    return bool(losses) and fits.into(room([0] * size)) and all(fits.into(room(lost)) for lost in losses)


def cost_by_hand(problem: ScheduleProblem, rows: Counts) -> Fraction:
    """Hour by hour through the cycle."""
    prices = [Fraction(str(price)) for price in problem.busiest.prices]
    cycle = problem.cycle.period_of_hour
    total, minutes = Fraction(0), Fraction(str(problem.cycle.startup_minutes))
    for hour, period in enumerate(cycle):
        before = rows[cycle[hour - 1]]
        for price, n, then in zip(prices, rows[period], before, strict=True):
            total += price * n + price * max(0, n - then) * minutes / 60
    mean = total / len(cycle) + beside(problem.busiest, rows[0])
    keep = problem.busiest.keep
    if keep is not None:
        changed = sum(abs(n - then) for n, then in zip(rows[0], keep.previous, strict=True))
        mean += Fraction(str(keep.usd_per_hour)) * changed
    return mean


def instance(seed: int) -> ScheduleProblem:
    """One of every kind of small problem."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    size, classes = draw.choice((1, 2, 2)), draw.choice((1, 2))
    periods = draw.choice((2, 2, 3)) if size < 2 else 2
    loads = tuple(
        tuple(None if size > 1 and draw.random() < 0.15 and c else draw.randrange(20, 160) / 100 for c in range(size))
        for _ in range(classes)
    )
    rates = sorted((draw.randrange(10, 95) / 100 for _ in range(periods - 1)), reverse=True)
    factors = [(1.0,) * size]
    for rate in rates:
        # A small group must keep more idle: by its own factor, never above that of the busier period.
        factors.append(tuple(min(factors[-1][c], round(rate * draw.choice((1.0, 1.1)), 3)) for c in range(size)))
    limits: list[Limit] = []
    if draw.random() < 0.3:
        limits.append(MinReplicas(weights=(1,) * size, limit=2))
    if draw.random() < 0.2 and size > 1:
        limits.append(MaxGroups(limit=1))
    if draw.random() < 0.2:
        limits.append(Cap(name="cap", weights=tuple(draw.choice((1, 2)) for _ in range(size)), limit=5))
    router = RouterCharge(near_usd_per_hour=(0.2,) * size, elsewhere_usd_per_hour=0.3)
    problem = Problem(
        loads=loads,
        prices=tuple(draw.randrange(50, 400) / 100 for _ in range(size)),
        replicas=(1,) * size,
        max_utilization=draw.choice((1.0, 0.9)),
        limits=tuple(limits),
        weights=(1.0 / classes,) * classes,
        losses=draw.choice((0, 0, 0, 1)) if periods == 2 else 0,
        charges=draw.choice((Charges(), Charges(base_usd_per_hour=0.5, router=router))),
        keep=Keep(previous=(1,) * size, usd_per_hour=0.1) if draw.random() < 0.2 else None,
    )
    cycle = [0, periods - 1] + [draw.randrange(periods) for _ in range(6)] + list(range(periods))
    return ScheduleProblem(
        busiest=problem,
        factors=tuple(factors),
        cycle=Cycle(
            period_of_hour=tuple(cycle),
            startup_minutes=draw.choice((0, 10, 30, 240)),
            max_changes=draw.choice((None, None, None, 1)),
        ),
    )


def with_rests(seed: int) -> ScheduleProblem:
    """The same with hours without traffic, some of them between two with some."""
    problem, draw = instance(seed), random.Random(seed)  # noqa: S311 - no secret
    size, periods = problem.busiest.candidate_count, len(problem.factors)
    cycle = list(problem.cycle.period_of_hour)
    for _ in range(draw.choice((1, 3))):
        at = draw.randrange(len(cycle))
        cycle[at:at] = [periods] * draw.choice((1, 4))
    return replace(
        problem,
        factors=(*problem.factors, (0.0,) * size),
        cycle=replace(problem.cycle, period_of_hour=tuple(cycle)),
    )


def assert_least(problem: ScheduleProblem, every: Mapping[Counts, Fraction]) -> None:
    """What is found for a problem is the cheapest of `every` schedule that keeps its rules, and known to be."""
    if not every:
        with pytest.raises(InfeasibleError, match="constraints"):
            solve_schedule(problem, EXACT)
        return
    found = solve_schedule(problem, EXACT)
    assert found.counts in every, "the schedule breaks a rule"
    assert problem.objective(found.counts) == pytest.approx(float(every[found.counts]), rel=1e-9)
    assert problem.objective(found.counts) == pytest.approx(float(min(every.values())), rel=1e-6)
    assert found.bound_usd_per_hour <= float(min(every.values())) * (1 + 1e-6)
    assert found.status == "optimal"


@pytest.mark.parametrize("seed", range(60))
def test_no_schedule_costs_less_than_the_one_found(seed: int) -> None:
    problem = instance(seed)
    every = {rows: cost_by_hand(problem, rows) for rows in schedules(problem)}
    assert_least(problem, every)


RESTS = [seed for seed in range(60) if len(instance(seed).factors) == 2]


@pytest.mark.parametrize("seed", RESTS[:24])
def test_nothing_need_run_in_hours_without_traffic(seed: int) -> None:
    problem = with_rests(seed)
    assert_least(problem, {rows: cost_by_hand(problem, rows) for rows in schedules(problem)})


def test_groups_stop_where_that_pays_and_run_on_where_starting_costs_more() -> None:
    last = [solve_schedule(with_rests(seed), EXACT).counts[-1] for seed in (RESTS[0], RESTS[2], RESTS[3])]
    assert any(not any(row) for row in last)
    assert any(any(row) for row in last)


@pytest.mark.parametrize("seed", [seed for seed in range(400, 440) if not instance(seed).busiest.losses][:12])
def test_whole_slices_are_routed_alike_in_all_periods(seed: int) -> None:
    problem = instance(seed)
    every = [cost_by_hand(problem, rows) for rows in schedules(problem, 3)]
    settings = replace(EXACT, formulation=Formulation.SLICED, slices=3)
    if not every:
        with pytest.raises(InfeasibleError, match="constraints"):
            solve_schedule(problem, settings)
        return
    found = solve_schedule(problem, settings)
    assert problem.objective(found.counts) == pytest.approx(float(min(every)), rel=1e-6)
    assert all(abs(share * 3 - round(share * 3)) < 1e-6 for row in found.shares for share in row)


def test_brute_force_has_seen_infeasible_and_limited_instances() -> None:
    problems = [instance(seed) for seed in range(60)]
    assert any(problem.busiest.losses for problem in problems)
    assert any(problem.cycle.max_changes for problem in problems)
    assert any(min(problem.cycle.weights) < 0 for problem in problems)
    assert any(problem.busiest.keep for problem in problems)
    assert {len(problem.factors) for problem in problems} == {2, 3}


@pytest.mark.parametrize("seed", range(200, 230))
def test_one_period_is_the_single_plan(seed: int) -> None:
    whole = instance(seed)
    one = ScheduleProblem(busiest=whole.busiest, factors=whole.factors[:1], cycle=Cycle(period_of_hour=(0,) * 24))
    try:
        single = solve(whole.busiest, EXACT)
    except InfeasibleError:
        with pytest.raises(InfeasibleError, match="constraints"):
            solve_schedule(one, EXACT)
        return
    found = solve_schedule(one, EXACT)
    assert whole.busiest.objective(found.counts[0]) == pytest.approx(whole.busiest.objective(single.counts), rel=1e-6)


def many(candidates: int, classes: int, periods: int, *, seed: int = 1, rate: float = 40.0) -> ScheduleProblem:
    """Distinct machines that none replaces for less, and a sinus of a week."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    speeds = [[draw.uniform(0.5, 2.0) for _ in range(classes)] for _ in range(candidates)]
    loads = tuple(
        tuple(rate / classes / (speeds[c][r] * (1 + c % 4)) for c in range(candidates)) for r in range(classes)
    )
    prices = tuple(round((1 + c % 4) * draw.uniform(0.9, 1.3), 4) for c in range(candidates))
    wave = [
        1.1 + math.sin(2 * math.pi * hour / 24) * (0.9 if hour < 120 else 0.5) + draw.uniform(0, 0.1)
        for hour in range(168)
    ]
    of_hour, rates = periods_of(wave, periods)
    return ScheduleProblem(
        busiest=Problem(loads=loads, prices=prices, replicas=(1,) * candidates, weights=(1 / classes,) * classes),
        factors=tuple((each / rates[0],) * candidates for each in rates),
        cycle=Cycle(period_of_hour=of_hour, startup_minutes=8),
    )


def test_candidates_that_are_left_out_are_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hours, "SCHEDULE_GAP", 0.02)
    problem = many(9, 3, 3, rate=6.0)
    everything = solve_schedule(problem, SolverSettings())
    monkeypatch.setattr(hours, "_MOST_CANDIDATES", 3)
    monkeypatch.setattr(hours, "_FIRST_LOOK", 2)
    few = solve_schedule(problem, SolverSettings())
    assert few.bound_usd_per_hour <= everything.cost_usd_per_hour * (1 + 1e-9)
    assert few.cost_usd_per_hour >= everything.bound_usd_per_hour * (1 - 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [20.0, 120.0, 200.0])
def test_a_week_of_twelve_candidates_and_forty_classes_is_proven_to_one_percent(rate: float) -> None:
    problem = many(12, 40, 12, rate=rate)
    found = solve_schedule(problem, SolverSettings(mip_gap=0.01, time_limit_s=300))
    assert found.status == "optimal"
    assert found.mip_gap <= 0.01
    assert len(problem.cycle.period_of_hour) == 168
    flat = problem.cost((found.counts[0],) * len(found.counts))
    assert found.cost_usd_per_hour < flat * 0.8


@pytest.mark.parametrize("seed", range(40))
def test_lines_lie_under_what_whole_instances_cost(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    count, most = draw.randint(1, 4), draw.randint(1, 9)
    factors = sorted((draw.uniform(0.05, 1) for _ in range(count)), reverse=True)
    factors[0] = 1.0
    weights = [draw.uniform(-0.3, 1) for _ in range(count)]
    weights[0] = 1 - sum(weights[1:])
    if count > 1 and seed % 4 == 0:
        factors[-1] = 0.0
    if any(sum(weights[:end]) < 0 for end in range(1, count + 1)):
        weights = [1 / count] * count
    lines = list(_lines_under(factors, weights, most))
    touched = 0
    # Steps are where the lines come closest: there and just beyond.
    steps = [k / factor for factor in factors if factor for k in range(most + 1) if 0 < k / factor <= most]
    for load in [
        *steps,
        *(step * (1 + 1e-7) for step in steps if step < most),
        *(draw.uniform(1e-6, most) for _ in range(50)),
    ]:
        least = [max(factor > 0, math.ceil(factor * load * (1 - 1e-12))) for factor in factors]
        # Any steady counts that carry it, by trying: at most two more in each period.
        for more in itertools.product(range(3), repeat=count):
            counts = [n + extra for n, extra in zip(least, more, strict=True)]
            if all(a >= b for a, b in itertools.pairwise(counts)):
                cost = sum(w * n for w, n in zip(weights, counts, strict=True))
                assert all(slope * load + fixed <= cost + 1e-7 for slope, fixed in lines)
                touched += any(slope * load + fixed >= cost - 1e-6 for slope, fixed in lines)
    assert touched >= 2


@pytest.mark.slow
def test_losses_are_survived_with_the_same_routing_in_all_periods() -> None:
    problem = many(5, 10, 4, rate=12.0)
    problem = replace(problem, busiest=replace(problem.busiest, losses=2))
    found = solve_schedule(problem, SolverSettings(mip_gap=0.02))
    assert found.mip_gap <= 0.04
    lost = {each.lost for each in found.contingencies}
    used = [c for c, n in enumerate(found.counts[0]) if n]
    for gone in itertools.combinations_with_replacement(used, 2):
        row = tuple(gone.count(c) for c in range(5))
        assert row in lost or any(n < out for n, out in zip(found.counts[0], row, strict=True))
    for each in found.contingencies:
        loads = [
            sum(busy[c] * share[c] for busy, share in zip(problem.busiest.loads, each.shares, strict=True) if busy[c])
            for c in range(5)
        ]
        for factors, counts in zip(problem.factors, found.counts, strict=True):
            for c in used:
                left = max(0, counts[c] - each.lost[c])
                assert factors[c] * loads[c] <= left * (1 + 1e-5)


def test_periods_are_planned_upwards_and_quiet_hours_join_the_quietest() -> None:
    of_hour, rates = periods_of([10, 9, 4, 0, 3.5, 10, 0, 1], 3)
    assert rates[0] == 10
    assert all(rates[period] >= rate for period, rate in zip(of_hour, [10, 9, 4, 0, 3.5, 10, 0, 1], strict=True))
    assert list(rates) == sorted(rates, reverse=True)
    assert of_hour[3] == of_hour[6] == of_hour[7] == len(rates) - 1
    assert set(of_hour) == set(range(len(rates)))


@pytest.mark.parametrize("seed", range(20))
def test_no_other_division_into_periods_plans_less_in_vain(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    rates = [draw.randrange(1, 9) for _ in range(8)]
    of_hour, found = periods_of(rates, 3)
    excess = sum(found[period] - rate for period, rate in zip(of_hour, rates, strict=True))
    levels = sorted(set(rates))
    best = min(
        sum(min(top for top in (*tops, max(levels)) if top >= rate) - rate for rate in rates)
        for tops in itertools.product(levels, repeat=2)
    )
    assert excess == best


def test_hours_that_may_stop_are_a_period_of_their_own() -> None:
    rates = [10, 9, 4, 0, 3.5, 10, 0, 1]
    of_hour, found = periods_of(rates, 3, may_stop=True)
    others, same = periods_of([rate for rate in rates if rate], 3)
    assert found == (*same, 0.0)
    assert [period for period, rate in zip(of_hour, rates, strict=True) if rate] == list(others)
    assert of_hour[3] == of_hour[6] == 3
    assert periods_of([5, 1, 2], may_stop=True) == periods_of([5, 1, 2])


def test_a_constant_rate_is_one_period() -> None:
    assert periods_of([2.5] * 24) == ((0,) * 24, (2.5,))


def test_starts_and_changes_are_counted_around_the_clock() -> None:
    cycle = (0, 1, 1, 0)
    counts = ((3, 2), (1, 2))
    assert dict(followed(cycle)) == {(0, 1): 1, (1, 0): 1}
    assert starts_in(cycle, counts) == (2, 0)
    assert most_changes(cycle, counts) == 2
    # 8 instance hours at 2 USD, 2 starts of half an hour; 8 at 1 USD, over 4 hours.
    assert mean_usd_per_hour(cycle, counts, (2.0, 1.0), startup_minutes=30) == pytest.approx((16 + 2 + 8) / 4)
