"""The cheapest fleet found whose simulated requests hold their targets: solve, simulate, correct, again.

The program knows mean rates; what part of its capacity a replica may use, so that enough requests hold their targets,
only a simulation can say. It depends on the profile, on how many replicas share the traffic, and on which requests they
get. So the search begins with what the means allow, and corrects the groups of each plan by what the simulation says of
them, until the program knows no plan that is cheaper than one that holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sky_melange.domain.plan import SimulatedPlan
from sky_melange.domain.profile import ProfileKey
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.workload import Objective
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer import Model, Solved, assembled_of, solve_problem, solved
from sky_melange.optimizer.solve.solver import widened
from sky_melange.pipeline.drawn_errors import DRAWS
from sky_melange.pipeline.judging import (
    Judge,
    Simulate,
    Verdict,
    fleet_of_solved,
    in_busiest_hours,
    percent,
)
from sky_melange.pipeline.learning import Learning
from sky_melange.simulation import DEFAULT_REQUESTS, Fleet
from sky_melange.traces.request_log import RequestLog

SLOWER_FRACTION: Final = 0.1
"""Of the engines in the second figure that a plan shows."""

ROOM: Final = (1.1, 1.2, 1.35)
"""For slower engines: by so much less all groups are used."""

_MOST_ROUNDS: Final = 24
_LAST_ROUNDS: Final = 8
_LESS_OF_ALL: Final = 0.75
_LESS_OF_ONE: Final = 0.6
_LESS_ALONE: Final = 0.8
_MOST_ALONE: Final = 4

_BOLDER: Final = (1.06, 1.15, 1.3)
"""At the end all groups are taken to carry so much more: does a cheaper plan hold all the same?"""

_MOST_TRIES: Final = 4
_NEARLY: Final = 0.98
_CERTAIN: Final = 4.0
_SAME: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A plan that holds. It is `optimal` where the program, at the utilisations of its groups, knows no cheaper one.

    `known` and `used_to`: what the search has learnt, as in `Search`.
    """

    solved: Solved
    simulated: SimulatedPlan
    known: Mapping[ProfileKey, Mapping[int, float]]
    used_to: Mapping[ProfileKey, float]


def cheapest_held(model: Model, simulate: Simulate, log: RequestLog | None = None) -> Held:
    """The cheapest plan found of which `slo.attainment` of the simulated requests meet every target.

    `log`: the requests to replay; None: they are drawn. Same arguments, same plan. Raises InfeasibleError when no plan
    holds within the limits, NotOptimalError when the solver's time passes.
    """
    search = Search(judge=Judge(model=model, simulate=simulate, log=log))
    best, is_settled = search.run()
    simulated = search.summary(best)
    # What is said of other plans is of the utilisations that the search ended with.
    final = best.model.used_to(search.parts(search.used_to))
    solution = best.solution if is_settled else replace(best.solution, status="feasible", mip_gap=math.inf)
    best = Solved(model=final, solution=solution, assembled=assembled_of(final, solution))
    return Held(solved=best, simulated=simulated, known=search.known, used_to=search.used_to)


