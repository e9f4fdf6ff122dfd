"""The cheapest fleet found whose simulated requests hold their targets: solve, simulate, correct, again.

The program knows mean rates; what part of its capacity a replica may use, so that enough requests hold their targets,
only a simulation can say. It depends on the profile, on how many replicas share the traffic, and on which requests they
get. So the search begins with what the means allow, and corrects the groups of each plan by what the simulation says of
them, until the program knows no plan that is cheaper than one that holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from sky_melange.domain.plan import MOST_UTILIZATION, ReplicaGroup, Route, SimulatedPlan
from sky_melange.domain.profile import ProfileKey
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import Objective, Percentile, RoutingPolicy, Workload
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer import Model, Solved, assembled_of, solve_problem, solved
from sky_melange.optimizer.solve.solver import widened
from sky_melange.pipeline.answering import check_size
from sky_melange.simulation import Fleet, Scenario, fleet_of, unloaded, without
from sky_melange.traces.request_log import RequestLog

Simulate = Callable[[Fleet, Scenario], Simulation]
"""`simulation.simulate` with the workload's targets."""

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
_LEAST_UTILIZATION: Final = 1e-4

_OPTIMISM: Final = 1.1
"""What was not simulated is taken for so much better than what was, or it would never be tried."""

_BOLDER: Final = (1.06, 1.15, 1.3)
"""At the end all groups are taken to carry so much more: does a cheaper plan hold all the same?"""

_MORE_AT_ONCE: Final = 1.6
_MORE_BESIDE: Final = 1.05
_MOST_TRIES: Final = 4
_NEARLY: Final = 0.98
_LESS: Final = 0.985
_MUCH_LESS: Final = 0.95
_RUN_REQUESTS: Final = 50_000
_LOOK_REQUESTS: Final = 15_000
_RUNS_DRAWN: Final = 3
_RUNS_REPLAYED: Final = 6
"""More, since copies of a log that begin elsewhere differ by more than other draws do."""

_LOOKS: Final = 6
_PRECISE: Final = 1.05
_RATES: Final = (0.15, 2.5)
_STUDENT_19: Final = 2.093
FINAL_SEED: Final = 100
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
    search = Search(model=model, simulate=simulate, log=log)
    best, is_settled = search.run()
    simulated = search.summary(best)
    # What is said of other plans is of the utilisations that the search ended with.
    final = best.model.used_to(search.parts(search.used_to))
    solution = best.solution if is_settled else replace(best.solution, status="feasible", mip_gap=math.inf)
    best = Solved(model=final, solution=solution, assembled=assembled_of(final, solution))
    return Held(solved=best, simulated=simulated, known=search.known, used_to=search.used_to)


