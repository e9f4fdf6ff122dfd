"""A workload, prices and profiles -> a verified plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.commitments import BoughtFleet, fleet_of, weighed
from sky_melange.domain.emissions import emissions
from sky_melange.domain.explanation import Explanation
from sky_melange.domain.hosted import hosted_api
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import InputDigests, Plan
from sky_melange.domain.profile import Profile
from sky_melange.domain.units import usd_per_month
from sky_melange.domain.workload import Budget, Formulation, Objective, Workload
from sky_melange.errors import (
    CheckFailedError,
    InfeasibleError,
    InputError,
    MissingDataError,
    NotOptimalError,
    SkyMelangeError,
)
from sky_melange.optimizer import Model, Optimum, ProfileCapacities
from sky_melange.optimizer.remarks import (
    assumptions,
    budget_warnings,
    clock_assumptions,
    commitment_warnings,
    search_warnings,
    warnings,
)
from sky_melange.optimizer.verify import verify
from sky_melange.optimizer.why.not_believed import missed, missed_warnings
from sky_melange.pipeline.answering import Answer, answer_of, check_size, modelled
from sky_melange.pipeline.digests import digest_of, relative_path, workload_digest
from sky_melange.pipeline.missing import idle_own, missing_clouds, unsold_regions
from sky_melange.pipeline.precisions import cheapest_precision
from sky_melange.pipeline.profiling import (
    capacities_of,
    launched_groups,
    no_profile,
    planned_sizes,
    profiles_digest,
    profiles_for,
    trusted_profiles,
)
from sky_melange.pipeline.reading import ConfigOf, Tell, embedded_book, read
from sky_melange.prices.own import with_own_gpus
from sky_melange.prices.records import spot_swings
from sky_melange.profiles import (
    Selection,
    beyond_laws,
    elsewhere_measured,
    profile_assumptions,
    profile_remarks,
    select,
    unprofiled,
)
from sky_melange.profiles.loading import loading_warnings
from sky_melange.resources import board_watts, cloud_features, grid_of, hosted_prices
from sky_melange.workload_file import file_text

if TYPE_CHECKING:
    from sky_melange.pipeline.simulator import Simulator
    from sky_melange.traces.request_log import RequestLog

_EXPLAINED_FLEET: Final = "The explanation is of the fleet that runs around the clock, not of the schedule."


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A verified plan with what it was made from. `rejected` counts the offers that were no candidates."""

    workload: Workload
    plan: Plan
    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]


def plan_file(  # noqa: PLR0913 - what a caller may choose
    path: Path,
    *,
    formulation: Formulation | None = None,
    objective: Objective | None = None,
    is_explained: bool = False,
    book_of: Callable[[Workload], PriceBook] = embedded_book,
    folder: Path | None = None,
    simulator: Simulator | None = None,
    config_of: ConfigOf | None = None,
    tell: Tell | None = None,
    enabled: Collection[str] | None = None,
) -> Planned:
    """Plans a workload file; `formulation` and `objective` override the file's.

    `book_of` gives the prices for the workload as read: the clock and the network are the caller's. `folder` is where
    the plan is to lie, which finds its workload from there; None: nowhere. `simulator` finds out which plans hold
    `slo.attainment`; None: nothing is simulated. `config_of` finds the config.json of a model's page.
    `tell` gets what the file says that is not read as it is spelled. `enabled`: see `read`.
    """
    text = file_text(path)
    workload = _overridden(
        read(path, text=text, config_of=config_of, tell=tell, enabled=enabled), formulation, objective
    )
    book = book_of(workload)

    def at(workload: Workload) -> Planned:
        ready = prepared_file(path, text, workload, book, is_simulated=simulator is not None)
        return whole_plan(ready, answered(ready, simulator), is_explained=is_explained, simulator=simulator)

    others = [
        _overridden(read(path, text=text, config_of=config_of, dtype=dtype, enabled=enabled), formulation, objective)
        for dtype in workload.model.dtypes[1:]
    ]
    planned = cheapest_precision([workload, *others], at) if others else at(workload)
    if folder is None:
        return planned
    inputs = replace(planned.plan.inputs, workload_file=relative_path(path, folder))
    return replace(planned, plan=replace(planned.plan, inputs=inputs))


def prepared_file(path: Path, text: str, workload: Workload, book: PriceBook, *, is_simulated: bool) -> Prepared:
    """`prepared` of a workload as it was read from the text of its file."""
    log = None
    if is_simulated and workload.slo.attainment is not None:
        from sky_melange.pipeline.simulating import arrivals_log

        log = arrivals_log(workload, path, text)
    profiles = profiles_for(workload, book, path.parent)
    return prepared(workload, book, profiles, workload_digest=workload_digest(path, text), log=log)


