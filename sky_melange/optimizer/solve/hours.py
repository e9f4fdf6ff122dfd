"""The program over the periods of a cycle: one set of shares, counts by period; the rows are those of a single plan.

Let w_c be the load of candidate c in the busiest period, in the worst case of its estimates, and f_cl the factor on it
in period l (`ScheduleProblem.factors`); where sizes differ by the hour there is a w_cs for each set of sizes, and
period l has that of its own. With m_l the hours that an instance of period l is paid, starts included
(`Cycle.weights`):

min Σ_cl p_c m_l n_cl + charges
s.t.  Σ_r load_rc x_rc ≤ u w_c in every case   f_cl w_c ≤ n_cl   n_c,l+1 ≤ n_cl   y_c ≤ n_cl ≤ M_c y_c
      the limits' rows for every period        Σ_c |n_cl − n_cm| ≤ changes where an hour of l is followed by one of m
      Σ_l m_l n_cl ≥ a w_c + b y_c             the lines under what whole instances cost (`_whole_hours`)
without the limits' rows and y_c ≤ n_cl in a last period without traffic,
with p_c m_l as in `ScheduleProblem.paid` where instances may be bought for a term,
and, where instances may be lost, for each way to lose them shares z that hold in all periods on what is left.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, pairwise
from typing import Any, Final, TypeVar

import pulp

from sky_melange.domain.hours import followed
from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError, SkyMelangeError
from sky_melange.optimizer.limits import limits_of
from sky_melange.optimizer.problem import Loads
from sky_melange.optimizer.schedule import ScheduleProblem
from sky_melange.optimizer.solve import rows
from sky_melange.optimizer.solve.dominance import undominated
from sky_melange.optimizer.solve.losses import losses_of
from sky_melange.optimizer.solve.lp import IntegerProgram, Labelled, read_shares, relative_gap, whole
from sky_melange.optimizer.solve.reduction import Reduction, reduce_problem
from sky_melange.optimizer.solve.session import Session
from sky_melange.optimizer.solve.solution import Contingency, ScheduleSolution
from sky_melange.optimizer.solve.spread import spread
from sky_melange.optimizer.solve.variables import Variables, cost_terms, make_variables

_OfSet = TypeVar("_OfSet")

SCHEDULE_GAP: Final = 0.005
"""Relative: a program over hours that is solved to less takes much longer, and its rates are not known better."""

_MOST_CANDIDATES: Final = 12
_MOST_WITH_LOSSES: Final = 6
_FIRST_LOOK: Final = 6
_TOLERANCE: Final = 1e-6


def solve_schedule(problem: ScheduleProblem, settings: SolverSettings) -> ScheduleSolution:
    """The counts of each period whose mean cost is least, within SCHEDULE_GAP (or `mip_gap`, where that is more).

    Raises InfeasibleError where no counts keep the limits in all periods, NotOptimalError when the time passes.
    """
    session = Session(replace(settings, mip_gap=max(settings.mip_gap, SCHEDULE_GAP)))
    kept = _undominated(problem)
    reduced = problem.restricted_to(kept)
    chosen, without_usd_per_hour, first = _promising(reduced, session)
    try:
        found = _solved(reduced.restricted_to(chosen), session)
    except NotOptimalError:
        if first is None:
            raise
        found, chosen = first
    if first is not None and first[0].cost_usd_per_hour < found.cost_usd_per_hour and not reduced.busiest.keep:
        found, chosen = replace(first[0], bound_usd_per_hour=found.bound_usd_per_hour), first[1]
    wide = _widened(problem, [kept[position] for position in chosen], found)
    objective = problem.objective(wide.counts)
    # What `keep` charges for stopping candidates that were left out is charged whatever the schedule.
    stopped = objective - reduced.restricted_to(chosen).objective(found.counts)
    bound = min(found.bound_usd_per_hour, without_usd_per_hour) + stopped
    gap = relative_gap(objective, bound)
    proven = gap <= 2 * max(session.settings.mip_gap, _TOLERANCE)
    return replace(wide, bound_usd_per_hour=bound, mip_gap=gap, status="optimal" if proven else "feasible")


def _undominated(problem: ScheduleProblem) -> tuple[int, ...]:
    """Candidates that no other replaces for less in every period; see `dominance`.

    Where changes are limited, k instances for one are more changes: everything stays.
    """
    if problem.cycle.max_changes is not None:
        return tuple(range(problem.busiest.candidate_count))
    alike = {factors for factors in problem.factors if len(set(factors)) > 1}
    cases: list[Loads] = []
    for factors in sorted(alike):
        cases += problem.busiest.times(factors).cases
    return undominated(replace(problem.busiest, biased=(*problem.busiest.biased, *cases)), problem.hourly_prices)


def _reduction(problem: ScheduleProblem) -> Reduction | None:
    """The bounds of the periods, weighed as their instances are; None where a period weighs less than nothing."""
    weights = problem.cycle.weights
    if min(weights) < 0:
        return None
    parts = [
        reduce_problem(replace(each, keep=None, prices=_in_period(each.prices, paid, weight)))
        for each, paid, weight in zip(problem.problems, problem.paid, weights, strict=False)
    ]
    running = () if problem.busiest.keep is None else problem.busiest.keep.previous

    def mean(values: Sequence[float]) -> float:
        return math.inf if math.inf in values else math.fsum(w * v for w, v in zip(weights, values, strict=False))

    size = problem.busiest.candidate_count
    surcharges = tuple(mean([part.surcharges[c] for part in parts]) for c in range(size))
    if running:
        surcharges = tuple(0.0 if running[c] else surcharge for c, surcharge in enumerate(surcharges))
    return Reduction(
        mix_bound=mean([part.mix_bound for part in parts]),
        surcharges=surcharges,
        alone=tuple(mean([part.alone[c] for part in parts]) for c in range(size)),
    )


def _in_period(prices: tuple[float, ...], paid: Sequence[float], weight: float) -> tuple[float, ...]:
    """What an instance costs in an hour of a period by what it adds to the mean."""
    return tuple(each / weight for each in paid) if weight else prices


_Looked = tuple[ScheduleSolution, tuple[int, ...]]


def _promising(problem: ScheduleProblem, session: Session) -> tuple[tuple[int, ...], float, _Looked | None]:
    """The candidates to solve with, what every schedule with another one costs at least, and one found on the way."""
    everything = tuple(range(problem.busiest.candidate_count))
    most = _MOST_WITH_LOSSES if problem.busiest.losses else _MOST_CANDIDATES
    reduction = _reduction(problem)
    if len(everything) <= most:
        return everything, math.inf, None
    if reduction is None:
        one_hour = reduce_problem(replace(problem.busiest, keep=None))
        return one_hour.most_promising(problem.busiest, most), 0.0, None
    few = reduction.most_promising(problem.busiest, _FIRST_LOOK)
    first: _Looked | None = None
    kept = everything
    hurried = Session(session.settings, time_limit_s=session.left_s / 4)
    given_s = hurried.left_s
    try:
        found = _solved(problem.restricted_to(few), hurried)
        first = (found, few)
        kept = reduction.keep(problem.objective(_widened(problem, few, found).counts))
    except (InfeasibleError, NotOptimalError):
        pass
    session.left_s -= given_s - hurried.left_s
    if len(kept) <= most:
        return kept, math.inf, first
    ranked = sorted(kept, key=lambda c: (min(reduction.surcharges[c], reduction.alone[c]), c))
    chosen = set(ranked[:most])
    for row in problem.busiest.loads:
        if not any(row[c] is not None for c in chosen):
            chosen.add(next(c for c in ranked if row[c] is not None))
    left = [c for c in kept if c not in chosen]
    without = min((min(reduction.mix_bound + reduction.surcharges[c], reduction.alone[c]) for c in left), default=0.0)
    return tuple(sorted(chosen)), without, first


def _solved(problem: ScheduleProblem, session: Session) -> ScheduleSolution:
    """The program over all candidates of the problem."""
    busiest = problem.busiest
    lp = pulp.LpProblem("sky_melange_hours", pulp.LpMinimize)
    first = make_variables(lp, busiest, session.slices, merged=False)
    later = [Labelled(lp, str(period)) for period in range(1, len(problem.factors))]
    counts = [
        first.counts,
        *(
            tuple(
                named.add_variable(f"n_{c}", lowBound=0, upBound=most, cat=pulp.LpInteger)
                for c, most in enumerate(first.max_counts)
            )
            for named in later
        ),
    ]
    rows.assignment(lp, first, busiest)
    loads = _carries(lp, problem, first, counts)
    serving = problem.serving
    rows.coverage(lp, replace(first, counts=counts[serving - 1]), busiest)
    program = IntegerProgram(busiest, lp, first)
    if len(counts) > 1 or busiest.losses or busiest.charges.depend_on_groups:
        program.used()
    for each, problem_of_period, named in zip(counts[:serving], problem.problems, (lp, *later)[:serving], strict=True):
        view = (
            program
            if named is lp
            else IntegerProgram(problem_of_period, named, replace(first, counts=each), is_linked=True)
        )
        for limit in limits_of(problem_of_period):
            limit.rows(view)
    _steady(lp, problem, first, counts)
    _budget(lp, problem, first, counts)
    if len(counts) > 1:
        _whole_hours(lp, problem, first, counts, loads)
    for name, add in rows.LAST.items():
        if name != "losses":
            add(lp, first, busiest)
    _losses(lp, problem, first, counts)
    lp.setObjective(_objective(problem, first, counts))
    return _read(problem, first, counts, lp, session)


def _carries(
    lp: Any,
    problem: ScheduleProblem,
    variables: Variables,
    left: Sequence[Sequence[Any]],
) -> list[tuple[pulp.LpVariable, ...]]:
    """w_c of each set of sizes, which carries its loads in every case, and f_cl·w_c ≤ `left`[l][c], what there is of
    the counts.
    """
    size = problem.busiest.candidate_count
    found: list[tuple[pulp.LpVariable, ...]] = []
    parts = [problem.busiest.of_sizes(number) for number in range(problem.busiest.sizes)]
    for named, own, part in _by_sizes(lp, problem, parts):
        loads = tuple(named.add_variable(f"w_{c}", lowBound=0) for c in range(size))
        rows.utilization(named, replace(variables, counts=loads), part)
        for period in own:
            for c in range(size) if period < problem.serving else ():
                row = problem.factors[period][c] * loads[c] - left[period][c]
                named.addConstraint(row <= 0, f"carries_{c}_{period}")
        found.append(loads)
    return found


def _budget(
    lp: pulp.LpProblem, problem: ScheduleProblem, variables: Variables, counts: Sequence[Sequence[pulp.LpVariable]]
) -> None:
    """What the busiest hour costs as it is bought: the limit's own row takes all instances at the prices of terms."""
    limit, prices = problem.busiest.max_cost_usd_per_hour, problem.busiest.prices
    if limit is None or not problem.on_demand:
        return
    terms = list(cost_terms(problem.busiest, variables)[len(prices) :])
    for c, (price, hourly) in enumerate(zip(prices, problem.hourly_prices, strict=True)):
        covered = problem.covered_from(c)
        terms += [(counts[0][c], hourly if covered else price)]
        if covered is not None and covered:
            terms += [(counts[covered][c], price - hourly)]
    base = problem.busiest.charges.base_usd_per_hour
    lp.addConstraint(pulp.LpAffineExpression(terms) <= limit - base, "budget_as_bought")


