"""A fleet, prices and profiles -> a verified plan of each workload, and what they share.

Each workload is planned alone first. Where the plans then ask more of something shared than there is, complete plans
are chosen together (`optimizer/solve/fleet.py`), simulated one by one, and chosen again with what that has taught.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sky_melange.domain.fleet import Fleet, FleetInputs, FleetMember, FleetPlan, MemberPlan, PriorityCost, SharedUse
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Overhead, Plan
from sky_melange.domain.units import usd_per_month
from sky_melange.domain.workload import Budget, LaunchMode, Objective, SolverSettings, Workload
from sky_melange.errors import (
    CheckFailedError,
    InfeasibleError,
    InputError,
    MissingDataError,
    Mistake,
    NotOptimalError,
    SkyMelangeError,
)
from sky_melange.optimizer import (
    FleetProblem,
    FleetSolution,
    SharedLimit,
    solve_fleet,
)
from sky_melange.optimizer.fleet import shared_limits
from sky_melange.pipeline.answering import (
    Answer,
    by_means,
)
from sky_melange.pipeline.digests import relative_path, workload_digest
from sky_melange.pipeline.planning import Planned, Prepared, answered, plan_file, prepared_file, whole_plan
from sky_melange.pipeline.reading import ConfigOf, Tell, embedded_book, read
from sky_melange.pipeline.sharing import Coupled
from sky_melange.prices import known_accelerators, launchable_clouds
from sky_melange.workload_file import file_text, is_fleet, read_fleet

if TYPE_CHECKING:
    from sky_melange.pipeline.simulator import Simulator

_STEPS: Final = 8
"""Of the search for the fraction of a priority's traffic that the budget pays for: 1/2^8 is left open."""

_STEPS_SIMULATED: Final = 4
"""The same where every step is simulated."""

_SAME: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedFleet:
    """A verified plan of each workload, and of the fleet."""

    fleet: Fleet
    plan: FleetPlan
    members: tuple[Planned, ...]


def plan_fleet(  # noqa: PLR0913 - as of `plan_file`
    path: Path,
    *,
    text: str | None = None,
    book_of: Callable[[Workload], PriceBook] = embedded_book,
    folder: Path | None = None,
    simulator: Simulator | None = None,
    config_of: ConfigOf | None = None,
    tell: Tell | None = None,
    enabled: Collection[str] | None = None,
) -> PlannedFleet:
    """Plans a fleet's file; arguments as of `plan_file`. Plans are to lie in folders of the workloads' names.

    Raises InputError with the mistakes of all files, InfeasibleError where the workloads cannot share what there is,
    and what `plan_file` raises, with the name of the workload.
    """
    text = file_text(path) if text is None else text
    fleet = read_fleet(path, text=text, known_accelerators=known_accelerators(), known_clouds=launchable_clouds())
    ready = _members(fleet, path, book_of, simulator, config_of, tell, enabled)
    search = _Fleet(fleet=fleet, ready=ready, simulator=simulator)
    found = search.least_cost() if fleet.objective is Objective.LEAST_COST else search.most_traffic()
    planned = [
        _located(_told(whole_plan(member.ready, member.answer, simulator=simulator), member, part), path, each, folder)
        for member, each, part in zip(found.members, fleet.members, found.fractions, strict=True)
    ]
    inputs = FleetInputs(
        fleet_file=None if folder is None else relative_path(path, folder), fleet_sha256=workload_digest(path, text)
    )
    plan = search.plan_of(found, planned, inputs)
    return PlannedFleet(fleet=fleet, plan=plan, members=tuple(planned))


def check_fleet_budget(planned: PlannedFleet) -> None:
    """Raises CheckFailedError when the plans cost more together than the fleet's budget."""
    budget, plan = planned.fleet.budget or Budget(), planned.plan
    for key, unit, cost, limit in (
        ("usd_per_hour", "hour", plan.usd_per_hour, budget.usd_per_hour),
        ("usd_per_month", "month", usd_per_month(plan.mean_usd_per_hour), budget.usd_per_month),
    ):
        if limit is not None and cost > limit * (1 + _SAME):
            raise CheckFailedError(
                f"the fleet costs USD {cost:.4f} per {unit} with overhead, over fleet.budget.{key} {limit:.12g}; raise "
                "the budget, or write `objective: most_traffic` and who may yield: `priority`, `min_fraction`"
            )


