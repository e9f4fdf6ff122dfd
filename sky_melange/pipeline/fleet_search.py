"""The search for the plans of a fleet: all traffic at the least cost, or the most traffic that a budget pays for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from sky_melange.domain.fleet import Fleet, PriorityCost, counted_parts
from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Overhead
from sky_melange.domain.router import router_cluster
from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError, InputError, MissingDataError, NotOptimalError
from sky_melange.optimizer import FleetProblem, FleetSolution, SharedLimit, SharedShare, solve_fleet
from sky_melange.optimizer.fleet import shared_limits, shared_shares
from sky_melange.pipeline.answering import Answer, by_means
from sky_melange.pipeline.dividing import Divided, divided
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
    """The answers, in the order of the fleet. `solution` None: nothing that is shared was short.

    `machines`: those that may be divided; None: none may.
    """

    members: tuple[Member, ...]
    fractions: tuple[float, ...]
    shared: tuple[SharedLimit, ...]
    shares: tuple[SharedShare, ...]
    solution: FleetSolution | None
    priorities: tuple[PriorityCost, ...] = ()
    needed_usd_per_hour: float | None = None
    machines: Divided | None = None

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
        return replace(
            given[0],
            time_limit_s=max(each.time_limit_s for each in given),
            mip_gap=max(each.mip_gap for each in given),
        )

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
        """All traffic at the least cost; on machines that are divided where these make it cheaper, or possible."""
        everything = (1.0,) * len(self.ready)
        machines = divided(self.ready, self.fleet.constraints) if self.fleet.share_machines else None
        if machines is None:
            return self.together(everything)
        try:
            whole = self.together(everything)
        except InfeasibleError as short:
            try:
                return self.in_parts(machines)
            except InfeasibleError:
                # What is short is named by the workloads apart.
                raise short from None
        try:
            parts = self.in_parts(machines)
        except (InfeasibleError, NotOptimalError):
            return whole
        return parts if self.paid(parts) < self.paid(whole) * (1 - _SAME) else whole

    def in_parts(self, machines: Divided) -> Found:
        """All traffic at the least cost where workloads may divide these machines."""
        alone = [self.alone_at(k, 1.0) for k in range(len(self.ready))]
        shared = _shared(self.fleet, machines.ready)
        shares = self.shares(machines.ready, [mean_usd_per_hour(answer) for answer in alone])
        coupled = Coupled.of(
            machines.ready, alone, shared, shares, self.settings, self.simulator, machines.with_uses(shared)
        )
        answers, solution = coupled.answers()
        members = tuple(
            Member(ready=each, answer=answer, alone=single)
            for each, answer, single in zip(machines.ready, answers, alone, strict=True)
        )
        return Found(
            members=members,
            fractions=(1.0,) * len(alone),
            shared=shared,
            shares=shares,
            solution=solution,
            machines=machines,
        )

    def together(self, fractions: tuple[float, ...]) -> Found:
        """These fractions of the traffic at the least cost."""
        ready = [self.ready_at(k, fraction) for k, fraction in enumerate(fractions)]
        alone = [self.alone_at(k, fraction) for k, fraction in enumerate(fractions)]
        shared = _shared(self.fleet, ready)
        shares = self.shares(ready, [mean_usd_per_hour(answer) for answer in alone])
        problem = FleetProblem.of([each.model.problem for each in ready], shared, shares=shares)
        solutions = [answer.optimum.solution for answer in alone]
        if problem.is_within([each.counts for each in solutions]) and problem.keeps_shares(solutions):
            members = tuple(
                Member(ready=each, answer=answer, alone=answer) for each, answer in zip(ready, alone, strict=True)
            )
            return Found(members=members, fractions=fractions, shared=shared, shares=shares, solution=None)
        answers, solution = Coupled.of(ready, alone, shared, shares, self.settings, self.simulator).answers()
        members = tuple(
            Member(ready=each, answer=answer, alone=single)
            for each, answer, single in zip(ready, answers, alone, strict=True)
        )
        return Found(members=members, fractions=fractions, shared=shared, shares=shares, solution=solution)

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

    def within(self, fractions: Sequence[float], budget: float) -> Found | None:
        """The plans of these fractions; None where there are none, or the budget does not pay for them."""
        try:
            found = self.together(tuple(fractions))
        except (InfeasibleError, NotOptimalError):
            return None
        return found if self.paid(found) <= budget * (1 + _SAME) else None

    def within_budget(self, least: Found, fractions: Sequence[float], budget: float) -> Found:
        """The most of these fractions that the budget pays for when their plans are simulated.

        What plans cost by their loads alone is a little less than what holds: the lowest priority yields until it does.
        """
        best = self.within(fractions, budget)
        for level in sorted({member.priority for member in self.fleet.members}):
            if best is not None:
                break
            wanted, fractions = fractions, self.raised(level, fractions, 0.0)
            best = self.within(fractions, budget)
            low, high = 0.0, 1.0
            for _ in range(_STEPS_SIMULATED if best is not None else 0):
                middle = (low + high) / 2
                tried = self.within(self.between(level, wanted, middle), budget)
                best, low, high = (best, low, middle) if tried is None else (tried, middle, high)
        return self.filled(best or least, budget)

    def filled(self, found: Found, budget: float) -> Found:
        """With all the traffic of those workloads for which what is bought, or left of the budget, suffices."""
        members = self.fleet.members
        for k in sorted(range(len(members)), key=lambda k: (-members[k].priority, k)):
            if found.fractions[k] < 1:
                wanted = [1.0 if other == k else fraction for other, fraction in enumerate(found.fractions)]
                found = self.within(wanted, budget) or found
        return found

    def between(self, level: int, fractions: Sequence[float], part: float) -> list[float]:
        """The fractions where the workloads of a priority are so far on the way from their floors to these."""
        return [
            _rounded(member.min_fraction + (fraction - member.min_fraction) * part)
            if member.priority == level
            else fraction
            for member, fraction in zip(self.fleet.members, fractions, strict=True)
        ]

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
        problems, costs = [], []
        for k, fraction in enumerate(fractions):
            try:
                alone, back = self.alone_at(k, 1.0), 1.0
            except (InfeasibleError, NotOptimalError):
                # Its own limits do not allow all of its traffic.
                alone, back = (
                    self.alone_at(k, self.fleet.members[k].min_fraction),
                    1 / self.fleet.members[k].min_fraction,
                )
            held = alone.held
            if held is not None and back != 1:
                held = replace(held, solved=replace(held.solved, model=held.solved.model.at_traffic(back)))
            costs.append(mean_usd_per_hour(alone) * back * fraction)
            model = by_means(self.ready[k].model)
            if held is not None:
                model = held.solved.model
            problems.append((model if fraction == 1 else model.at_traffic(fraction)).problem)
        shared, shares = _shared(self.fleet, self.ready), self.shares(self.ready, costs)
        try:
            found = solve_fleet(FleetProblem.of(problems, shared, self.names, shares=shares), self.settings)
        except InfeasibleError:
            return None
        router = [each.model.machines.cheapest_router for each in self.ready] if self.fleet.one_router else []
        beside = min((offer.price_usd_per_hour for offer in router if offer is not None), default=0.0)
        return found.cost_usd_per_hour + beside - _but_one([problem.charges.base_usd_per_hour for problem in problems])

    def shares(self, ready: Sequence[Prepared], costs: Sequence[float]) -> tuple[SharedShare, ...]:
        """What places may get of the traffic, of which that of each workload counts by what it costs alone."""
        constraints = self.fleet.constraints
        if constraints.shares and not any(costs):
            raise InputError(
                f"fleet.constraints.{constraints.shares[0][0]}: requests count by what their workload costs alone, and "
                "every workload costs nothing: state usd_per_gpu_hour of candidates.own, or leave the share out"
            )
        return shared_shares(constraints, [each.model.candidates for each in ready], counted_parts(costs))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the workloads."""
        return tuple(ready.workload.name for ready in self.ready)

    def paid(self, found: Found) -> float:
        """USD per hour of all plans, with one controller, and the router where there is one for all."""
        router = self.router(found)
        beside = 0.0 if router is None else router.price_usd_per_hour or 0.0
        return found.usd_per_hour + beside - shared_usd([member.answer.optimum.overhead for member in found.members])

    def router(self, found: Found) -> Overhead | None:
        """The machine of the router that serves all: the cheapest that any of the workloads would take."""
        if not self.fleet.one_router:
            return None
        machines = [member.ready.model.machines.router(member.answer.optimum.groups) for member in found.members]
        unknown = float("inf")
        cheapest = min(machines, key=lambda m: unknown if m.price_usd_per_hour is None else m.price_usd_per_hour)
        return replace(cheapest, cluster=router_cluster(self.fleet.name))


