"""Whether a plan holds: runs of a simulation, longer ones where a run of the usual length cannot tell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from sky_melange.domain.plan import MOST_SIMULATED_REQUESTS, ReplicaGroup, Route
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import Percentile, RoutingPolicy, Workload
from sky_melange.errors import InfeasibleError
from sky_melange.optimizer import Model, Solved, assembled_of
from sky_melange.pipeline.answering import check_size
from sky_melange.pipeline.drawn_errors import (
    DRAWN_REQUESTS,
    DRAWS,
    at_factors,
    count_held,
    drawn_factors,
    in_doubt,
    joint_factors,
)
from sky_melange.simulation import DEFAULT_REQUESTS, Fleet, Scenario, fleet_of, unloaded, without
from sky_melange.traces.request_log import RequestLog

Simulate = Callable[[Fleet, Scenario], Simulation]
"""`simulation.simulate` with the workload's targets."""

LOOK_REQUESTS: Final = 15_000
LONGER: Final = (DEFAULT_REQUESTS, 200_000, MOST_SIMULATED_REQUESTS)
"""Requests of a run, and of longer ones while these leave open whether a plan holds."""

FINAL_SEED: Final = 100
_RUNS_DRAWN: Final = 3
_RUNS_REPLAYED: Final = 6
"""More, since copies of a log that begin elsewhere differ by more than other draws do."""

_STUDENT_19: Final = 2.093
_SURELY: Final = 2.0
_SAME: Final = 1e-9
_ROOM_DEVIATIONS: Final = (2.5, 1.5)
"""While longer runs can decide, and at the longest: with these one run in some 150, or 15, would not hold."""