def _whole_hours(
    lp: pulp.LpProblem,
    problem: ScheduleProblem,
    variables: Variables,
    counts: Sequence[Sequence[pulp.LpVariable]],
    loads: Sequence[Sequence[pulp.LpVariable]],
) -> None:
    """Σ_l p_cl n_cl ≥ a·w_c + b·y_c for each line under what whole instances cost at least, as w_c grows.

    Implied by the other rows for whole counts, and far from it for others: the rounding of all periods together is
    most of what a schedule costs beyond the program without whole numbers. Of several sets of sizes each has its lines
    over its own periods.
    """
    paid = problem.paid
    for c, used in enumerate(variables.used):
        price = problem.busiest.prices[c]
        if not price or (len(loads) > 1 and any(row[c] < 0 for row in paid)):
            continue
        for named, own, w in _by_sizes(lp, problem, loads):
            weights = [paid[period][c] / price for period in own]
            factors = [problem.factors[period][c] for period in own]
            for number, (slope, fixed) in enumerate(_lines_under(factors, weights, variables.max_counts[c])):
                terms = [(counts[period][c], weight) for period, weight in zip(own, weights, strict=True)]
                named.addConstraint(
                    pulp.LpAffineExpression([*terms, (w[c], -slope), (used, -fixed)]) >= 0, f"whole_{c}_{number}"
                )


