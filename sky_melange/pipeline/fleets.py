"""A fleet, prices and profiles -> a verified plan of each workload, and what they share.

Each workload is planned alone first. Where the plans then ask more of something shared than there is, complete plans
are chosen together (`optimizer/solve/fleet.py`), simulated one by one, and chosen again with what that has taught.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sky_melange.domain.fleet import (
    Fleet,
    FleetInputs,
    FleetMember,
    FleetPlan,
    MemberPlan,
    SharedMachine,
    SharedUse,
    machine_place,
    place_shares,
)
from sky_melange.domain.front_door import served_names
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Plan
from sky_melange.domain.router import RouterKind
from sky_melange.domain.units import usd_per_month
from sky_melange.domain.workload import Budget, Objective, Workload
from sky_melange.errors import (
    CheckFailedError,
    InputError,
    Mistake,
    SkyMelangeError,
)
from sky_melange.pipeline.digests import relative_path, workload_digest
from sky_melange.pipeline.dividing import hindrance, shared_machines
from sky_melange.pipeline.fleet_search import (
    FleetSearch,
    Found,
    Member,
    mean_usd_per_hour,
    named,
    shared_usd,
    with_one_controller,
)
from sky_melange.pipeline.planning import Planned, Prepared, check_budget, plan_file, prepared_file, whole_plan
from sky_melange.pipeline.reading import ConfigOf, Tell, embedded_book, read
from sky_melange.prices import embedded_regions, known_accelerators, plannable_clouds
from sky_melange.render.router_names import MODEL_ID
from sky_melange.workload_file import file_text, is_fleet, read_fleet

if TYPE_CHECKING:
    from sky_melange.pipeline.simulator import Simulator

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
    fleet = read_fleet(
        path,
        text=text,
        known_accelerators=known_accelerators(),
        known_clouds=plannable_clouds(),
        known_regions=embedded_regions,
        tell=tell,
    )
    ready = _members(fleet, path, book_of, simulator, config_of, tell, enabled)
    services = len(ready)
    while True:
        with_one, most = with_one_controller(ready, services)
        search = FleetSearch(fleet=fleet, ready=with_one, simulator=simulator)
        found = search.least_cost() if fleet.objective is Objective.LEAST_COST else search.most_traffic()
        services = sum(
            len(member.answer.optimum.groups) for member in found.members if member.ready.model.machines.controllers
        )
        if services <= most:
            break
    losses = fleet.constraints.tolerated_losses
    planned = [
        _located(_told(plan, member, part, losses), path, each, folder)
        for member, each, part in zip(found.members, fleet.members, found.fractions, strict=True)
        for plan in [whole_plan(member.ready, member.answer, simulator=simulator)]
    ]
    inputs = FleetInputs(
        fleet_file=None if folder is None else relative_path(path, folder), fleet_sha256=workload_digest(path, text)
    )
    plan = _plan_of(search, found, planned, inputs)
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


def check_budgets(planned: PlannedFleet) -> None:
    """The budget of the fleet, and of each workload that has one. Raises CheckFailedError."""
    for member in planned.members:
        try:
            check_budget(member)
        except CheckFailedError as error:
            raise CheckFailedError(f"{member.plan.name}: {error}") from error
    check_fleet_budget(planned)


_ONE_SIZE: Final = "workloads of a fleet have the same sizes in all hours: plan this one by itself, or leave them out"


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
        workloads.append((file, text, _in_fleet(workload, fleet)))
    mistakes += [
        Mistake(source=str(file), key="traffic.hours.sizes", message=_ONE_SIZE)
        for file, _, workload in workloads
        if workload.traffic.size_sets
    ]
    if fleet.one_router:
        mistakes += router_mistakes(path, [(file, workload) for file, _, workload in workloads])
    for name, count in Counter(workload.name for _, _, workload in workloads).items():
        if count > 1:
            files = " and ".join(str(file) for file, _, workload in workloads if workload.name == name)
            message = f"{files} are both called {name!r}; services of one name would replace each other"
            mistakes.append(Mistake(source=str(path), key="fleet.workloads", message=message))
    if len({workload.solver.formulation for _, _, workload in workloads}) > 1:
        message = "some workloads have solver.formulation: sliced and some exact; write the same in all"
        mistakes.append(Mistake(source=str(path), key="fleet.workloads", message=message))
    if mistakes:
        raise InputError(mistakes)
    books: dict[object, PriceBook] = {}
    ready = []
    for file, text, workload in workloads:
        key = repr((workload.prices, workload.candidates.clouds))
        book = books[key] = books[key] if key in books else book_of(workload)
        chosen = workload
        with named(workload.name):
            if workload.model.dtypes[1:]:
                found = plan_file(
                    file,
                    book_of=lambda _, book=book: book,  # type: ignore[misc]
                    simulator=simulator,
                    config_of=config_of,
                    enabled=enabled,
                )
                dtype = found.workload.model.dtype
                chosen = _in_fleet(read(file, text=text, config_of=config_of, dtype=dtype, enabled=enabled), fleet)
            ready.append(prepared_file(file, text, chosen, book, is_simulated=simulator is not None))
    return tuple(ready)


def _in_fleet(workload: Workload, fleet: Fleet) -> Workload:
    """With the fleet's router, and its losses: any instances that it loses may all be of one workload."""
    losses = max(workload.constraints.tolerate_replica_losses, fleet.constraints.tolerated_losses)
    return replace(
        workload,
        router=replace(workload.router, of_fleet=fleet.one_router),
        constraints=replace(workload.constraints, tolerate_replica_losses=losses),
    )


