"""The cheapest schedule found over the hours of `traffic.hours`: one fleet, whose counts follow the clock.

The program over the periods (`optimizer/solve/hours.py`) knows mean rates, as that of a single plan does. Where an
attainment is asked for, each period is simulated at its own rate with its own counts and judged as a plan is; small
groups must keep more idle than large ones, so utilisations are known by profile and count of replicas, and corrected
until every period holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sky_melange.domain.hours import Hours, Period, Schedule, starts_in
from sky_melange.domain.plan import Overhead, SimulatedPlan, terms_of
from sky_melange.domain.profile import ProfileKey
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.workload import Workload
from sky_melange.errors import InfeasibleError, NotOptimalError, SkyMelangeError
from sky_melange.optimizer import Model, ScheduleSolution, Solution, Solved, assembled_of, solve_hours
from sky_melange.optimizer.limits.shapes import AtLeast
from sky_melange.optimizer.schedule import Cycle, Periods, ScheduleProblem, periods_by_work, periods_of
from sky_melange.optimizer.solve.reduction import class_values
from sky_melange.optimizer.solve.solution import Proven
from sky_melange.pipeline.attaining import (
    ROOM,
    SLOWER_FRACTION,
    Held,
    Search,
)
from sky_melange.pipeline.judging import LONGER, Judge, Simulate, fleet_of_solved, in_busiest_hours, in_hours
from sky_melange.profiles.roofline import has_shape, shape_of
from sky_melange.traces.request_log import RequestLog

_ROUNDS: Final = 6
_LEARNT: Final = 4
"""Periods of the first round of which more is asked than whether they hold: the loads at which their groups do."""

_WORTH_A_ROUND: Final = 1e-3
_SAME: Final = 1e-9
_LEAST_PART: Final = 0.25
_ASYMPTOTE: Final = 1.05
_LEAST_UTILIZATION: Final = 1e-4

_MACHINE_MINUTES: Final = 6.0
_GB_PER_MINUTE: Final = 10.0


def startup_minutes(workload: Workload) -> float:
    """`launch.startup_minutes`, or an estimate: six for machine and image, one for every 10 GB of weights."""
    stated = workload.launch.startup_minutes
    if stated is not None:
        return stated
    model = workload.model
    weights_gb = shape_of(model).weight_bytes(model.dtype) / 1e9 if has_shape(model) else 0.0
    return float(math.ceil(_MACHINE_MINUTES + weights_gb / _GB_PER_MINUTE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled(Proven):
    """A schedule: `solved` is the fleet of its busiest period.

    `rates_rps`, `sizes` (the set, 0 where there are none), `counts` and `attained` (the share, and half of its
    confidence interval) by period; `attained` is empty where nothing is simulated, and lacks a last period without
    requests. `bound_usd_per_hour` and `raised_usd_per_hour` (as in `Schedule`) None: not known.
    """

    solved: Solved
    cycle: Cycle
    rates_rps: tuple[float, ...]
    sizes: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    bound_usd_per_hour: float | None
    raised_usd_per_hour: float | None = None
    attained: tuple[tuple[float, float], ...] = ()
    simulated: SimulatedPlan | None = None

    def schedule(self, overhead: Sequence[Overhead], fixed_usd_per_hour: float) -> Schedule:
        """As it stands in a plan, whose groups are those of `solved`."""
        hours = self.solved.model.workload.traffic.hours
        groups = self.solved.assembled.groups
        place = {id(candidate): c for c, candidate in enumerate(self.solved.model.candidates)}
        columns = [place[id(self.solved.assembled.candidates[group.name])] for group in groups]
        beside = math.fsum(machine.price_usd_per_hour or 0.0 for machine in overhead)
        prices = [group.price_usd_per_hour for group in groups]
        instances = [tuple(row[c] for c in columns) for row in self.counts]
        sets = self.solved.model.workload.traffic.size_sets
        of_hour = self.cycle.period_of_hour
        periods = tuple(
            Period(
                rate_rps=rate_rps,
                hours=of_hour.count(number),
                instances=row,
                cost_usd_per_hour=math.fsum((beside, *(group.costs(n) for group, n in zip(groups, row, strict=True)))),
                attainment=self.attained[number][0] if number < len(self.attained) else None,
                attainment_error=self.attained[number][1] if number < len(self.attained) else None,
                sizes=sets[of].name if sets else None,
            )
            for number, (rate_rps, of, row) in enumerate(zip(self.rates_rps, self.sizes, instances, strict=True))
        )
        schedule = Schedule(
            time_zone="UTC" if hours is None else hours.time_zone,
            period_of_hour=of_hour,
            periods=periods,
            startup_minutes=self.cycle.startup_minutes,
            starts=sum(starts_in(of_hour, instances)),
            usd_per_hour=self.cost_usd_per_hour,
            fixed_usd_per_hour=fixed_usd_per_hour,
            bound_usd_per_hour=self.bound_usd_per_hour,
            raised_usd_per_hour=self.raised_usd_per_hour,
            headroom_fraction=0.0 if hours is None else hours.headroom_fraction,
        )
        paid = schedule.mean_usd_per_hour(prices, beside, terms_of(groups))
        if not math.isclose(paid, self.cost_usd_per_hour, rel_tol=1e-9, abs_tol=1e-9):
            raise SkyMelangeError(
                f"the schedule costs USD {paid!r} per hour, the program found {self.cost_usd_per_hour!r}"
            )
        bound = None if self.bound_usd_per_hour is None else min(self.bound_usd_per_hour, paid)
        return replace(schedule, usd_per_hour=paid, bound_usd_per_hour=bound)


def cheapest_by_means(model: Model, fixed: Solved) -> Scheduled | None:
    """The cheapest schedule at the utilisations of `model`, nothing simulated; None: none is cheaper than `fixed`."""
    hours = _Hours(model=model, fixed=fixed)
    try:
        return hours.chosen(hours.solved(()))
    except (InfeasibleError, NotOptimalError):
        return hours.chosen(None)


def cheapest_schedule_held(
    model: Model, held: Held, simulate: Simulate, log: RequestLog | None = None
) -> Scheduled | None:
    """The cheapest schedule found each of whose periods holds in simulation; None: none is cheaper than `held`.

    `log` as in `attaining.cheapest_held`. Same arguments, same schedule.
    """
    hours = _Hours(
        model=model,
        fixed=held.solved,
        simulate=simulate,
        log=log,
        known=[
            {key: dict(known) for key, known in held.known.items()} for _ in model.workload.traffic.size_sets or (None,)
        ],
        used_to=dict(held.used_to),
    )
    try:
        best = hours.search()
    except (InfeasibleError, NotOptimalError):
        best = None
    chosen = hours.chosen(best)
    if chosen is None:
        return None
    if best is None or chosen.solved is held.solved:
        found = held.simulated
        return replace(chosen, attained=hours.attained_by(held.solved, chosen, found), simulated=found)
    return hours.summed_up(chosen, best, held.simulated)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """A schedule, and what candidates may be used to in each of its periods; `parts` empty: as the model says."""

    rates_rps: tuple[float, ...]
    problem: ScheduleProblem
    solution: ScheduleSolution
    parts: tuple[tuple[float, ...], ...]

    @property
    def cost_usd_per_hour(self) -> float:
        """The mean."""
        return self.problem.cost(self.solution.counts)

    def merged(self) -> _Tried:
        """Periods of one set of sizes with the same counts are one, at the rate of the busiest."""
        keys = list(zip(self.solution.counts, self.problem.set_of, strict=True))
        first = [period for period, key in enumerate(keys) if key not in keys[:period]]
        number = {period: first.index(keys.index(key)) for period, key in enumerate(keys)}
        counts = self.solution.counts
        cycle = replace(
            self.problem.cycle,
            period_of_hour=tuple(number[period] for period in self.problem.cycle.period_of_hour),
        )
        return _Tried(
            rates_rps=tuple(self.rates_rps[period] for period in first),
            problem=replace(
                self.problem,
                factors=tuple(self.problem.factors[p] for p in first),
                cycle=cycle,
                sizes=tuple(self.problem.set_of[p] for p in first),
            ),
            solution=replace(self.solution, counts=tuple(counts[period] for period in first)),
            parts=tuple(self.parts[period] for period in first) if self.parts else (),
        )

    def with_counts(self, counts: Sequence[Sequence[int]]) -> _Tried:
        """The same with other counts, whose cost is not proven."""
        return replace(self, solution=replace(self.solution, counts=tuple(map(tuple, counts)), status="feasible"))


@dataclass(slots=True, kw_only=True)
class _Hours:
    """`known[s]` as in `Search`, of the periods with the sizes of set s; `used_to` of all; `judged`: whether a period
    holds with its counts.
    """

    model: Model
    fixed: Solved
    simulate: Simulate | None = None
    log: RequestLog | None = None
    known: Sequence[dict[ProfileKey, dict[int, float]]] = ()
    used_to: dict[ProfileKey, float] = field(default_factory=dict)
    judged: dict[object, bool] = field(default_factory=dict)
    cycle: Cycle = field(init=False)
    periods: Periods = field(init=False)
    busiest_rps: tuple[float, ...] = field(init=False)
    plans: int = 0

    def __post_init__(self) -> None:
        workload = self.model.workload
        hours = self.hours
        self.busiest_rps = hours.busiest_rps
        self.known = self.known or [{} for _ in self.busiest_rps]
        self.periods = periods_by_work(
            hours.planned_rps(workload.launch.scaling),
            hours.sizes_of_hour,
            [self.work(number) / rate_rps for number, rate_rps in enumerate(self.busiest_rps)],
            may_stop=workload.constraints.may_stop,
        )
        self.cycle = Cycle(
            period_of_hour=self.periods.of_hour,
            startup_minutes=startup_minutes(workload),
            max_changes=workload.constraints.max_changes_per_hour,
        )

    @property
    def hours(self) -> Hours:
        """Those of the traffic."""
        if self.model.workload.traffic.hours is None:
            raise SkyMelangeError("there are no hours to plan for")
        return self.model.workload.traffic.hours

    def work(self, number: int) -> float:
        """What serving the busiest hour of a set of sizes costs at least, USD/h: by it periods are put in order."""
        return math.fsum(class_values(self.model.problem.of_sizes(number)))

    @property
    def fixed_usd_per_hour(self) -> float:
        """Of the fleet that runs around the clock."""
        return self.fixed.model.problem.cost(self.fixed.solution.counts)

    def search(self) -> _Tried | None:
        """Solves and simulates until every period holds; then on as long as the program knows a cheaper schedule."""
        best: _Tried | None = None
        last: _Tried | None = None
        for number in range(_ROUNDS):
            tried = self.solved(self.parts(last)).merged()
            dearer = math.inf if best is None else best.cost_usd_per_hour * (1 - _WORTH_A_ROUND)
            if tried.cost_usd_per_hour >= min(dearer, self.fixed_usd_per_hour):
                break
            last = tried
            if self.holds(tried, learns=not number):
                best = tried
        if best is None and last is not None:
            best = self.raised(last) or self.raised(self.of_fixed().merged())
        return best

    def of_fixed(self) -> _Tried:
        """The fixed fleet with less of each group where there is less to do, whether or not that holds in simulation.

        Every limit is kept, and no later period has more of a group.
        """
        counts: tuple[tuple[int, ...], ...] = ()
        for period in reversed(range(len(self.periods.rates_rps))):
            after = counts[0] if counts else (0,) * len(self.model.candidates)
            counts = (tuple(map(max, self.counts_of_fixed(period), after)), *counts)
        problem = self.problem(self.parts(None))
        solution = ScheduleSolution(
            counts=counts,
            shares=self.fixed.solution.shares,
            cost_usd_per_hour=problem.cost(counts),
            status="feasible",
            mip_gap=1.0,
            bound_usd_per_hour=0.0,
            contingencies=self.fixed.solution.contingencies,
        )
        utilizations = self.fixed.model.utilizations or ()
        parts = (utilizations,) * len(counts)
        return _Tried(rates_rps=self.periods.rates_rps, problem=problem, solution=solution, parts=parts)

    def counts_of_fixed(self, period: int) -> tuple[int, ...]:
        """Of the fixed fleet what a period needs by its work, for its load, and for that which a loss would leave."""
        rate, number = self.periods.rates_rps[period], self.periods.sizes[period]
        whole, problem = self.fixed.solution, self.fixed.model.problem.of_sizes(number)
        counts = [math.ceil(n * self.periods.work[period]) for n in whole.counts]
        if not rate:
            return tuple(counts)
        part = rate / self.busiest_rps[number] / problem.max_utilization
        cases = [(problem.cases, (0,) * len(counts), whole.shares)]
        cases += [(problem.on_average.cases, each.lost, each.shares) for each in whole.contingencies]
        for loads, lost, shares in cases:
            for c, n in enumerate(whole.counts):
                most = max(
                    math.fsum(of[c] * (row[c] or 0.0) for of, row in zip(shares, case, strict=True)) for case in loads
                )
                counts[c] = min(n, max(counts[c], lost[c] + math.ceil(most * part * (1 - _SAME))))
        limits = [limit for limit in problem.limits if isinstance(limit, AtLeast)]
        return tuple(counts) if all(limit.is_met(counts) for limit in limits) else whole.counts

    def problem(self, parts: Sequence[Sequence[float]]) -> ScheduleProblem:
        """At what each candidate may be used to in each period; none: as the model says."""
        rates_rps, of = self.periods.rates_rps, self.periods.sizes
        first = [of.index(number) for number in range(len(self.busiest_rps))]
        model = self.model
        factors = [
            [rate / self.busiest_rps[number]] * len(model.candidates)
            for rate, number in zip(rates_rps, of, strict=True)
        ]
        if parts:
            model = model.used_to(parts[0])
            if len(first) > 1:
                own = [[one / now for one, now in zip(parts[0], parts[period], strict=True)] for period in first]
                model = replace(model, problem=model.problem.times(*own))
            for row, now, number in zip(factors, parts, of, strict=True):
                busiest = parts[first[number]]
                row[:] = [factor * one / part for factor, one, part in zip(row, busiest, now, strict=True)]
            for period, row in enumerate(factors):
                before = max((other for other in range(period) if of[other] == of[period]), default=None)
                if before is not None:
                    row[:] = map(min, factors[before], row)
        budget = model.workload.budget
        return ScheduleProblem(
            busiest=model.within(None if budget is None else budget.usd_per_hour).problem,
            factors=tuple(map(tuple, factors)),
            cycle=self.cycle,
            on_demand=hourly_prices(model),
            sizes=of,
        )

    def solved(self, parts: tuple[tuple[float, ...], ...]) -> _Tried:
        """The cheapest schedule at these utilisations; over the budget of an hour only where every one is."""
        problem, settings = self.problem(parts), self.model.workload.solver
        try:
            solution = solve_hours(problem, settings)
        except InfeasibleError:
            if problem.busiest.max_cost_usd_per_hour is None:
                raise
            problem = replace(problem, busiest=replace(problem.busiest, max_cost_usd_per_hour=None))
            solution = solve_hours(problem, settings)
        return _Tried(rates_rps=self.periods.rates_rps, problem=problem, solution=solution, parts=parts)

    def parts(self, last: _Tried | None) -> tuple[tuple[float, ...], ...]:
        """Of each period and candidate: what so many replicas may be used to as there were, or are to be expected."""
        found: list[tuple[float, ...]] = []
        fixed = self.replicas(self.fixed.solution.counts)
        of = self.periods.sizes
        for rate, number, fraction in zip(self.periods.rates_rps, of, self.periods.work, strict=True):
            there: Mapping[ProfileKey, int] = {}
            if last is not None:
                planned = enumerate(zip(last.rates_rps, last.problem.set_of, strict=True))
                period = max(period for period, (most, own) in planned if most >= rate and own == number)
                there = self.replicas(last.solution.counts[period])
            row: list[float] = []
            for c, candidate in enumerate(self.model.candidates):
                key = candidate.profile.key
                # A machine of another place or size is no other replica.
                count = there.get(key) or math.ceil(fraction * (fixed.get(key) or self.most_replicas(c)))
                part = self.part(key, max(1, count), self.known[number])
                first = of.index(number)
                row.append(min(part, found[first][c]) if first < len(found) else part)
            found.append(tuple(row))
        return tuple(found)

    def replicas(self, counts: Sequence[int]) -> Mapping[ProfileKey, int]:
        """Of the largest group of each profile that is used."""
        found: dict[ProfileKey, int] = {}
        for candidate, count in zip(self.model.candidates, counts, strict=True):
            if count:
                key = candidate.profile.key
                found[key] = max(found.get(key, 0), count * candidate.replicas_per_instance)
        return found

    def most_replicas(self, c: int) -> int:
        """Of a candidate that serves all that it can in the busiest hour."""
        load = math.fsum(row[c] or 0.0 for row in self.model.problem.loads)
        return math.ceil(load * self.model.candidates[c].replicas_per_instance)

    def part(self, key: ProfileKey, replicas: int, learnt: Mapping[ProfileKey, Mapping[int, float]]) -> float:
        """What a group of so many replicas may be used to: known, or between and beyond what is known.

        What is kept idle for the sake of bursts shrinks with the root of the replicas.
        """
        known = learnt.get(key)
        if known is None:
            largest = max(group.replicas for group in self.fixed.assembled.groups)
            known = {largest: self.used_to[key]}
        below = max((n for n in known if n <= replicas), default=None)
        above = min((n for n in known if n >= replicas), default=None)
        if below is not None and above is not None:
            part = _between(replicas, (below, known[below]), (above, known[above]))
        else:
            nearest = min(known, key=lambda n: abs(n - replicas))
            most = max(1.0, known[nearest] * _ASYMPTOTE)
            part = most - (most - known[nearest]) * math.sqrt(nearest / replicas)
            part = max(part, known[nearest] * _LEAST_PART)
        limit = self.model.workload.constraints.max_utilization
        return max(_LEAST_UTILIZATION, part if limit is None else min(part, limit))

    def at(self, tried: _Tried, period: int) -> Solved:
        """A period as a plan of its own: its rate and sizes, its counts, the shares of all."""
        whole, number = self.whole(tried, period), tried.problem.set_of[period]
        if len(self.busiest_rps) > 1:
            return in_hours(whole, number, tried.rates_rps[period])
        return whole

    def whole(self, tried: _Tried, period: int) -> Solved:
        """The counts of a period as a plan of their own: of its rate, or, where there are several sets of sizes, of the
        busiest hour of each, which those of the first carry.
        """
        model, several = self.model, len(self.busiest_rps) > 1
        if period and not several:
            model = model.at_traffic(tried.rates_rps[period] / tried.rates_rps[0])
        if tried.parts:
            model = model.used_to(
                [max(column) for column in zip(*tried.parts, strict=True)] if several else tried.parts[period]
            )
        counts = tried.solution.counts[period]
        solution = Solution(
            counts=counts,
            shares=tried.solution.shares,
            cost_usd_per_hour=tried.problem.cost_in(tried.solution.counts, period),
            committed=tried.problem.committed(tried.solution.counts),
            status="feasible",
            mip_gap=math.inf,
            contingencies=tuple(
                each
                for each in tried.solution.contingencies
                if sum(each.lost) < sum(counts) and all(gone <= n for gone, n in zip(each.lost, counts, strict=True))
            ),
        )
        return Solved(model=model, solution=solution, assembled=assembled_of(model, solution))

    def judge(self, tried: _Tried, period: int) -> tuple[Search, Solved]:
        """What judges a period, and learns from it what all periods know."""
        if self.simulate is None:
            raise SkyMelangeError("nothing is simulated here")
        solved = self.at(tried, period)
        # One length for all periods, which `check` simulates alike; errors of profiles are drawn for no period.
        judge = Judge(model=solved.model, simulate=self.simulate, log=self.log, lengths=LONGER[:1], draws_errors=False)
        known = self.known[tried.problem.set_of[period]]
        return Search(judge=judge, known=known, used_to=dict(self.used_to)), solved

    def holds(self, tried: _Tried, *, learns: bool) -> bool:
        """Whether every period does. Of those that do not it is learnt up to where they would; of some others too."""
        is_held = True
        periods = tried.problem.serving
        asked = {round(step * (periods - 1) / (_LEARNT - 1)) for step in range(_LEARNT)} if learns else set()
        for period, rate in enumerate(tried.rates_rps[:periods]):
            key = (rate, tried.problem.set_of[period], tried.solution.counts[period], tried.solution.shares)
            if self.judged.get(key, False) and period not in asked:
                continue
            search, solved = self.judge(tried, period)
            verdict = search.tried(solved)
            self.judged[key] = verdict.is_held
            self.plans += 1
            is_held = is_held and verdict.is_held
            if not verdict.is_held or period in asked:
                search.learn(verdict)
        return is_held

    def raised(self, tried: _Tried) -> _Tried | None:
        """More instances in the periods that miss, one by one, up to those of the period before.

        None where that does not help, or costs as much as the fixed fleet.
        """
        for period in range(tried.problem.serving):
            while True:
                if tried.cost_usd_per_hour >= self.fixed_usd_per_hour:
                    return None
                search, solved = self.judge(tried, period)
                self.plans += 1
                verdict = search.tried(solved)
                if verdict.is_held:
                    break
                held = {group.name: 1.0 if group.held is None else group.held for group in verdict.result.groups}
                counts = [list(row) for row in tried.solution.counts]
                open_to = self.may_be_raised(solved, counts, period)
                if not open_to:
                    return None
                counts[period][min(open_to, key=lambda c: (held.get(open_to[c], 1.0), c))] += 1
                tried = tried.with_counts(counts)
        most = tried.problem.cycle.max_changes
        too_many = most is not None and tried.problem.changes(tried.solution.counts) > most
        return None if too_many else tried.merged()

    def may_be_raised(self, solved: Solved, counts: Sequence[Sequence[int]], period: int) -> Mapping[int, str]:
        """Candidate -> its group, of those that run fewer than in the busier period; of the busiest none."""
        name_of = {id(candidate): name for name, candidate in solved.assembled.candidates.items()}
        return {
            c: name_of[id(candidate)]
            for c, candidate in enumerate(self.model.candidates)
            if period and counts[period][c] and counts[period][c] < counts[period - 1][c]
        }

    def chosen(self, best: _Tried | None) -> Scheduled | None:
        """The schedule where it saves money; else, where one is asked for by name, the fixed fleet as one."""
        if best is not None and best.cost_usd_per_hour < self.fixed_usd_per_hour * (1 - _SAME):
            best = best.merged()
            is_bound = best.problem.busiest.keep is None and best.solution.bound_usd_per_hour > 0
            return Scheduled(
                solved=self.whole(best, 0),
                cycle=best.problem.cycle,
                rates_rps=best.rates_rps,
                sizes=best.problem.set_of,
                raised_usd_per_hour=self.raised_usd_per_hour(best),
                counts=best.solution.counts,
                cost_usd_per_hour=best.cost_usd_per_hour,
                bound_usd_per_hour=best.solution.bound_usd_per_hour if is_bound else None,
                status=best.solution.status,
                mip_gap=max(0.0, 1 - best.solution.bound_usd_per_hour / best.cost_usd_per_hour),
            )
        if self.model.workload.launch.scaling is None:
            return None
        of_hour = [self.periods.sizes[period] for period in self.periods.of_hour]
        first = list(dict.fromkeys(self.periods.sizes))
        return Scheduled(
            solved=self.fixed,
            cycle=replace(self.cycle, period_of_hour=tuple(first.index(each) for each in of_hour)),
            rates_rps=tuple(self.periods.rates_rps[self.periods.sizes.index(number)] for number in first),
            sizes=tuple(first),
            counts=(self.fixed.solution.counts,) * len(first),
            cost_usd_per_hour=self.fixed_usd_per_hour,
            bound_usd_per_hour=None,
            status=self.fixed.solution.status,
            mip_gap=self.fixed.solution.mip_gap,
        )

    def attained_by(self, fixed: Solved, chosen: Scheduled, found: SimulatedPlan) -> tuple[tuple[float, float], ...]:
        """What the fleet around the clock attains in the busiest hour of each set of sizes, by the last seed."""
        views = in_busiest_hours(fixed)
        if len(views) == 1 or self.simulate is None:
            return ((found.attainment, found.attainment_error),)
        judge = Judge(model=fixed.model, simulate=self.simulate, log=self.log)
        fleet = fleet_of_solved(fixed)
        runs = (judge.run(fleet, views[number], requests=found.requests) for number in chosen.sizes)
        return tuple((run.attainment, run.attainment_error) for run in runs)

    def raised_usd_per_hour(self, best: _Tried) -> float | None:
        """As in `Schedule`, at the utilisations of this schedule; None: one set of sizes, or no answer."""
        traffic, hours, launch = self.model.workload.traffic, self.hours, self.model.workload.launch
        if len(self.busiest_rps) < 2:
            return None
        ratios = (*(max(1.0, ratio) for ratio in traffic.larger_by), 1.0)
        rates_rps = tuple(rate * ratios[of] for rate, of in zip(hours.rates_rps, hours.sizes_of_hour, strict=True))
        raised = replace(hours, rates_rps=rates_rps, sizes=())
        model = self.model.with_traffic(replace(traffic, hours=raised))
        if best.parts:
            model = model.used_to(best.parts[0])
        of_hour, of_periods = periods_of(
            raised.planned_rps(launch.scaling), may_stop=self.model.workload.constraints.may_stop
        )
        problem = replace(
            best.problem,
            busiest=model.problem.at_traffic(raised.peak_rps / hours.peak_rps),
            factors=tuple((rate / of_periods[0],) * len(model.candidates) for rate in of_periods),
            cycle=replace(best.problem.cycle, period_of_hour=of_hour),
            sizes=(),
        )
        try:
            return problem.cost(solve_hours(problem, self.model.workload.solver).counts)
        except (InfeasibleError, NotOptimalError):
            return None

    def summed_up(self, chosen: Scheduled, best: _Tried, fixed: SimulatedPlan) -> Scheduled:
        """With what each period says of itself, by the seed that took no part in the search."""
        best = best.merged()
        runs = list(self.finally_(best, slower_fraction=0.0))
        slower = list(self.finally_(best, slower_fraction=SLOWER_FRACTION))
        simulated = replace(
            fixed,
            attainment=runs[0].attainment,
            attainment_error=runs[0].attainment_error,
            refused_fraction=runs[0].refused_fraction,
            requests=runs[0].requests,
            arrivals=runs[0].arrivals,
            plans=fixed.plans + self.plans,
            ttft_s=runs[0].ttft_s,
            tpot_s=runs[0].tpot_s,
            percentiles=runs[0].percentiles,
            slower_attainment=min(run.attainment for run in slower),
            slower_usd_per_hour=0.0 if self.all_hold(slower) else self.room_for_slower(best),
            thinned_to=runs[0].thinned_to,
            draws=0,
            draws_held=0,
        )
        attained = tuple((run.attainment, run.attainment_error) for run in runs)
        return replace(chosen, attained=attained, simulated=simulated)

    def finally_(self, tried: _Tried, *, slower_fraction: float) -> Iterator[Simulation]:
        """Each period that has requests by the last seed."""
        for period in range(tried.problem.serving):
            search, solved = self.judge(tried, period)
            fleet = replace(fleet_of_solved(solved), slower_fraction=slower_fraction)
            yield search.judge.run(fleet, solved)

    def all_hold(self, runs: Sequence[Simulation]) -> bool:
        """Whether enough requests meet their targets in each."""
        return all(run.held >= (self.model.workload.slo.attainment or 0.0) for run in runs)

    def room_for_slower(self, best: _Tried) -> float | None:
        """USD per hour that a schedule costs more which holds with slower engines too; None: none was found."""
        for factor in ROOM:
            parts = tuple(tuple(part / factor for part in row) for row in self.parts(best))
            try:
                found = self.solved(parts).merged()
            except (InfeasibleError, NotOptimalError):
                return None
            if self.all_hold(list(self.finally_(found, slower_fraction=SLOWER_FRACTION))):
                return found.cost_usd_per_hour - best.cost_usd_per_hour
        return None


def hourly_prices(model: Model) -> tuple[float | None, ...]:
    """`ScheduleProblem.on_demand` of the candidates."""
    terms = [candidate.offer.committed for candidate in model.candidates]
    if not any(terms):
        return ()
    return tuple(
        None if term is None else term.on_demand_usd_per_hour if term.is_hourly_too else math.inf for term in terms
    )


def _between(replicas: int, below: tuple[int, float], above: tuple[int, float]) -> float:
    """Linear in one over the root of the replicas."""
    if below[0] == above[0]:
        return below[1]
    few, many, now = (1 / math.sqrt(n) for n in (below[0], above[0], replicas))
    return above[1] + (below[1] - above[1]) * (now - many) / (few - many)