def _members(  # noqa: PLR0913, PLR0917 - as of `plan_fleet`
    fleet: Fleet,
    path: Path,
    book_of: Callable[[Workload], PriceBook],
    simulator: Simulator | None,
    config_of: ConfigOf | None,
    tell: Tell | None,
    enabled: Collection[str] | None,
) -> tuple[Prepared, ...]:
    """The workloads, each with what there is to choose from. Raises InputError with the mistakes of all their files."""
    mistakes: list[Mistake] = []
    workloads: list[tuple[Path, str, Workload]] = []
    for member in fleet.members:
        file = path.parent / member.file
        try:
            text = file_text(file)
            if is_fleet(file, text):
                message = f"is a fleet, and no workload: list its workloads in {path} instead"
                raise InputError([Mistake(source=str(file), message=message)])
            workload = read(file, text=text, config_of=config_of, tell=tell, enabled=enabled)
        except InputError as error:
            mistakes += error.mistakes or [Mistake(source=str(file), message=str(error))]
            continue
        if workload.objective is Objective.MOST_TRAFFIC:
            message = "most_traffic is the fleet's to ask for: leave it out here, and write it in the fleet's file"
            mistakes.append(Mistake(source=str(file), key="objective", message=message))
        if fleet.objective is Objective.MOST_TRAFFIC and workload.traffic.hours is not None:
            message = "the fleet's objective: most_traffic plans for one rate: leave out traffic.hours"
            mistakes.append(Mistake(source=str(file), key="traffic.hours", message=message))
        workloads.append((file, text, workload))
    for name, count in Counter(workload.name for _, _, workload in workloads).items():
        if count > 1:
            files = " and ".join(str(file) for file, _, workload in workloads if workload.name == name)
            message = f"{files} are both called {name!r}; services of one name would replace each other"
            mistakes.append(Mistake(source=str(path), key="fleet.workloads", message=message))
    if mistakes:
        raise InputError(mistakes)
    books: dict[object, PriceBook] = {}
    ready = []
    for file, text, workload in workloads:
        key = repr((workload.prices, workload.candidates.clouds))
        book = books[key] = books[key] if key in books else book_of(workload)
        chosen = workload
        with _named(workload.name):
            if workload.model.dtypes[1:]:
                found = plan_file(
                    file,
                    book_of=lambda _, book=book: book,  # type: ignore[misc]
                    simulator=simulator,
                    config_of=config_of,
                    enabled=enabled,
                )
                dtype = found.workload.model.dtype
                chosen = read(file, text=text, config_of=config_of, dtype=dtype, enabled=enabled)
            ready.append(prepared_file(file, text, chosen, book, is_simulated=simulator is not None))
    return tuple(ready)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Says of which workload an error is."""
    try:
        yield
    except (InfeasibleError, MissingDataError, NotOptimalError) as error:
        raise type(error)(f"{name}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A workload with its answer in the fleet, and alone. `ready` is at the traffic that is served."""

    ready: Prepared
    answer: Answer
    alone: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The answers, in the order of the fleet. `solution` None: nothing that is shared was short."""

    members: tuple[_Member, ...]
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
class _Fleet:
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
            with _named(ready.workload.name):
                self.alone[k, fraction] = answered(ready, self.simulator)
        return self.alone[k, fraction]

    def least_cost(self) -> _Found:
        """All traffic at the least cost."""
        return self.together((1.0,) * len(self.ready))

    def together(self, fractions: tuple[float, ...]) -> _Found:
        """These fractions of the traffic at the least cost."""
        ready = [self.ready_at(k, fraction) for k, fraction in enumerate(fractions)]
        alone = [self.alone_at(k, fraction) for k, fraction in enumerate(fractions)]
        shared = _shared(self.fleet, ready)
        counts = [answer.optimum.solution.counts for answer in alone]
        if all(sum(limit.used_by(k, each) for k, each in enumerate(counts)) <= limit.limit for limit in shared):
            members = tuple(
                _Member(ready=each, answer=answer, alone=answer) for each, answer in zip(ready, alone, strict=True)
            )
            return _Found(members=members, fractions=fractions, shared=shared, solution=None)
        answers, solution = Coupled.of(ready, alone, shared, self.settings, self.simulator).answers()
        members = tuple(
            _Member(ready=each, answer=answer, alone=single)
            for each, answer, single in zip(ready, answers, alone, strict=True)
        )
        return _Found(members=members, fractions=fractions, shared=shared, solution=solution)

    def most_traffic(self) -> _Found:
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

    def within_budget(self, least: _Found, fractions: Sequence[float], budget: float) -> _Found:
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

    def paid(self, found: _Found) -> float:
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

    def shared_of(self, overheads: Sequence[Sequence[Overhead]], found: _Found) -> tuple[float, tuple[str, ...]]:
        """(USD per hour of controllers that the plans count and the fleet does not start, warnings)."""
        serving = [k for k, member in enumerate(found.members) if member.ready.workload.launch.mode is LaunchMode.SERVE]
        machines = [each for k in serving for each in overheads[k] if each.purpose == CONTROLLER_PURPOSE]
        prices = [each.price_usd_per_hour for each in machines]
        if None in prices:
            return 0.0, ("The price of SkyServe's controller is not known: it is not in the total.",)
        services = sum(len(found.members[k].answer.optimum.groups) for k in serving)
        return self.saved([price for price in prices if price is not None], services), ()

    def plan_of(self, found: _Found, planned: Sequence[Planned], inputs: FleetInputs) -> FleetPlan:
        """The fleet's own plan."""
        plans = [each.plan for each in planned]
        shared_usd, warnings = self.shared_of([plan.overhead for plan in plans], found)
        total = math.fsum(plan.cost.total_usd_per_hour for plan in plans) - shared_usd
        solution = found.solution
        gaps = [plan.mip_gap for plan in plans]
        status = solution.status if solution is not None else "optimal"
        gap: float | None = solution.mip_gap if solution is not None else 0.0
        if solution is None and any(plan.status != "optimal" for plan in plans):
            status = "feasible"
            known = [
                each * plan.cost.total_usd_per_hour for each, plan in zip(gaps, plans, strict=True) if each is not None
            ]
            gap = math.fsum(known) / total if len(known) == len(gaps) and total else None
        worth = (0.0,) * len(found.shared) if solution is None else solution.worth_usd_per_hour
        counts = [member.answer.optimum.solution.counts for member in found.members]
        _verify(self.fleet, self.ready, plans)
        return FleetPlan(
            name=self.fleet.name,
            objective=self.fleet.objective,
            status=status,
            mip_gap=gap,
            members=tuple(
                MemberPlan(
                    name=plan.name,
                    workload_file=member.file,
                    priority=member.priority,
                    min_fraction=member.min_fraction,
                    served_fraction=fraction,
                    usd_per_hour=plan.cost.total_usd_per_hour,
                    mean_usd_per_hour=plan.mean_usd_per_hour,
                    alone_usd_per_hour=each.alone.optimum.cost.total_usd_per_hour,
                )
                for plan, member, fraction, each in zip(
                    plans, self.fleet.members, found.fractions, found.members, strict=True
                )
            ),
            shared=tuple(
                SharedUse(
                    name=limit.name,
                    limit=limit.limit,
                    used=tuple(limit.used_by(k, each) for k, each in enumerate(counts)),
                    worth_usd_per_hour=each_worth,
                )
                for limit, each_worth in zip(found.shared, worth, strict=True)
            ),
            usd_per_hour=total,
            mean_usd_per_hour=math.fsum(plan.mean_usd_per_hour for plan in plans) - shared_usd,
            shared_usd_per_hour=shared_usd,
            constraints=self.fleet.constraints,
            inputs=inputs,
            budget=self.fleet.budget,
            warnings=warnings,
            priorities=found.priorities,
            needed_usd_per_hour=found.needed_usd_per_hour,
        )


