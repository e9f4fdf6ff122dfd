"""The search for the plans of a fleet: all traffic at the least cost, or the most traffic that a budget pays for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from sky_melange.domain.fleet import Fleet, PriorityCost
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Overhead
from sky_melange.domain.workload import LaunchMode, SolverSettings
from sky_melange.errors import InfeasibleError, InputError, MissingDataError, NotOptimalError
from sky_melange.optimizer import FleetProblem, FleetSolution, SharedLimit, solve_fleet
from sky_melange.optimizer.fleet import shared_limits
from sky_melange.pipeline.answering import Answer, by_means
from sky_melange.pipeline.planning import Prepared, answered
from sky_melange.pipeline.sharing import Coupled

if TYPE_CHECKING:
    from sky_melange.pipeline.simulator import Simulator

_STEPS: Final = 8
"""Of the search for the fraction of a priority's traffic that the budget pays for: 1/2^8 is left open."""

_STEPS_SIMULATED: Final = 4
"""The same where every step is simulated."""

_SAME: Final = 1e-9


@contextmanager
def named(name: str) -> Iterator[None]:
    """Says of which workload an error is."""
    try:
        yield
    except (InfeasibleError, MissingDataError, NotOptimalError) as error:
        raise type(error)(f"{name}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A workload with its answer in the fleet, and alone. `ready` is at the traffic that is served."""

    ready: Prepared
    answer: Answer
    alone: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The answers, in the order of the fleet. `solution` None: nothing that is shared was short."""

    members: tuple[Member, ...]
    fractions: tuple[float, ...]
    shared: tuple[SharedLimit, ...]
    solution: FleetSolution | None
    priorities: tuple[PriorityCost, ...] = ()
    needed_usd_per_hour: float | None = None

    @property
    def usd_per_hour(self) -> float:
        """Of all plans, each with its own controller."""
        return math.fsum(member.answer.optimum.cost.total_usd_per_hour for member in self.members)


@dataclass(slots=True, kw_only=True)
class FleetSearch:
    """The search for the plans of a fleet."""

    fleet: Fleet
    ready: tuple[Prepared, ...]
    simulator: Simulator | None
    alone: dict[tuple[int, float], Answer] = field(default_factory=dict)

    @property
    def settings(self) -> SolverSettings:
        """Of the workloads the most patient."""
        given = [ready.workload.solver for ready in self.ready]
        return replace(given[0], time_limit_s=max(each.time_limit_s for each in given))

    def ready_at(self, k: int, fraction: float) -> Prepared:
        """Workload k with this fraction of its traffic."""
        ready = self.ready[k]
        return ready if fraction == 1 else replace(ready, model=ready.model.at_traffic(fraction))

    def alone_at(self, k: int, fraction: float) -> Answer:
        """What workload k would launch if it shared nothing."""
        if (k, fraction) not in self.alone:
            ready = self.ready_at(k, fraction)
            with named(ready.workload.name):
                self.alone[k, fraction] = answered(ready, self.simulator)
        return self.alone[k, fraction]

    def least_cost(self) -> Found:
        """All traffic at the least cost."""
        return self.together((1.0,) * len(self.ready))

    def together(self, fractions: tuple[float, ...]) -> Found:
        """These fractions of the traffic at the least cost."""
        ready = [self.ready_at(k, fraction) for k, fraction in enumerate(fractions)]
        alone = [self.alone_at(k, fraction) for k, fraction in enumerate(fractions)]
        shared = _shared(self.fleet, ready)
        counts = [answer.optimum.solution.counts for answer in alone]
        if all(sum(limit.used_by(k, each) for k, each in enumerate(counts)) <= limit.limit for limit in shared):
            members = tuple(
                Member(ready=each, answer=answer, alone=answer) for each, answer in zip(ready, alone, strict=True)
            )
            return Found(members=members, fractions=fractions, shared=shared, solution=None)
        answers, solution = Coupled.of(ready, alone, shared, self.settings, self.simulator).answers()
        members = tuple(
            Member(ready=each, answer=answer, alone=single)
            for each, answer, single in zip(ready, answers, alone, strict=True)
        )
        return Found(members=members, fractions=fractions, shared=shared, solution=solution)

    def most_traffic(self) -> Found:
        """All traffic where the budget pays for it; else that of the highest priority first, each down to its floor."""
        budget = self.fleet.budget.limit_usd_per_hour if self.fleet.budget is not None else None
        if budget is None:
            raise InputError("objective: most_traffic needs a budget to stay within: `budget: {usd_per_hour: 40}`")
        floors = [member.min_fraction for member in self.fleet.members]
        least = self.together(tuple(floors))
        if self.paid(least) > budget * (1 + _SAME):
            raise InfeasibleError(
                f"the floors of the workloads (`min_fraction`) cost USD {self.paid(least):.4f} per hour, over the "
                f"budget of {budget:.12g}; lower them, or raise the budget"
            )
        fractions = floors
        for level in sorted({member.priority for member in self.fleet.members}, reverse=True):
            fractions = self.raised(level, fractions, self.most_of(level, fractions, budget))
        found = self.within_budget(least, fractions, budget)
        priorities = self.by_priority(found.fractions)
        return replace(found, priorities=priorities, needed_usd_per_hour=self.estimate([1.0] * len(floors)))

    def within_budget(self, least: Found, fractions: Sequence[float], budget: float) -> Found:
        """The most of these fractions that the budget pays for when their plans are simulated.

        What plans cost by their loads alone is a little less than what holds: the lowest priority yields until it does.
        """
        found = self.together(tuple(fractions))
        levels = sorted({member.priority for member in self.fleet.members})
        for level in levels:
            if self.paid(found) <= budget * (1 + _SAME):
                return found
            best, low, high = self.together(tuple(self.raised(level, fractions, 0.0))), 0.0, 1.0
            if self.paid(best) <= budget * (1 + _SAME):
                wanted = fractions
                for _ in range(_STEPS_SIMULATED):
                    middle = (low + high) / 2
                    tried = self.together(tuple(self.between(level, wanted, middle)))
                    if self.paid(tried) <= budget * (1 + _SAME):
                        best, low = tried, middle
                    else:
                        high = middle
                return best
            fractions, found = self.raised(level, fractions, 0.0), best
        return least

    def between(self, level: int, fractions: Sequence[float], part: float) -> list[float]:
        """The fractions where the workloads of a priority are so far on the way from their floors to these."""
        return [
            _rounded(member.min_fraction + (fraction - member.min_fraction) * part)
            if member.priority == level
            else fraction
            for member, fraction in zip(self.fleet.members, fractions, strict=True)
        ]

    def paid(self, found: Found) -> float:
        """USD per hour of all plans, with one controller."""
        overheads = [member.answer.optimum.overhead for member in found.members]
        return found.usd_per_hour - self.shared_of(overheads, found)[0]

    def by_priority(self, fractions: Sequence[float]) -> tuple[PriorityCost, ...]:
        """What the traffic above the floors costs by priority, the highest first, each on top of those before it."""
        so_far = [member.min_fraction for member in self.fleet.members]
        before, prices = self.estimate(so_far), []
        for level in sorted({member.priority for member in self.fleet.members}, reverse=True):
            own = [
                (fraction, member.min_fraction)
                for member, fraction in zip(self.fleet.members, fractions, strict=True)
                if member.priority == level
            ]
            so_far = [
                fraction if member.priority == level else kept
                for member, fraction, kept in zip(self.fleet.members, fractions, so_far, strict=True)
            ]
            after = self.estimate(so_far)
            room = math.fsum(1 - floor for _, floor in own)
            served = math.fsum(fraction - floor for fraction, floor in own) / room if room else 1.0
            if room and before is not None and after is not None:
                more = max(0.0, after - before)
                prices.append(PriorityCost(priority=level, usd_per_hour=more, served_fraction=served))
            before = after
        return tuple(prices)

    def most_of(self, level: int, fractions: Sequence[float], budget: float) -> float:
        """Which part of what its floors leave the budget pays for, of the workloads of a priority."""

        def fits(served: float) -> bool:
            cost = self.estimate(self.raised(level, fractions, served))
            return cost is not None and cost <= budget * (1 + _SAME)

        if fits(1.0):
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    def raised(self, level: int, fractions: Sequence[float], served: float) -> list[float]:
        """The fractions where the workloads of a priority have this part of what their floors leave."""
        return [
            _rounded(member.min_fraction + (1 - member.min_fraction) * served) if member.priority == level else fraction
            for member, fraction in zip(self.fleet.members, fractions, strict=True)
        ]

    def estimate(self, fractions: Sequence[float]) -> float | None:
        """USD per hour of the cheapest fleet at the loads that held for each workload alone; None: there is none."""
        problems = []
        for k, fraction in enumerate(fractions):
            held = self.alone_at(k, 1.0).held
            model = by_means(self.ready[k].model)
            if held is not None:
                model = held.solved.model
            problems.append((model if fraction == 1 else model.at_traffic(fraction)).problem)
        shared = _shared(self.fleet, self.ready)
        try:
            found = solve_fleet(FleetProblem.of(problems, shared, self.names), self.settings)
        except InfeasibleError:
            return None
        groups = sum(sum(count > 0 for count in each) for each in found.counts)
        return found.cost_usd_per_hour - self.saved(
            [problem.charges.base_usd_per_hour for problem in problems if problem.charges.base_usd_per_hour], groups
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the workloads."""
        return tuple(ready.workload.name for ready in self.ready)

    def saved(self, controllers: Sequence[float], services: int) -> float:
        """What is not paid where one controller runs so many services, instead of these."""
        if len(controllers) < 2:
            return 0.0
        sizes = [size for ready in self.ready for size in ready.model.machines.controllers]
        fitting = [offer.price_usd_per_hour for most, offer in sizes if offer is not None and most >= services]
        if not fitting:
            most = max((most for most, _ in sizes), default=0)
            raise InfeasibleError(
                f"the fleet has {services} services, and one SkyServe controller runs at most {most}: lower "
                "constraints.max_groups of workloads, or write `launch: {controller: consolidated}`"
            )
        return math.fsum(controllers) - min(fitting)

    def shared_of(self, overheads: Sequence[Sequence[Overhead]], found: Found) -> tuple[float, tuple[str, ...]]:
        """(USD per hour of controllers that the plans count and the fleet does not start, warnings)."""
        serving = [k for k, member in enumerate(found.members) if member.ready.workload.launch.mode is LaunchMode.SERVE]
        machines = [each for k in serving for each in overheads[k] if each.purpose == CONTROLLER_PURPOSE]
        prices = [each.price_usd_per_hour for each in machines]
        if None in prices:
            return 0.0, ("The price of SkyServe's controller is not known: it is not in the total.",)
        services = sum(len(found.members[k].answer.optimum.groups) for k in serving)
        return self.saved([price for price in prices if price is not None], services), ()


def _shared(fleet: Fleet, ready: Sequence[Prepared]) -> tuple[SharedLimit, ...]:
    models = [each.model for each in ready]
    return shared_limits(fleet.constraints, [model.problem for model in models], [model.candidates for model in models])


def _rounded(fraction: float) -> float:
    """A plan is not made for 0.4118309417 of the traffic."""
    return math.floor(fraction * 1e4 + 1e-6) / 1e4