def final_scenario(workload: Workload, log: RequestLog | None, requests: int = DEFAULT_REQUESTS) -> Scenario:
    """The requests that a plan is judged by in the end; `log`: they are replayed, None: drawn."""
    return Scenario(
        traffic=workload.traffic.drawn,
        request_rate_rps=workload.traffic.request_rate_rps,
        arrivals=None if log is not None else replace(workload.traffic.arrivals, log=None),
        log=log,
        requests=requests,
        seed=FINAL_SEED,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Routed:
    """What the front door makes of a plan."""

    policy: RoutingPolicy
    routing: tuple[Route, ...]
    groups: tuple[ReplicaGroup, ...]


def fleet_of_solved(found: Solved, lost: tuple[tuple[str, int], ...] = ()) -> Fleet:
    """What a plan is simulated as, without the instances that are lost."""
    assembled, workload = found.assembled, found.model.workload
    routed = _Routed(policy=workload.routing, routing=assembled.routing, groups=assembled.groups)
    profiles = {name: candidate.profile for name, candidate in assembled.candidates.items()}
    return without(fleet_of(routed, workload, profiles), lost)


def in_hours(whole: Solved, number: int, rate_rps: float) -> Solved:
    """Hours of this rate with the sizes of one set as a plan of their own, whose engines run as those of the whole."""
    model = whole.model.in_hours(number, rate_rps)
    assembled = assembled_of(model, whole.solution)
    at_once = {group.name: group.max_concurrency for group in whole.assembled.groups}
    groups = tuple(replace(group, max_concurrency=at_once[group.name]) for group in assembled.groups)
    return Solved(model=model, solution=whole.solution, assembled=replace(assembled, groups=groups))


def in_busiest_hours(found: Solved) -> tuple[Solved, ...]:
    """A plan in the busiest hour of each set of sizes; itself where there are no sets."""
    traffic = found.model.workload.traffic
    if traffic.hours is None or len(traffic.size_sets) < 2:
        return (found,)
    return tuple(in_hours(found, number, rate_rps) for number, rate_rps in enumerate(traffic.hours.busiest_rps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was seen of a plan: the `fleet` that did worst, whole or after a loss, its worst run, whether all hold.

    `found`: the plan in the hours that this was in; of those that all hold, the ones with most work.
    `requests`: of the runs that decided. `draws_held`: of DRAWS draws of what the profiles may be off by, those in
    which it holds; None: there are no two profiles in doubt, or it does not hold.
    """

    found: Solved
    fleet: Fleet
    result: Simulation
    is_held: bool
    requests: int
    draws_held: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Simulates plans of a model. `log`: the requests to replay; None: they are drawn.

    `lengths`: requests of a run, and of the longer ones that decide what it leaves open. `draws_errors`: a plan
    holds only where it does in a share of `profiles.confidence` of the draws of what its profiles may be off by.
    """

    model: Model
    simulate: Simulate
    log: RequestLog | None
    lengths: tuple[int, ...] = LONGER
    draws_errors: bool = True

    @property
    def target(self) -> float:
        """The share of requests that must hold."""
        return self.model.workload.slo.attainment or 0.0

    def run(
        self,
        fleet: Fleet,
        found: Solved,
        *,
        requests: int = DEFAULT_REQUESTS,
        seed: int = FINAL_SEED,
        faster: float = 1.0,
    ) -> Simulation:
        """`faster`: than the planned rate."""
        workload = found.model.workload
        scenario = replace(
            final_scenario(workload, self.log, requests),
            request_rate_rps=workload.traffic.request_rate_rps * faster,
            seed=seed,
        )
        return self.simulate(fleet, scenario)

    def tried(self, found: Solved) -> Verdict:
        """Whether the plan holds: whole, after each loss, and by a seed that took no part in finding it."""
        # Nobody waits for simulations to hear of a rate in the wrong unit.
        check_size(found.assembled.groups)
        fleets = [fleet_of_solved(found, lost) for lost in ((), *(each.lost for each in found.assembled.contingencies))]
        views = in_busiest_hours(found)
        judged = [(view, [(fleet, *self.judged(fleet, view)) for fleet in fleets]) for view in views]
        requests = max(result.requests for _, runs in judged for _, result, _ in runs)
        is_held = all(each for _, runs in judged for *_, each in runs) and all(
            self.run(fleet, view, requests=requests).held >= self.target for view in views for fleet in fleets
        )
        view, runs = (max if is_held else min)(judged, key=lambda each: _used(each[0]) if is_held else _least(each[1]))
        fleet, result, _ = min(runs, key=lambda run: run[1].held)
        verdict = Verdict(found=view, fleet=fleet, result=result, is_held=is_held, requests=requests)
        return self.in_draws(views, fleets[0], verdict) if is_held and self.draws_errors else verdict

    def in_draws(self, views: Sequence[Solved], fleet: Fleet, verdict: Verdict) -> Verdict:
        """The verdict on a plan that holds as planned: does it with the confidence that is asked for?

        Where it does not, what is seen of it is how it does with all its profiles so slow that it would.
        """
        confidence, profiles = self.model.workload.profiles.confidence, in_doubt(fleet)
        if len(profiles) < 2 or confidence <= 0.5:
            return verdict
        keys = [profile.key for profile in profiles]

        def holds(factors: Sequence[float]) -> bool:
            truth = at_factors(fleet, dict(zip(keys, factors, strict=True)))
            return all(self.run(truth, view, requests=DRAWN_REQUESTS).held >= self.target for view in views)

        held = count_held(drawn_factors(profiles), holds)
        if held >= confidence * DRAWS - _SAME:
            return replace(verdict, draws_held=held)
        slow = at_factors(fleet, joint_factors(profiles, confidence))
        runs = [(self.run(slow, view, seed=0), view) for view in views]
        result, view = min(runs, key=lambda run: run[0].held)
        return replace(verdict, found=view, fleet=slow, result=result, is_held=False)

    def judged(self, fleet: Fleet, found: Solved) -> tuple[Simulation, bool]:
        """The worst of some runs of one length, and whether another would hold: all do, their mean does with room.

        What shorter runs leave open is decided by longer ones, which differ less from each other. Copies of a log stay
        where they began, so a longer run of these decides nothing.
        """
        seeds = range(_RUNS_DRAWN if self.log is None else _RUNS_REPLAYED)
        lengths = self.lengths if self.log is None else self.lengths[:1]
        for requests in lengths:
            runs: list[Simulation] = []
            for seed in seeds:
                runs.append(self.run(fleet, found, requests=requests, seed=seed))
                self.check_refused(runs[-1])
                attained = [run.held for run in runs]
                mean = math.fsum(attained) / len(attained)
                within = math.fsum(run.attainment_error for run in runs) / len(runs) / _STUDENT_19
                if mean + _SURELY * within < self.target:
                    return min(runs, key=lambda run: run.held), False
                if min(attained) < self.target:
                    break
            between = math.sqrt(math.fsum((each - mean) ** 2 for each in attained) / max(len(attained) - 1, 1))
            room = _ROOM_DEVIATIONS[requests == lengths[-1]] * max(within, between)
            is_held = min(attained) >= self.target and mean - room >= self.target
            if is_held:
                break
        return min(runs, key=lambda run: run.held), is_held

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

    def unreached(self, deviations: float) -> Iterator[str]:
        """The targets that no replica meets often enough even with nothing else to do, and what each would take.

        By so many standard deviations of the share that meets them.
        """
        slo = self.model.workload.slo
        scenario = final_scenario(self.model.workload, self.log, LOOK_REQUESTS)
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
                    f"on an unloaded replica of the candidate that is best for it. {percent(share)} of them need "
                    f"{key}: {needed:g} there, and more under load."
                )


def _used(found: Solved) -> float:
    return max(group.utilization for group in found.assembled.groups)


def _least(runs: Sequence[tuple[Fleet, Simulation, bool]]) -> float:
    return min(result.held for _, result, _ in runs)


def percent(share: float) -> str:
    """`99%`, `99.95%`."""
    return f"{share * 100:.6g}%"