def router_mistakes(path: Path, workloads: Sequence[tuple[Path, Workload]]) -> Iterator[Mistake]:
    """Why one router cannot serve these workloads."""
    first: dict[str, tuple[Path, object]] = {}
    served: dict[str, Path] = {}
    for file, workload in workloads:
        settings = workload.router
        if workload.name == "router":
            message = "is the name of the folder of the fleet's router (fleet.router: one): choose another"
            yield Mistake(source=str(file), key="name", message=message)
        if settings.kind is RouterKind.NONE:
            message = f"is none, and {path} asks for one router of all (fleet.router): leave it out here"
            yield Mistake(source=str(file), key="router.kind", message=message)
            continue
        for key, value in (("kind", settings.kind), ("port", settings.port)):
            other, wanted = first.setdefault(key, (file, value))
            if value != wanted:
                message = f"is {value}, and {wanted} in {other}: one router serves both, so write the same"
                yield Mistake(source=str(file), key=f"router.{key}", message=message)
        for name in dict.fromkeys((*served_names(workload), *workload.model.checkpoints.values())):
            if not MODEL_ID.fullmatch(name):
                message = (
                    f"{name!r} cannot be told by one router (fleet.router: one), which reads letters, digits and . _ "
                    "- /: serve it by another name (launch.engine_args: --served-model-name)"
                )
                yield Mistake(source=str(file), key="model.id", message=message)
            if name in served:
                message = f"{name!r} is served by {served[name]} too: one router could not tell which is meant"
                yield Mistake(source=str(file), key="model.id", message=f"{message}; serve it by one workload")
            served.setdefault(name, file)


def _told(planned: Planned, member: Member, fraction: float, losses: int) -> Planned:
    """The plan says that it is part of a fleet, where that changed it."""
    plan = replace(planned.plan, served_fraction=fraction, fleet_losses=losses)
    alone = mean_usd_per_hour(member.alone)
    if member.answer is member.alone:
        return replace(planned, plan=plan)
    said = (
        f"Part of a fleet: the cheapest within what the other workloads leave of what they share. Alone it would cost "
        f"USD {alone:.2f} per hour."
    )
    shared = tuple(
        f"{group.name} has {group.gpus_text} GPUs of a machine that the fleet shares: its price is its part of those "
        "in use, and grows where another workload leaves."
        for group in plan.groups
        if group.part is not None
    )
    return replace(planned, plan=replace(plan, assumptions=(said, *shared, *plan.assumptions)))


def _located(planned: Planned, path: Path, member: FleetMember, folder: Path | None) -> Planned:
    """The plan knows the way to its workload from where it is to lie."""
    if folder is None:
        return planned
    way = relative_path(path.parent / member.file, folder / planned.plan.name)
    return replace(planned, plan=replace(planned.plan, inputs=replace(planned.plan.inputs, workload_file=way)))