def _by_sizes(lp: Any, problem: ScheduleProblem, of_sets: Sequence[_OfSet]) -> Iterator[tuple[Any, list[int], _OfSet]]:
    """(the program, the periods, what `of_sets` has) of each set of sizes."""
    for number, each in enumerate(of_sets):
        own = [period for period, of in enumerate(problem.set_of) if of == number]
        yield Labelled(lp, f"sizes_{number}") if number else lp, own, each


def _lines_under(factors: Sequence[float], weights: Sequence[float], most: int) -> Iterator[tuple[float, float]]:
    """(slope, value at 0) of the lower convex hull of w -> Σ_l m_l·⌈f_l·w⌉ over 0 < w ≤ `most`.

    Instances of a period that weighs less than nothing run on from the busier one before it. Where f_l = 0 none need
    run.
    """
    kept: list[tuple[float, float]] = []
    for factor, weight in zip(factors, weights, strict=True):
        kept.append((factor, weight))
        while len(kept) > 1 and kept[-1][1] < 0:
            (_, less), (before, more) = kept.pop(), kept.pop()
            kept.append((before, more + less))

    def paid(w: float) -> float:
        # A hair below the step: what it says must be no more than what whole counts cost.
        return math.fsum(weight * max(factor > 0, math.ceil(factor * w * (1 - 1e-9))) for factor, weight in kept)

    if not most:
        return
    steps = {step / factor for factor, _ in kept for step in range(1, math.floor(most * factor) + 1)}
    points = [(0.0, paid(0.0)), *((w, paid(w)) for w in sorted(steps | {float(most)}))]
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    for (x0, y0), (x1, y1) in pairwise(hull):
        slope = (y1 - y0) / (x1 - x0)
        yield slope, y0 - slope * x0 - 1e-9