def final_scenario(workload: Workload, log: RequestLog | None) -> Scenario:
    """The requests that a plan is judged by in the end; `log` as in `cheapest_held`."""
    return Scenario(
        traffic=workload.traffic,
        request_rate_rps=workload.traffic.request_rate_rps,
        arrivals=None if log is not None else replace(workload.traffic.arrivals, log=None),
        log=log,
        requests=_RUN_REQUESTS,
        seed=FINAL_SEED,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Routed:
    """What the front door makes of a plan."""

    policy: RoutingPolicy
    routing: tuple[Route, ...]
    groups: tuple[ReplicaGroup, ...]


@dataclass(slots=True, kw_only=True)
class Search:
    """The search for a plan, and what judges one.

    `known[profile][replicas]`: the utilisation up to which groups of so many replicas held. `used_to[profile]`: the
    one that the program is given. `given`: as `used_to` was for the best plan. `failed[counts]`: utilisations of the
    groups with which these counts did not hold.
    """

    model: Model
    simulate: Simulate
    log: RequestLog | None
    known: dict[ProfileKey, dict[int, float]] = field(default_factory=dict)
    used_to: dict[ProfileKey, float] = field(default_factory=dict)
    failed: dict[tuple[int, ...], list[tuple[float, ...]]] = field(default_factory=dict)
    given: dict[ProfileKey, float] = field(default_factory=dict)
    plans: int = 0
    has_held: bool = False

    @property
    def target(self) -> float:
        """The share of requests that must hold."""
        return self.model.workload.slo.attainment or 0.0

    @property
    def limit(self) -> float:
        """The most that any group may be used to."""
        given = self.model.workload.constraints.max_utilization
        return MOST_UTILIZATION if given is None else given

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
        if self.is_open(best) and self.model.workload.objective is Objective.LEAST_COST:
            best = self.alone(best)
        return best, not self.is_open(best)

    def is_open(self, best: Solved) -> bool:
        """Whether the program knows a better plan, or none, at what is known of the groups."""
        self.allow(best)
        found = self.solved(self.used_to, is_required=False)
        return found is None or _is_better(found, best)

    def alone(self, best: Solved) -> Solved:
        """A better plan of a single profile, where there is one: mixes that fail say little of what each carries alone.

        Of the few profiles whose plans are the cheapest at what is known of them.
        """
        looked = {
            key: found
            for key, part in self.used_to.items()
            if (found := self.solved_alone(key, part)) is not None and _is_better(found, best)
        }
        for key in sorted(looked, key=lambda key: (looked[key].solution.cost_usd_per_hour, key))[:_MOST_ALONE]:
            part, before = self.used_to[key], None
            for _ in range(_LAST_ROUNDS):
                found = self.solved_alone(key, part)
                if found is None or not _is_better(found, best):
                    break
                if found.solution.counts != before and not self.is_known_to_fail(found):
                    before = found.solution.counts
                    if self.tried(found)[2]:
                        best, self.given = found, {**self.used_to, key: part}
                        break
                part *= _LESS_ALONE
        return best

    def solved_alone(self, key: ProfileKey, part: float) -> Solved | None:
        """The cheapest plan of one profile at this utilisation; None where it cannot serve all."""
        kept = [c for c, candidate in enumerate(self.model.candidates) if candidate.profile.key == key]
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

    def parts(self, used_to: Mapping[ProfileKey, float]) -> list[float]:
        """By candidate."""
        return [max(used_to[candidate.profile.key], _LEAST_UTILIZATION) for candidate in self.model.candidates]

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
        if lines := tuple(self.unreached(_CERTAIN)):
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
                if self.tried(found)[2]:
                    best, self.given = found, used_to
                    break
            self.used_to = used_to if only is None else self.used_to
        if best is not None:
            return best
        self.solved(self.used_to)
        lines = tuple(self.unreached(0.0)) or ("Loosen slo, lower slo.attainment, or allow more candidates.",)
        raise self.none_holds(lines)

    def none_holds(self, lines: Sequence[str]) -> InfeasibleError:
        """`lines`: why."""
        lead = f"no plan was found of which {_percent(self.target)} of the simulated requests meet every target."
        return InfeasibleError("\n".join((lead, *lines)))

    def unreached(self, deviations: float) -> Iterator[str]:
        """The targets that no replica meets often enough even with nothing else to do, and what each would take.

        By so many standard deviations of the share that meets them.
        """
        slo = self.model.workload.slo
        scenario = replace(final_scenario(self.model.workload, self.log), requests=_LOOK_REQUESTS)
        profiles = {each.profile.key: each.profile for each in self.model.candidates}
        alone = [unloaded(profile, scenario) for profile in profiles.values()]
        wanted = [
            Percentile(latency=name, percent=0, limit_s=limit_s)
            for name, limit_s in (("ttft", slo.ttft_s), ("tpot", slo.tpot_s), ("ntpot", slo.ntpot_s))
            if limit_s is not None
        ]
        for each in (*wanted, *slo.percentiles):
            share = each.percent / 100 or self.target
            best = np.minimum.reduce([latencies[each.latency] for latencies in alone])
            within = float((best <= each.limit_s).mean())
            if within + deviations * math.sqrt(share * (1 - share) / len(best)) < share:
                key = f"p{each.percent}_{each.latency}_ms" if each.percent else f"{each.latency}_ms"
                needed = math.ceil(s_to_ms(float(np.quantile(best, share, method="higher"))) * 100) / 100
                yield (
                    f"slo.{key}: {s_to_ms(each.limit_s):g} is met by {within:.2%} of the requests at most, each alone "
                    f"on an unloaded replica of the candidate that is best for it. {_percent(share)} of them need "
                    f"{key}: {needed:g} there, and more under load."
                )

    def holds(self, found: Solved) -> bool:
        """Simulates a plan, and learns from it up to where its groups hold."""
        fleets, results, is_held = self.tried(found)
        self.has_held = self.has_held or is_held
        worst = min(range(len(fleets)), key=lambda index: results[index].held)
        self.learn(found, fleets[worst], results[worst], is_held=is_held)
        if not is_held:
            self.failed.setdefault(found.solution.counts, []).append(_loads(found))
        return is_held

    def tried(self, found: Solved) -> tuple[list[Fleet], list[Simulation], bool]:
        """The fleet whole and after each loss, the worst that was seen of each, and whether all hold."""
        # Nobody waits for simulations to hear of a rate in the wrong unit.
        check_size(found.assembled.groups)
        self.plans += 1
        fleets = [fleet_of_solved(found, lost) for lost in ((), *(each.lost for each in found.assembled.contingencies))]
        judged = [self.judged(fleet, found) for fleet in fleets]
        is_held = all(each for _, each in judged) and all(
            self.run_once(fleet, found, seed=FINAL_SEED).held >= self.target for fleet in fleets
        )
        return fleets, [result for result, _ in judged], is_held

    def is_known_to_fail(self, found: Solved) -> bool:
        """Whether the same counts failed with groups that were loaded no more than now, nearly, or often."""
        before, now = self.failed.get(found.solution.counts, []), _loads(found)
        return len(before) >= _MOST_TRIES or any(
            all(load >= then * _NEARLY for load, then in zip(now, loads, strict=True)) for loads in before
        )

    def judged(self, fleet: Fleet, found: Solved) -> tuple[Simulation, bool]:
        """The worst of some runs, and whether another would hold: all do, and their mean does by 1.5 deviations."""
        runs: list[Simulation] = []
        for seed in range(_RUNS_DRAWN if self.log is None else _RUNS_REPLAYED):
            runs.append(self.run_once(fleet, found, requests=_RUN_REQUESTS, seed=seed))
            self.check_refused(runs[-1])
            attained = [run.held for run in runs]
            mean = math.fsum(attained) / len(attained)
            within = math.fsum(run.attainment_error for run in runs) / len(runs) / _STUDENT_19
            between = math.sqrt(math.fsum((each - mean) ** 2 for each in attained) / max(len(attained) - 1, 1))
            if min(attained) < self.target or mean + 2 * within < self.target:
                break
        worst = min(runs, key=lambda run: run.held)
        return worst, worst.held >= self.target and mean - 1.5 * max(within, between) >= self.target

    def check_refused(self, result: Simulation) -> None:
        """Raises InfeasibleError where so many requests are too long that no fleet can hold."""
        if result.refused_fraction > 1 - self.target:
            limit = self.model.workload.model.max_model_len
            longest = 0 if self.log is None else int((self.log.inputs + self.log.outputs).max())
            raised = "Raise max_model_len"
            if limit is not None and longest > limit:
                raised = f"Write `model.max_model_len: {longest}` to serve all of them (the model must allow it)"
            raise InfeasibleError(
                f"{result.refused_fraction:.2%} of the requests are longer than model.max_model_len ({limit}) or do "
                f"not fit in memory, so they are refused and miss; slo.attainment {self.target:g} leaves room for "
                f"{1 - self.target:.2%}. {raised}, plan for shorter requests, or write "
                f"`attainment: {math.floor((1 - result.refused_fraction) * 1000) / 1000:g}` or less."
            )

    def run_once(
        self, fleet: Fleet, found: Solved, *, requests: int = _RUN_REQUESTS, seed: int = 0, faster: float = 1.0
    ) -> Simulation:
        """`faster`: than the planned rate."""
        workload = found.model.workload
        scenario = replace(
            final_scenario(workload, self.log),
            request_rate_rps=workload.traffic.request_rate_rps * faster,
            requests=requests,
            seed=seed,
        )
        return self.simulate(fleet, scenario)

    def learn(self, found: Solved, fleet: Fleet, result: Simulation, *, is_held: bool) -> None:
        """Up to which rate the requests of each group hold, and so up to which utilisation."""
        attained = {group.name: 1.0 if group.held is None else group.held for group in result.groups}
        enough = self.target if is_held else min(self.target + result.attainment_error, 1.0)
        lost = dict(fleet.lost)
        requests = _LOOK_REQUESTS if self.log is None else _RUN_REQUESTS
        bounds = {name: _Bounds() for name in attained if _left(found, name, lost)}
        for name, bound in bounds.items():
            bound.note(1.0, holds=attained[name] >= enough)
        for _ in range(_LOOKS):
            faster = max((bound.next() for bound in bounds.values()), key=lambda entry: entry[0])[1]
            if not _RATES[0] <= faster <= _RATES[1]:
                break
            looked = self.run_once(fleet, found, requests=requests, seed=result.seed, faster=faster)
            for each in looked.groups:
                if each.name in bounds:
                    is_enough = each.held is None or each.held >= self.target
                    bounds[each.name].note(faster, holds=is_enough)
        lowest = min(bounds, key=lambda name: (attained[name], name))
        for group in found.assembled.groups:
            if group.name not in bounds:
                continue
            part = group.utilization * (bounds[group.name].holds or _RATES[0])
            key = found.assembled.candidates[group.name].profile.key
            if is_held:
                part = min(max(part, group.utilization), group.utilization * _MORE_AT_ONCE)
            elif attained[group.name] < enough or group.name == lowest:
                part = min(part, group.utilization * _LESS)
            else:
                part = min(part, self.used_to[key] * _MORE_BESIDE)
            self.known.setdefault(key, {})[group.replicas] = part
        self.apply(found, is_held=is_held)

    def apply(self, found: Solved, *, is_held: bool) -> None:
        """From what is known to what the program is given."""
        replicas: dict[ProfileKey, int] = {}
        for group in found.assembled.groups:
            key = found.assembled.candidates[group.name].profile.key
            replicas[key] = max(replicas.get(key, 0), group.replicas)
        top = max(max(known.values()) for known in self.known.values())
        for key in self.used_to:
            known = self.known.get(key)
            if known is None:
                alike = [
                    max(each.values()) for other, each in self.known.items() if other.accelerator == key.accelerator
                ]
                part = (1.0 if self.has_held else _OPTIMISM) * max(alike, default=top)
            elif key in replicas and not is_held:
                # One more is what comes next, and more replicas pool better.
                now = replicas[key]
                part = _pooled(known[now], now, now + 1) if now in known else max(known.values())
                used = max(
                    group.utilization
                    for group in found.assembled.groups
                    if found.assembled.candidates[group.name].profile.key == key
                )
                part = min(part, used * _LESS) if known.get(now, used) < used else part
            else:
                part = known[replicas[key]] if key in replicas and replicas[key] in known else known[max(known)]
            self.used_to[key] = min(self.limit, part)

    def lower(self, found: Solved) -> None:
        """The program insists on counts that do not hold: its groups get less."""
        for group in found.assembled.groups:
            key = found.assembled.candidates[group.name].profile.key
            self.used_to[key] = min(self.used_to[key], group.utilization) * _MUCH_LESS

    def room_for_slower(self, best: Solved) -> float | None:
        """USD per hour that a plan costs more which holds with slower engines too; None: none was found."""
        for factor in ROOM:
            found = self.solved({key: part / factor for key, part in self.used_to.items()}, is_required=False)
            if found is None:
                return None
            fleet = replace(fleet_of_solved(found), slower_fraction=SLOWER_FRACTION)
            if self.run_once(fleet, found, seed=FINAL_SEED).held >= self.target:
                return found.model.problem.cost(found.solution.counts) - best.model.problem.cost(best.solution.counts)
        return None

    def summary(self, best: Solved) -> SimulatedPlan:
        """What the plan may say of itself."""
        fleet = fleet_of_solved(best)
        result = self.run_once(fleet, best, seed=FINAL_SEED)
        slower = self.run_once(replace(fleet, slower_fraction=SLOWER_FRACTION), best, seed=FINAL_SEED)
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
        )