def mean_usd_per_hour(answer: Answer) -> float:
    """Of an answer, over its hours."""
    optimum = answer.optimum
    if answer.scheduled is None:
        return optimum.cost.total_usd_per_hour
    return answer.scheduled.schedule(optimum.overhead, answer.fixed.cost.total_usd_per_hour).usd_per_hour


def shared_usd(overheads: Sequence[Sequence[Overhead]]) -> float:
    """USD per hour of controllers that the plans count and the fleet does not start: it has one."""
    machines = [each for overhead in overheads for each in overhead if each.purpose == CONTROLLER_PURPOSE]
    return _but_one([each.price_usd_per_hour or 0.0 for each in machines])


def _but_one(controllers: Sequence[float]) -> float:
    return math.fsum(controllers) - max(controllers, default=0.0)


def with_one_controller(ready: Sequence[Prepared], services: int) -> tuple[tuple[Prepared, ...], int]:
    """(the workloads where each counts the machine that runs so many services of all, how many it runs at most).

    The cheapest that any of them may use. Raises InfeasibleError where there are more services than one can run.
    """
    own = [each.model.machines.controllers for each in ready if each.model.machines.controllers]
    sizes: dict[int, Offer] = {}
    for most, offer in (size for controllers in own for size in controllers):
        if offer is not None and (most not in sizes or offer.price_usd_per_hour < sizes[most].price_usd_per_hour):
            sizes[most] = offer
    if len(own) < 2 or not sizes:
        return tuple(ready), services
    fitting = tuple((most, offer) for most, offer in sorted(sizes.items()) if most >= services)
    if not fitting:
        raise InfeasibleError(
            f"the fleet has {services} services, and one SkyServe controller runs at most {max(sizes)}: lower "
            "constraints.max_groups of workloads, or write `launch: {controller: consolidated}`"
        )
    return tuple(_with_controllers(each, fitting) for each in ready), fitting[0][0]


def _with_controllers(ready: Prepared, controllers: tuple[tuple[int, Offer], ...]) -> Prepared:
    model = ready.model
    if not model.machines.controllers:
        return ready
    machines = replace(model.machines, controllers=controllers)
    problem = replace(model.problem, charges=machines.charges(model.candidates))
    return replace(ready, model=replace(model, machines=machines, problem=problem))


def _shared(fleet: Fleet, ready: Sequence[Prepared]) -> tuple[SharedLimit, ...]:
    models = [each.model for each in ready]
    return shared_limits(fleet.constraints, [model.problem for model in models], [model.candidates for model in models])


def _rounded(fraction: float) -> float:
    """A plan is not made for 0.4118309417 of the traffic."""
    return math.floor(fraction * 1e4 + 1e-6) / 1e4