def _turns_down(one: tuple[float, float], other: tuple[float, float], point: tuple[float, float]) -> bool:
    left = (other[1] - one[1]) * (point[0] - one[0])
    return left >= (point[1] - one[1]) * (other[0] - one[0])


def _steady(
    lp: pulp.LpProblem, problem: ScheduleProblem, variables: Variables, counts: Sequence[Sequence[pulp.LpVariable]]
) -> None:
    """No group runs more in a quieter period, each that is used runs in all with traffic; changes are limited."""
    for period in range(1, len(counts)):
        for c in range(len(variables.used)):
            lp.addConstraint(counts[period][c] - counts[period - 1][c] <= 0, f"steady_{c}_{period}")
    if len(counts) > 1:
        for c, used in enumerate(variables.used):
            lp.addConstraint(counts[problem.serving - 1][c] - used >= 0, f"runs_{c}")
    if problem.cycle.max_changes is None:
        return
    for one, other in sorted({(min(pair), max(pair)) for pair in followed(problem.cycle.period_of_hour)}):
        terms = [(n, 1) for n in counts[one]] + [(n, -1) for n in counts[other]]
        lp.addConstraint(pulp.LpAffineExpression(terms) <= problem.cycle.max_changes, f"changes_{one}_{other}")


def _losses(
    lp: pulp.LpProblem, problem: ScheduleProblem, variables: Variables, counts: Sequence[Sequence[pulp.LpVariable]]
) -> None:
    """For each way to lose k instances shares of their own, which hold in all periods on the instances left.

    n_cl − Σ_j z_clj are left after the loss of j of them, z_clj = 1 where n_cl ≥ j, so that fewer are lost where there
    are fewer. Estimates of sizes are right on average then, as in `solve/losses.py`.
    """
    losses, size = problem.busiest.losses, problem.busiest.candidate_count
    if not losses:
        return
    present = [[[used] for used in variables.used] for _ in counts]
    for period, row in enumerate(counts[: problem.serving]):
        for c, count in enumerate(row):
            for j in range(2, losses + 1):
                there = lp.add_variable(f"z_{c}_{j}_{period}", cat=pulp.LpBinary)
                lp.addConstraint(count - variables.max_counts[c] * there <= j - 1, f"present_{c}_{j}_{period}")
                lp.addConstraint(count - j * there >= 0, f"absent_{c}_{j}_{period}")
                present[period][c].append(there)
    on_average = replace(problem, busiest=problem.busiest.on_average)
    for number, chosen in enumerate(combinations_with_replacement(range(size), losses)):
        gone = Counter(chosen)
        named = Labelled(lp, f"loss_{number}")
        shares = tuple(
            tuple(None if each is None else named.add_variable(f"x_{r}_{c}", lowBound=0) for c, each in enumerate(row))
            for r, row in enumerate(variables.shares)
        )
        left = [
            [count - pulp.lpSum(present[period][c][: gone[c]]) for c, count in enumerate(row)]
            for period, row in enumerate(counts[: problem.serving])
        ]
        anew = replace(variables, shares=shares, slices=1)
        rows.assignment(named, anew, on_average.busiest)
        _carries(named, on_average, anew, left)