@dataclass(slots=True, kw_only=True)
class Search(Learning):
    """The search for a plan.

    `given`: as `used_to` was for the best plan. `failed[counts]`: utilisations of the groups with which these counts
    did not hold. `verdicts[counts]`: on those that held.
    """

    failed: dict[tuple[int, ...], list[tuple[float, ...]]] = field(default_factory=dict)
    given: dict[ProfileKey, float] = field(default_factory=dict)
    plans: int = 0
    verdicts: dict[tuple[int, ...], Verdict] = field(default_factory=dict)

    def run(self) -> tuple[Solved, bool]:
        """The best plan that holds, and whether the program knows no better one at its utilisations.

        Until one holds, each plan is the cheapest that is left, and what is known of groups only takes away. Then also
        what they may have to spare is asked for, and at the end more than that (`_BOLDER`).
        """
        self.used_to = {candidate.profile.key: min(1.0, self.limit) for candidate in self.model.candidates}
        best: Solved | None = None
        bolder: Iterator[float | None] = iter((*_BOLDER, None))
        factor = 1.0
        for _ in range(_MOST_ROUNDS):
            asked = self.bolder_by(factor, best)
            found = self.solved(asked, is_required=not self.plans)
            is_open = found is not None and (best is None or _is_better(found, best))
            if found is not None and is_open and not self.is_known_to_fail(found):
                before = dict(self.used_to)
                if self.holds(found):
                    best, self.given, factor = found, asked, 1.0
                elif factor != 1.0:
                    self.used_to = before
            elif found is not None and is_open and factor == 1.0:
                self.lower(found)
            else:
                wanted = next(bolder)
                if wanted is None:
                    break
                factor = wanted
        best = best or self.last_resort()
        if self.model.workload.objective is Objective.LEAST_COST:
            best = self.alone(best)
        return best, not self.is_open(best)

    def is_open(self, best: Solved) -> bool:
        """Whether the program knows a better plan, or none, at what is known of the groups."""
        self.allow(best)
        found = self.solved(self.used_to, is_required=False)
        return found is None or _is_better(found, best)

    def alone(self, best: Solved) -> Solved:
        """A better plan of a single profile, where there is one: mixes that fail say little of what each carries alone.

        Of the few profiles whose plans are the cheapest at what is known of them, where the program knows a better plan
        than this one; and of the few that were in no plan, which may carry more than what was in one, as by its means.
        """
        known = self.used_to if self.is_open(best) else {}
        unknown = {key: min(1.0, self.limit) for key in self.used_to if key not in self.known}
        for starts in ({key: part for key, part in known.items() if key in self.known}, unknown):
            looked = {
                key: found
                for key, part in starts.items()
                if (found := self.solved_alone(key, part)) is not None and _is_better(found, best)
            }
            for key in sorted(looked, key=lambda key: (looked[key].solution.cost_usd_per_hour, key))[:_MOST_ALONE]:
                best = self.alone_with(key, starts[key], best)
        return best

    def alone_with(self, key: ProfileKey, part: float, best: Solved) -> Solved:
        """A better plan of this profile that holds, used to `part` or ever less."""
        before = None
        for _ in range(_LAST_ROUNDS):
            found = self.solved_alone(key, part)
            if found is None or not _is_better(found, best):
                break
            if found.solution.counts != before and not self.is_known_to_fail(found):
                before = found.solution.counts
                if self.tried(found).is_held:
                    # No more than the plan needs: what else that much would allow was not seen.
                    while (less := self.solved_alone(key, part * _LESS_ALONE)) and less.solution.counts == before:
                        part *= _LESS_ALONE
                    self.given = {**self.used_to, key: part}
                    return found
            part *= _LESS_ALONE
        return best

    def solved_alone(self, key: ProfileKey, part: float) -> Solved | None:
        """The cheapest plan of one profile at this utilisation; None where it cannot serve all."""
        kept = [c for c, candidate in enumerate(self.model.candidates) if candidate.profile.key == key]
        if any(all(row[c] is None for c in kept) for row in self.model.problem.loads):
            return None
        model = self.model.used_to(self.parts({**self.used_to, key: part}))
        try:
            solution = solve_problem(model.problem.restricted_to(kept), model.workload.solver)
        except (InfeasibleError, NotOptimalError):
            return None
        solution = widened(model.problem, kept, solution)
        return Solved(model=model, solution=solution, assembled=assembled_of(model, solution))

    def bolder_by(self, factor: float, best: Solved | None) -> dict[ProfileKey, float]:
        """What the groups of the best plan are known to carry, times `factor`."""
        own = {candidate.profile.key for candidate in best.assembled.candidates.values()} if best is not None else set()
        return {key: min(self.limit, part * factor) if key in own else part for key, part in self.used_to.items()}

    def solved(self, used_to: Mapping[ProfileKey, float], *, is_required: bool = True) -> Solved | None:
        """The cheapest plan at these utilisations."""
        try:
            return solved(self.model.used_to(self.parts(used_to)))
        except InfeasibleError as error:
            if not is_required:
                return None
            held = f"\nThat is at the loads that hold slo.attainment {self.target:g} in simulation."
            raise InfeasibleError(f"{error}{held if self.plans else ''}") from error

    def allow(self, best: Solved) -> None:
        """Utilisations that allow the plan, also where all estimates of sizes are off."""
        for candidate, count in zip(best.model.candidates, best.solution.counts, strict=True):
            if count:
                key = candidate.profile.key
                self.used_to[key] = max(self.used_to[key], self.given[key])

    def last_resort(self) -> Solved:
        """Ever lower utilisations: of all together until a plan holds, and of each profile alone while that is cheaper.

        Where even an idle replica of one profile misses too often, plans with it hold only when most requests pass it
        by, so all together is dear. What is said of other plans is of the utilisations of all together.
        """
        if lines := tuple(self.judge.unreached(_CERTAIN)):
            raise self.none_holds(lines)
        best: Solved | None = None
        for only in (None, *sorted(self.used_to)):
            used_to = dict(self.used_to)
            if only is not None:
                used_to = {key: min(1.0, self.limit) if key == only else 0.0 for key in self.used_to}
            before: Solved | None = None
            for _ in range(_LAST_ROUNDS):
                used_to = {
                    key: part * (_LESS_OF_ALL if only is None else _LESS_OF_ONE) for key, part in used_to.items()
                }
                found = self.solved(used_to, is_required=False)
                if found is None or (best is not None and not _is_better(found, best)):
                    break
                if only is not None and {each.profile.key for each in found.assembled.candidates.values()} != {only}:
                    break
                if before is not None and before.solution.counts == found.solution.counts and only is not None:
                    continue
                before = found
                if self.tried(found).is_held:
                    best, self.given = found, used_to
                    break
            self.used_to = used_to if only is None else self.used_to
        if best is not None:
            return best
        self.solved(self.used_to)
        lines = tuple(self.judge.unreached(0.0)) or ("Loosen slo, lower slo.attainment, or allow more candidates.",)
        raise self.none_holds(lines)

    def none_holds(self, lines: Sequence[str]) -> InfeasibleError:
        """`lines`: why."""
        lead = f"no plan was found of which {percent(self.target)} of the simulated requests meet every target."
        return InfeasibleError("\n".join((lead, *lines)))

    def tried(self, found: Solved) -> Verdict:
        """What simulating a plan shows."""
        self.plans += 1
        verdict = self.judge.tried(found)
        if verdict.is_held:
            self.verdicts[found.solution.counts] = verdict
        return verdict

    def holds(self, found: Solved) -> bool:
        """Simulates a plan, and learns from it up to where its groups hold."""
        verdict = self.tried(found)
        self.has_held = self.has_held or verdict.is_held
        self.learn(verdict)
        if not verdict.is_held:
            self.failed.setdefault(found.solution.counts, []).append(_loads(found))
        return verdict.is_held

    def is_known_to_fail(self, found: Solved) -> bool:
        """Whether the same counts failed with groups that were loaded no more than now, nearly, or often."""
        before, now = self.failed.get(found.solution.counts, []), _loads(found)
        return len(before) >= _MOST_TRIES or any(
            all(load >= then * _NEARLY for load, then in zip(now, loads, strict=True)) for loads in before
        )

    def room_for_slower(self, best: Solved) -> float | None:
        """USD per hour that a plan costs more which holds with slower engines too; None: none was found."""
        for factor in ROOM:
            found = self.solved({key: part / factor for key, part in self.used_to.items()}, is_required=False)
            if found is None:
                return None
            fleet = replace(fleet_of_solved(found), slower_fraction=SLOWER_FRACTION)
            if self.worst_run(fleet, found).held >= self.target:
                return found.model.problem.cost(found.solution.counts) - best.model.problem.cost(best.solution.counts)
        return None

    def worst_run(self, fleet: Fleet, found: Solved, requests: int = DEFAULT_REQUESTS) -> Simulation:
        """By the last seed, in the busiest hour of those sizes with which the least of them hold."""
        runs = [self.judge.run(fleet, view, requests=requests) for view in in_busiest_hours(found)]
        return min(runs, key=lambda run: run.held)

    def summary(self, best: Solved) -> SimulatedPlan:
        """What the plan may say of itself."""
        fleet = fleet_of_solved(best)
        verdict = self.verdicts.get(best.solution.counts)
        requests = DEFAULT_REQUESTS if verdict is None else verdict.requests
        held = None if verdict is None else verdict.draws_held
        result = self.worst_run(fleet, best, requests)
        slower = self.worst_run(replace(fleet, slower_fraction=SLOWER_FRACTION), best)
        more = 0.0 if slower.held >= self.target else self.room_for_slower(best)
        return SimulatedPlan(
            target=self.target,
            attainment=result.attainment,
            attainment_error=result.attainment_error,
            refused_fraction=result.refused_fraction,
            requests=result.requests,
            arrivals=result.arrivals,
            seed=result.seed,
            plans=self.plans,
            ttft_s=result.ttft_s,
            tpot_s=result.tpot_s,
            percentiles=result.percentiles,
            slower_fraction=SLOWER_FRACTION,
            slower_attainment=slower.attainment,
            slower_usd_per_hour=more,
            thinned_to=result.thinned_to,
            draws=0 if held is None else DRAWS,
            draws_held=held or 0,
        )


def _loads(found: Solved) -> tuple[float, ...]:
    return tuple(group.utilization for group in found.assembled.groups)


def _is_better(one: Solved, other: Solved) -> bool:
    if one.model.workload.objective is Objective.MOST_TRAFFIC:
        rates = [each.model.workload.traffic.request_rate_rps for each in (one, other)]
        if not math.isclose(rates[0], rates[1], rel_tol=_SAME):
            return rates[0] > rates[1]
    costs = [each.model.problem.objective(each.solution.counts) for each in (one, other)]
    return costs[0] < costs[1] * (1 - _SAME)