def _overridden(workload: Workload, formulation: Formulation | None, objective: Objective | None) -> Workload:
    """The workload with another formulation or objective; what the file's own checks ask of them holds here too."""
    solver = replace(workload.solver, formulation=formulation or workload.solver.formulation)
    workload = replace(workload, solver=solver, objective=objective or workload.objective)
    if workload.objective is Objective.MOST_TRAFFIC:
        if workload.budget is None:
            raise InputError("--objective most_traffic needs a budget in the workload: `budget: {usd_per_hour: 40}`")
        if solver.formulation is Formulation.SLICED:
            raise InputError("the most traffic is not sought in slices; leave out --formulation sliced")
    return workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A workload with what there is to choose from, before anything is chosen. `log`: the requests to replay."""

    workload: Workload
    workload_digest: str
    book: PriceBook
    profiles: tuple[Profile, ...]
    kept: tuple[Profile, ...]
    selection: Selection
    remarks: tuple[str, ...]
    """Of what was left out before there was a choice."""

    able: tuple[ProfileCapacities, ...]
    """What the selected profiles sustain."""
    model: Model
    log: RequestLog | None


def make_plan(  # noqa: PLR0913 - what a plan is made of
    workload: Workload,
    book: PriceBook,
    profiles: Sequence[Profile],
    *,
    workload_digest: str,
    is_explained: bool = False,
    simulator: Simulator | None = None,
    log: RequestLog | None = None,
) -> Planned:
    """The cheapest plan, verified; `is_explained`: with the reasons for it, which take many more solves.

    Where the workload asks for an attainment, the cheapest found that holds it in simulation; `log`: the requests that
    are replayed there. Without `simulator` replicas are loaded to at most NOT_SIMULATED then.

    Raises MissingDataError when there is no profile or no offer to choose from, InfeasibleError when no plan exists or
    it is larger than a plan file may say, NotOptimalError when the time limit passes before any plan is found.
    """
    ready = prepared(workload, book, profiles, workload_digest=workload_digest, log=log)
    return whole_plan(ready, answered(ready, simulator), is_explained=is_explained, simulator=simulator)


def prepared(
    workload: Workload,
    book: PriceBook,
    profiles: Sequence[Profile],
    *,
    workload_digest: str,
    log: RequestLog | None = None,
) -> Prepared:
    """The first third of `make_plan`."""
    if not profiles:
        raise no_profile(workload)
    book = with_own_gpus(book, workload.candidates.own)
    kept, refused = trusted_profiles(workload, profiles)
    selection = select(kept, planned_sizes(workload), extrapolate=workload.profiles.extrapolate)
    unsold = unsold_regions(workload.candidates.regions, book)
    remarks = (*refused, *unsold, *idle_own(workload, selection.profiles))
    with _told(remarks):
        able = tuple(capacities_of(workload, selection.profiles))
        model = modelled(workload, book, selection.profiles, able)
    return Prepared(
        workload=workload,
        workload_digest=workload_digest,
        book=book,
        profiles=tuple(profiles),
        kept=tuple(kept),
        selection=selection,
        remarks=remarks,
        able=able,
        model=model,
        log=log,
    )


def answered(ready: Prepared, simulator: Simulator | None) -> Answer:
    """The second third: what to launch."""
    with _told(ready.remarks):
        return answer_of(ready.model, simulator, ready.log)


@contextmanager
def _told(reasons: Sequence[str]) -> Iterator[None]:
    """Adds to an error what may be behind it."""
    try:
        yield
    except (InfeasibleError, MissingDataError) as error:
        if not reasons:
            raise
        raise type(error)("\n".join([str(error), *(f"  {sentence}" for sentence in reasons)])) from error


def whole_plan(ready: Prepared, answer: Answer, *, is_explained: bool = False, simulator: Simulator | None) -> Planned:
    """The last third: the whole plan, verified."""
    workload, book, log, selection = ready.workload, ready.book, ready.log, ready.selection
    sizes = planned_sizes(workload)
    optimum, simulated, scheduled = answer.optimum, answer.simulated, answer.scheduled
    overhead, cost = optimum.overhead, optimum.cost
    groups = launched_groups(optimum.groups, workload.model)
    check_size(groups)
    status, gap = (optimum.solution.status, optimum.solution.mip_gap)
    schedule = None
    if scheduled is not None:
        status, gap = scheduled.status, scheduled.mip_gap
        schedule = scheduled.schedule(overhead, answer.fixed.cost.total_usd_per_hour)
    wanted, workload = workload, optimum.model.workload
    used = {name: candidate.profile for name, candidate in optimum.assembled.candidates.items()}
    plan = Plan(
        name=workload.name,
        status=status,
        mip_gap=gap if math.isfinite(gap) else None,
        cost=cost,
        groups=groups,
        overhead=overhead,
        policy=workload.routing,
        routing=optimum.assembled.routing,
        alternatives=optimum.alternatives,
        assumptions=(
            *assumptions(workload, None if simulated is None else simulated.arrivals),
            *clock_assumptions(workload, schedule),
            *profile_assumptions(workload, used),
            *([_EXPLAINED_FLEET] if is_explained and schedule is not None else []),
            *filter(None, [optimum.passed_over]),
        ),
        warnings=(
            *profile_remarks(used, optimum.assembled.routing, sizes, selection.passed_over),
            *beyond_laws(used, [] if log is None else log.inputs.tolist()),
            *elsewhere_measured(workload, used),
            *unprofiled(workload.candidates.accelerators, ready.profiles, workload.launch.engines),
            *ready.remarks,
            *search_warnings(workload, optimum.solution.ended_by),
            *budget_warnings(workload, groups, cost, schedule),
            *commitment_warnings(workload, book),
            *_not_believed(answer, ready),
            *loading_warnings(workload, selection.profiles, _hosts(optimum)),
            *warnings(workload, groups, overhead, book),
        ),
        inputs=InputDigests(
            workload=ready.workload_digest,
            prices=digest_of(f"{c.offer.name} {c.offer.price_usd_per_hour!r}" for c in optimum.candidates),
            profiles=profiles_digest(selection.profiles),
        ),
        size_aware_total_usd_per_hour=optimum.size_aware_total_usd_per_hour,
        contingencies=optimum.assembled.contingencies,
        switching=optimum.switching,
        explanation=_explained(answer.fixed) if is_explained else None,
        missing_clouds=missing_clouds(workload, book, ready.kept),
        simulated=simulated,
        schedule=schedule,
    )
    if schedule is not None:
        from sky_melange.pipeline.autoscaling import with_clock

        plan = with_clock(plan, answer.fixed.model, workload, used, simulator, log)
    if any(group.committed is not None and group.committed.instances for group in groups):
        never = _never_committing(wanted, book, selection.profiles, simulator, log)
        plan = replace(plan, commitments=weighed(fleet_of(plan), never, spot_swings()))
    _check(plan, workload, optimum)
    plan = replace(
        plan,
        hosted_api=hosted_api(plan, workload, hosted_prices()),
        emissions=emissions(plan, board_watts=board_watts(), grid_of=grid_of),
    )
    return Planned(workload=workload, plan=plan, candidates=optimum.candidates, rejected=optimum.rejected)


def _never_committing(
    workload: Workload,
    book: PriceBook,
    profiles: Sequence[Profile],
    simulator: Simulator | None,
    log: RequestLog | None,
) -> BoughtFleet | None:
    """The cheapest fleet found when nothing is bought for a term, by the clock; None: there is none.

    Next to an autoscaled plan that is a comparison that favours it: by the clock it costs less.
    """
    by_the_hour = replace(workload, candidates=workload.candidates.without_commitments())
    try:
        answer = answer_of(modelled(by_the_hour, book, profiles), simulator, log)
    except (InfeasibleError, MissingDataError, NotOptimalError):
        return None
    optimum, schedule = answer.optimum, None
    if answer.scheduled is not None:
        schedule = answer.scheduled.schedule(optimum.overhead, answer.fixed.cost.total_usd_per_hour)
    return BoughtFleet(
        groups=optimum.groups, schedule=schedule, overhead_usd_per_hour=optimum.cost.overhead_usd_per_hour
    )


def _not_believed(answer: Answer, ready: Prepared) -> Iterator[str]:
    model = answer.fixed.model
    is_same = model.workload is ready.workload
    able = ready.able if is_same else capacities_of(model.workload, ready.selection.profiles)
    usd_per_hour = answer.fixed.cost.total_usd_per_hour
    found = missed(model, usd_per_hour, ready.book.quarantined, able, cloud_features())
    return missed_warnings(found, "the plan" if answer.scheduled is None else "the fleet around the clock")


def _hosts(optimum: Optimum) -> dict[str, tuple[int, float | None]]:
    offers = {name: candidate.offer for name, candidate in optimum.assembled.candidates.items()}
    return {name: (offer.accelerators_per_instance, offer.memory_gib) for name, offer in offers.items()}


def _explained(optimum: Optimum) -> Explanation:
    from sky_melange.optimizer.why.explain import explain

    return explain(optimum)


def _check(plan: Plan, workload: Workload, optimum: Optimum) -> None:
    capacities = {
        name: (*candidate.capacities, *candidate.strays) for name, candidate in optimum.assembled.candidates.items()
    }
    violations = verify(plan, workload, capacities)
    if violations:
        listed = "\n".join(f"  {violation}" for violation in violations)
        raise SkyMelangeError(f"the plan failed its own verification and was discarded; please report this:\n{listed}")


def check_budget(planned: Planned) -> None:
    """Raises CheckFailedError when the plan, the cheapest there is, costs more than the workload's budget."""
    budget = planned.workload.budget or Budget()
    total = planned.plan.cost.total_usd_per_hour
    advice = "raise the budget, loosen slo, or allow more candidates"
    is_fixed = planned.plan.schedule is None
    for key, unit, cost, limit in (
        ("usd_per_hour", "hour" if is_fixed else "busiest hour", total, budget.usd_per_hour),
        ("usd_per_month", "month", usd_per_month(planned.plan.mean_usd_per_hour), budget.usd_per_month),
    ):
        if limit is not None and cost > limit * (1 + 1e-9):
            raise CheckFailedError(
                f"the cheapest plan costs USD {cost:.4f} per {unit} with overhead, over budget.{key} {limit:.12g}; "
                f"{advice}"
            )