def _objective(
    problem: ScheduleProblem, variables: Variables, counts: Sequence[Sequence[pulp.LpVariable]]
) -> pulp.LpAffineExpression:
    """The mean but for what every plan pays, and what `keep` charges for changes."""
    keep = problem.busiest.keep
    terms = [
        (count, price)
        for prices, row in zip(problem.paid, counts, strict=True)
        for count, price in zip(row, prices, strict=True)
    ]
    # What stands beside the replicas is paid in every hour: the terms of a single plan without those of its counts.
    terms += cost_terms(problem.busiest, variables)[problem.busiest.candidate_count :]
    total = pulp.LpAffineExpression(terms)
    if keep is None:
        return total
    return total + pulp.LpAffineExpression([(changed, keep.usd_per_hour) for changed in variables.changed])


def _read(
    problem: ScheduleProblem,
    variables: Variables,
    counts: Sequence[Sequence[pulp.LpVariable]],
    lp: pulp.LpProblem,
    session: Session,
) -> ScheduleSolution:
    outcome = session.solve(lp)
    if outcome.status == "infeasible":
        raise InfeasibleError("no number of instances satisfies the constraints in all hours together")
    values = [[variable.varValue for variable in row] for row in counts]
    if outcome.status == "unknown" or any(value is None for row in values for value in row):
        raise NotOptimalError(session.too_late())
    found = problem.running_on(tuple(whole(row) for row in values))
    objective, base = problem.objective(found), problem.busiest.charges.base_usd_per_hour
    bound = 0.0 if outcome.bound is None else outcome.bound + base
    return ScheduleSolution(
        counts=found,
        shares=_evened(problem, found, read_shares(problem.busiest, variables, found[0]), session),
        cost_usd_per_hour=problem.cost(found),
        status=outcome.status,
        mip_gap=relative_gap(objective, bound),
        bound_usd_per_hour=min(bound, objective),
        contingencies=_contingencies(problem, found, session),
    )


def _evened(
    problem: ScheduleProblem,
    counts: Sequence[Sequence[int]],
    shares: tuple[tuple[float, ...], ...],
    session: Session,
) -> tuple[tuple[float, ...], ...]:
    """The shares that leave the most room in all periods together; slices stay as they are."""
    if session.slices is not None:
        return shares
    busiest = replace(problem.busiest, keep=None)
    found = spread(busiest, counts[0], session, rooms=problem.rooms(counts))
    if found is None or found.peak_utilization > busiest.max_utilization * (1 + _TOLERANCE):
        return shares
    return found.shares


def _contingencies(
    problem: ScheduleProblem, counts: Sequence[Sequence[int]], session: Session
) -> tuple[Contingency, ...]:
    """How to route after each loss that the busiest period can have, in whichever period it comes.

    Raises SkyMelangeError where one is not survived: the rows see to it that all are.
    """
    busiest = replace(problem.busiest.on_average, keep=None)
    found: list[Contingency] = []
    for lost in losses_of(counts[0], busiest.losses) if busiest.losses else ():
        left = [count - gone for count, gone in zip(counts[0], lost, strict=True)]
        answer = spread(busiest, left, session, limited=False, rooms=problem.rooms(counts, lost))
        if answer is None or answer.peak_utilization > busiest.max_utilization * (1 + 5 * _TOLERANCE):
            raise SkyMelangeError(f"the schedule does not survive the loss of {lost}")
        found.append(Contingency(lost=lost, shares=answer.shares, peak_utilization=answer.peak_utilization))
    return tuple(found)


def _widened(problem: ScheduleProblem, kept: Sequence[int], found: ScheduleSolution) -> ScheduleSolution:
    """The solution over the candidates `kept` as one over all."""
    place = {c: position for position, c in enumerate(kept)}
    size = range(problem.busiest.candidate_count)

    def wide(row: Sequence[Any], empty: Any) -> tuple[Any, ...]:
        return tuple(row[place[c]] if c in place else empty for c in size)

    return replace(
        found,
        counts=tuple(wide(row, 0) for row in found.counts),
        shares=tuple(wide(row, 0.0) for row in found.shares),
        contingencies=tuple(
            replace(each, lost=wide(each.lost, 0), shares=tuple(wide(row, 0.0) for row in each.shares))
            for each in found.contingencies
        ),
    )