def _shared(fleet: Fleet, ready: Sequence[Prepared]) -> tuple[SharedLimit, ...]:
    models = [each.model for each in ready]
    return shared_limits(fleet.constraints, [model.problem for model in models], [model.candidates for model in models])


def _rounded(fraction: float) -> float:
    """A plan is not made for 0.4118309417 of the traffic."""
    return math.floor(fraction * 1e4 + 1e-6) / 1e4


def _told(planned: Planned, member: _Member, fraction: float) -> Planned:
    """The plan says that it is part of a fleet, where that changed it."""
    plan, alone = replace(planned.plan, served_fraction=fraction), member.alone.optimum.cost.total_usd_per_hour
    if member.answer is member.alone:
        return replace(planned, plan=plan)
    said = (
        f"Part of a fleet: the cheapest within what the other workloads leave of what they share. Alone it would cost "
        f"USD {alone:.2f} per hour."
    )
    return replace(planned, plan=replace(plan, assumptions=(said, *plan.assumptions)))


def _located(planned: Planned, path: Path, member: FleetMember, folder: Path | None) -> Planned:
    """The plan knows the way to its workload from where it is to lie."""
    if folder is None:
        return planned
    way = relative_path(path.parent / member.file, folder / planned.plan.name)
    return replace(planned, plan=replace(planned.plan, inputs=replace(planned.plan.inputs, workload_file=way)))


def _verify(fleet: Fleet, ready: Sequence[Prepared], plans: Sequence[Plan]) -> None:
    from sky_melange.optimizer.verify_fleet import fleet_violations

    vcpus = {
        offer.machine: offer.vcpus for each in ready for offer in each.book.offers if fleet.constraints.max_vcpus_in
    }
    own = [gpus for each in ready for gpus in each.workload.candidates.own]
    violations = list(fleet_violations(plans, fleet.constraints, vcpus, own))
    if violations:
        listed = "\n".join(f"  {violation}" for violation in violations)
        raise SkyMelangeError(f"the fleet failed its own verification and was discarded; please report this:\n{listed}")