@dataclass(slots=True)
class _Bounds:
    """Rates, as factors of the planned one, at which a group holds and at which it does not."""

    holds: float | None = None
    fails: float | None = None

    def note(self, faster: float, *, holds: bool) -> None:
        """One more look."""
        if holds:
            self.holds = max(self.holds or 0.0, faster)
        else:
            self.fails = min(self.fails or math.inf, faster)

    def next(self) -> tuple[float, float]:
        """(how much is open, where to look)."""
        if self.holds is None:
            return 9.0, (self.fails or 1.0) * 0.7
        if self.fails is None:
            return 8.0, self.holds * 1.25
        open_to = self.fails / self.holds
        return (open_to, math.sqrt(self.fails * self.holds)) if open_to > _PRECISE else (0.0, 0.0)


def _percent(share: float) -> str:
    return f"{share * 100:.6g}%"


def _loads(found: Solved) -> tuple[float, ...]:
    return tuple(group.utilization for group in found.assembled.groups)


def _pooled(part: float, replicas: int, more: int) -> float:
    """What is left idle for the sake of bursts shrinks with the root of the replicas that share them."""
    return part if part >= 1 else 1 - (1 - part) * math.sqrt(replicas / more)


def _is_better(one: Solved, other: Solved) -> bool:
    if one.model.workload.objective is Objective.MOST_TRAFFIC:
        rates = [each.model.workload.traffic.request_rate_rps for each in (one, other)]
        if not math.isclose(rates[0], rates[1], rel_tol=_SAME):
            return rates[0] > rates[1]
    costs = [each.model.problem.objective(each.solution.counts) for each in (one, other)]
    return costs[0] < costs[1] * (1 - _SAME)


def fleet_of_solved(found: Solved, lost: tuple[tuple[str, int], ...] = ()) -> Fleet:
    """What a plan is simulated as, without the instances that are lost."""
    assembled, workload = found.assembled, found.model.workload
    routed = _Routed(policy=workload.routing, routing=assembled.routing, groups=assembled.groups)
    profiles = {name: candidate.profile for name, candidate in assembled.candidates.items()}
    return without(fleet_of(routed, workload, profiles), lost)


def _left(found: Solved, name: str, lost: Mapping[str, int]) -> int:
    return next(group.instances for group in found.assembled.groups if group.name == name) - lost.get(name, 0)