def _verify(
    fleet: Fleet,
    ready: Sequence[Prepared],
    plans: Sequence[Plan],
    vcpus: Mapping[str, float],
    machines: Sequence[SharedMachine],
    alone_usd_per_hour: Sequence[float],
) -> None:
    from sky_melange.optimizer.verify_fleet import fleet_violations

    own = [gpus for each in ready for gpus in each.workload.candidates.own]
    violations = list(fleet_violations(plans, fleet.constraints, vcpus, own, machines, alone_usd_per_hour))
    if violations:
        listed = "\n".join(f"  {violation}" for violation in violations)
        raise SkyMelangeError(f"the fleet failed its own verification and was discarded; please report this:\n{listed}")


def _unshared(search: FleetSearch) -> list[str]:
    """Which workloads share no machine although the fleet may, and why."""
    whys = (
        {each.workload.name: hindrance(each.workload) for each in search.ready} if search.fleet.share_machines else {}
    )
    return [f"{name} shares no machine: {why}." for name, why in whys.items() if why is not None]


def _plan_of(search: FleetSearch, found: Found, planned: Sequence[Planned], inputs: FleetInputs) -> FleetPlan:
    """The fleet's own plan."""
    plans = [each.plan for each in planned]
    saved = shared_usd([plan.overhead for plan in plans])
    router = search.router(found)
    beside = (0.0 if router is None else router.price_usd_per_hour or 0.0) - saved
    total = math.fsum(plan.cost.total_usd_per_hour for plan in plans) + beside
    warnings = [
        "The price of SkyServe's controller is not known: it is not in the total."
        for plan in plans[:1]
        if any(each.purpose == CONTROLLER_PURPOSE and each.price_usd_per_hour is None for each in plan.overhead)
    ]
    if router is not None and router.price_usd_per_hour is None:
        warnings.append(f"The price of the router's machine is not in the total: {router.note}.")
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
    if solution is not None and any(plan.schedule is not None for plan in plans):
        # What is short was divided by what fleets around the clock cost.
        status, gap = "feasible", None
    worth = (0.0,) * len(found.shared) if solution is None else solution.worth_usd_per_hour
    counts = [member.answer.optimum.solution.counts for member in found.members]
    bought = {machine_place(group.machine) for plan in plans for group in plan.groups}
    vcpus = {
        place: offer.vcpus
        for each in (search.ready if search.fleet.constraints.max_vcpus_in else ())
        for offer in each.book.offers
        if offer.vcpus is not None and (place := machine_place(offer.machine)) in bought
    }
    machines = shared_machines(search.fleet.name, plans, found.machines)
    alone = [mean_usd_per_hour(each.alone) for each in found.members]
    _verify(search.fleet, search.ready, plans, vcpus, machines, alone)
    warnings += _unshared(search)
    idle = solution.idle_uses if solution is not None else (0,) * len(found.shared)
    return FleetPlan(
        name=search.fleet.name,
        objective=search.fleet.objective,
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
                alone_usd_per_hour=cost,
            )
            for plan, member, fraction, cost in zip(plans, search.fleet.members, found.fractions, alone, strict=True)
        ),
        shared=tuple(
            SharedUse(
                name=limit.name,
                limit=limit.limit,
                used=tuple(limit.used_by(k, each) for k, each in enumerate(counts)),
                worth_usd_per_hour=each_worth,
                idle=unused,
            )
            for limit, each_worth, unused in zip(found.shared, worth, idle, strict=True)
        ),
        usd_per_hour=total,
        mean_usd_per_hour=math.fsum(plan.mean_usd_per_hour for plan in plans) + beside,
        shared_usd_per_hour=saved,
        constraints=search.fleet.constraints,
        inputs=inputs,
        budget=search.fleet.budget,
        warnings=tuple(warnings),
        priorities=found.priorities,
        vcpus=dict(sorted(vcpus.items())),
        machines=machines,
        needed_usd_per_hour=found.needed_usd_per_hour,
        places=tuple(place_shares(plans, search.fleet.constraints, alone)),
        router_machine=router,
    )
