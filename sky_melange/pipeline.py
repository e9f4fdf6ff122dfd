"""The composition root: read -> model -> solve -> verify. Rendering and writing are the caller's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.explanation import Explanation
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import InputDigests, Plan, ReplicaGroup
from sky_melange.domain.profile import Profile
from sky_melange.domain.units import usd_per_month
from sky_melange.domain.workload import (
    Budget,
    Formulation,
    Objective,
    RunningGroup,
    SolverSettings,
    Workload,
)
from sky_melange.errors import (
    CheckFailedError,
    InfeasibleError,
    InputError,
    MissingDataError,
    NotOptimalError,
    SkyMelangeError,
)
from sky_melange.optimizer import (
    Model,
    Optimum,
    Problem,
    ProfileCapacities,
    Surroundings,
    build_model,
    check_servable,
    context_limited,
    solve_problem,
)
from sky_melange.optimizer.remarks import assumptions, budget_warnings, warnings
from sky_melange.optimizer.verify import verify
from sky_melange.optimizer.whole import cheapest_whole
from sky_melange.plan_file import MAX_INSTANCES, read_plan
from sky_melange.prices import known_accelerators, launchable_clouds, load_snapshot
from sky_melange.profiles import (
    known_models,
    load_profiles,
    max_capacity,
    profile_assumptions,
    profile_remarks,
    read_profiles,
    refusals,
    select,
    trusted,
    unprofiled,
)
from sky_melange.resources import cloud_features
from sky_melange.traces import preset_names, resolve_traffic
from sky_melange.workload_file import MelangeInput, read_melange, read_workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A verified plan with what it was made from. `rejected` counts the offers that were no candidates."""

    workload: Workload
    plan: Plan
    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]


def read(path: Path) -> Workload:
    """Reads a workload file, its names of accelerators and clouds checked, and its context limit filled in."""
    workload = read_workload(
        path,
        known_accelerators=known_accelerators(),
        known_clouds=launchable_clouds(),
        known_presets=preset_names(),
        trace_traffic=lambda reference: resolve_traffic(reference, path.parent),
    )
    if workload.prices.overrides is not None:
        # Like every path in a workload file it is relative to the file.
        own = replace(workload.prices, overrides=path.parent / workload.prices.overrides)
        workload = replace(workload, prices=own)
    workload = _with_running_groups(workload, path.parent)
    if workload.model.max_model_len is not None:
        return workload
    grid = workload.traffic.grid
    longest = grid.input_edges[-1] + grid.output_edges[-1]
    return replace(workload, model=replace(workload.model, max_model_len=longest))


def _with_running_groups(workload: Workload, folder: Path) -> Workload:
    """Reads the plan that `constraints.keep` names. Raises InputError when there is none, or it is no plan."""
    keep = workload.constraints.keep
    if keep is None:
        return workload
    document = read_plan(folder / keep.plan)
    groups = tuple(
        RunningGroup(**{field.name: getattr(group, field.name) for field in fields(RunningGroup)})
        for group in document.plan.groups
    )
    return replace(workload, constraints=replace(workload.constraints, keep=replace(keep, groups=groups)))


def embedded_book(workload: Workload) -> PriceBook:
    """The prices that ship with this release, for a workload."""
    return load_snapshot(trust=workload.prices.trust)


def plan_file(
    path: Path,
    *,
    formulation: Formulation | None = None,
    objective: Objective | None = None,
    is_explained: bool = False,
    book_of: Callable[[Workload], PriceBook] = embedded_book,
) -> Planned:
    """Plans a workload file; `formulation` and `objective` override the file's.

    `book_of` gives the prices for the workload as read: the clock and the network are the caller's.
    """
    workload = _overridden(read(path), formulation, objective)
    book = book_of(workload)
    profiles = profiles_for(workload, book, path.parent)
    digest = workload_digest(path, workload)
    return make_plan(workload, book, profiles, workload_digest=digest, is_explained=is_explained)


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


def profiles_for(workload: Workload, book: PriceBook, folder: Path) -> tuple[Profile, ...]:
    """Bundled profiles, the workload's own files (relative to `folder`), and estimates where it asks for them.

    Only accelerators that are on offer and have no other profile are estimated.
    """
    model, policy, wanted = workload.model, workload.profiles, workload.candidates.accelerators
    found = load_profiles(model.profiled_id, model.dtype, workload.launch.engine, wanted)
    paths = [folder / name for name in policy.files]
    found += read_profiles(paths, model.profiled_id, model.dtype, workload.launch.engine, wanted)
    if policy.estimate:
        from sky_melange.profiles.estimates import estimated_profiles

        known = {profile.key.accelerator for profile in found}
        offered = {offer.accelerator for offer in book.offers if offer.accelerators_per_instance > 0}
        missing = {name for name in offered - known if wanted is None or name in wanted}
        found += estimated_profiles(model.profiled_id, model.dtype, workload.launch.engine, missing)[0]
    return found


def workload_digest(path: Path, workload: Workload) -> str:
    """sha256 of a workload file, of the counts of the log or preset that it names, and of what runs already."""
    counted = repr(workload.traffic).encode() if workload.traffic.is_counted else b""
    kept = b"" if workload.constraints.keep is None else repr(workload.constraints.keep.groups).encode()
    return hashlib.sha256(path.read_bytes() + counted + kept).hexdigest()


def make_plan(
    workload: Workload,
    book: PriceBook,
    profiles: Sequence[Profile],
    *,
    workload_digest: str,
    is_explained: bool = False,
) -> Planned:
    """The cheapest plan, verified; `is_explained`: with the reasons for it, which take many more solves.

    Raises MissingDataError when there is no profile or no offer to choose from, InfeasibleError when no plan exists or
    it is larger than a plan file may say, NotOptimalError when the time limit passes before any plan is found.
    """
    if not profiles:
        raise _no_profile(workload)
    sizes = _planned_sizes(workload)
    kept, refused = _trusted(workload, profiles)
    selection = select(kept, sizes, extrapolate=workload.profiles.extrapolate)
    try:
        whole = cheapest_whole(modelled(workload, book, selection.profiles), book.offers)
    except (InfeasibleError, MissingDataError) as error:
        if not refused:
            raise
        raise type(error)("\n".join([str(error), *(f"  {sentence}" for sentence in refused)])) from error
    optimum, groups, overhead, cost = whole.optimum, whole.groups, whole.overhead, whole.cost
    _check_size(groups)
    workload = optimum.model.workload
    used = {name: candidate.profile for name, candidate in optimum.assembled.candidates.items()}
    plan = Plan(
        name=workload.name,
        status=optimum.solution.status,
        mip_gap=optimum.solution.mip_gap if math.isfinite(optimum.solution.mip_gap) else None,
        cost=cost,
        groups=groups,
        overhead=overhead,
        policy=workload.routing,
        routing=optimum.assembled.routing,
        alternatives=optimum.alternatives,
        assumptions=(
            *assumptions(workload),
            *profile_assumptions(workload),
            *([] if whole.passed_over is None else [whole.passed_over]),
        ),
        warnings=(
            *profile_remarks(used, optimum.assembled.routing, sizes, selection.passed_over),
            *unprofiled(workload.candidates.accelerators, profiles),
            *refused,
            *budget_warnings(workload.budget, cost),
            *warnings(workload, groups, overhead, book),
        ),
        inputs=InputDigests(
            workload=workload_digest,
            prices=_digest(f"{c.offer.name} {c.offer.price_usd_per_hour!r}" for c in optimum.candidates),
            profiles=profiles_digest(selection.profiles),
        ),
        size_aware_usd_per_hour=optimum.size_aware_usd_per_hour,
        contingencies=optimum.assembled.contingencies,
        switching=optimum.switching,
        explanation=_explained(optimum) if is_explained else None,
    )
    _check(plan, workload, optimum)
    return Planned(workload=workload, plan=plan, candidates=optimum.candidates, rejected=optimum.rejected)


def _check_size(groups: Iterable[ReplicaGroup]) -> None:
    """Raises InfeasibleError for a group that no plan file may hold: a rate in the wrong unit, not a fleet."""
    largest = max(groups, key=lambda group: group.instances)
    if largest.instances > MAX_INSTANCES:
        raise InfeasibleError(
            f"the plan needs {largest.instances:,} instances of {largest.instance_type}, and a group holds at most "
            f"{MAX_INSTANCES:,}: is traffic.request_rate in requests per second?"
        )


def _trusted(workload: Workload, profiles: Sequence[Profile]) -> tuple[tuple[Profile, ...], tuple[str, ...]]:
    """The profiles that `constraints.min_profile_kind` lets through, and sentences about what it refuses.

    Raises MissingDataError with the kinds that there are when none is left.
    """
    weakest = workload.constraints.min_profile_kind
    found = trusted(profiles, weakest)
    refused = tuple(refusals(found, weakest))
    if not found.profiles:
        listed = "\n".join(f"  {sentence}" for sentence in refused)
        raise MissingDataError(f"every profile of {_profiled(workload)} is of too weak a kind:\n{listed}")
    return found.profiles, refused


def _explained(optimum: Optimum) -> Explanation:
    from sky_melange.optimizer.explain import explain

    return explain(optimum)


def modelled(workload: Workload, book: PriceBook, profiles: Sequence[Profile]) -> Model:
    """What there is to choose from. Raises MissingDataError, and InfeasibleError when some bucket has no candidate."""
    doubted = (item.offer for item in book.quarantined)
    model = build_model(workload, book.offers, capacities_of(workload, profiles), cloud_features(), doubted)
    around = Surroundings(
        capacities=lambda changed: capacities_of(changed, profiles),
        offers=book.offers,
        clouds=cloud_features(),
        quarantined=book.quarantined,
    )
    check_servable(model, around)
    return model


def check_budget(planned: Planned) -> None:
    """Raises CheckFailedError when the plan, the cheapest there is, costs more than the workload's budget."""
    budget = planned.workload.budget or Budget()
    total = planned.plan.cost.total_usd_per_hour
    advice = "raise the budget, loosen slo, or allow more candidates"
    for key, unit, cost, limit in (
        ("usd_per_hour", "hour", total, budget.usd_per_hour),
        ("usd_per_month", "month", usd_per_month(total), budget.usd_per_month),
    ):
        if limit is not None and cost > limit * (1 + 1e-9):
            raise CheckFailedError(
                f"the cheapest plan costs USD {cost:.4f} per {unit} with overhead, over budget.{key} {limit:.12g}; "
                f"{advice}"
            )


def solve_melange(path: Path, settings: SolverSettings, *, require_optimal: bool = False) -> dict[str, int | float]:
    """Solves the released Mélange solver's JSON: instances by GPU name in the file's order, then `cost` (USD/h)."""
    given = read_melange(path)
    if settings.formulation is Formulation.SLICED:
        settings = replace(settings, slices=given.slice_factor)
    solution = solve_problem(_melange_problem(given), settings)
    if require_optimal and solution.status != "optimal":
        raise NotOptimalError(f"the answer is proven to within {solution.mip_gap:.2%} only; raise --time-limit")
    return {**dict(zip(given.gpu_names, solution.counts, strict=True)), "cost": solution.cost_usd_per_hour}


def _melange_problem(given: MelangeInput) -> Problem:
    """Every bucket with traffic is a class of its own; a GPU is fully loaded at its stated rate."""
    cells = [
        (i, j, share * given.total_request_rate)
        for i, row in enumerate(given.workload_distribution)
        for j, share in enumerate(row)
        if share * given.total_request_rate > 0
    ]
    loads = []
    for i, j, rate_rps in cells:
        sustained = [matrix[i][j] for matrix in given.request_rates_rps]
        if all(rate is None for rate in sustained):
            raise InfeasibleError(
                f"no GPU can serve bucket [{i}][{j}]: gpu_info.*.tputs[{i}][{j}] is 0 or null for every GPU"
            )
        loads.append(tuple(None if rate is None else rate_rps / rate for rate in sustained))
    return Problem(loads=tuple(loads), prices=given.cost_usd_per_hour, replicas=(1,) * len(given.gpu_names))


def _no_profile(workload: Workload) -> MissingDataError:
    wanted = workload.candidates.accelerators
    where = "" if wanted is None else f" on any of {', '.join(wanted)}"
    have = "\n".join(f"  {model} ({dtype})" for model, dtype in known_models())
    asked = f"{_profiled(workload)}{where}"
    hint = "" if workload.profiles.estimate else " (profiles: {estimate: true} estimates known models from datasheets)"
    if workload.model.profiled_id not in {model for model, _ in known_models()}:
        hint += " (model.profile_as names the base model of a fine-tune, whose profiles are then used)"
    return MissingDataError(f"there is no throughput profile of {asked}{hint}; there are profiles of\n{have}")


def _profiled(workload: Workload) -> str:
    return f"{workload.model.profiled_id} ({workload.model.dtype})"


def capacities_of(workload: Workload, profiles: Iterable[Profile]) -> list[ProfileCapacities]:
    """What one replica of each profile sustains on each bucket; layouts that cannot hold the context are left out."""
    buckets = workload.traffic.buckets()
    max_model_len = workload.model.max_model_len
    found = []
    for profile in profiles:
        capacities = tuple(
            max_capacity(
                profile,
                bucket.planned_input_tokens,
                bucket.planned_output_tokens,
                workload.slo,
                extrapolate=workload.profiles.extrapolate,
            )
            for bucket in buckets
        )
        if max_model_len is not None:
            capacities = context_limited(profile, capacities, buckets, max_model_len)
        found.append(ProfileCapacities(profile=profile, capacities=capacities))
    return found


def _check(plan: Plan, workload: Workload, optimum: Optimum) -> None:
    capacities = {name: candidate.capacities for name, candidate in optimum.assembled.candidates.items()}
    violations = verify(plan, workload, capacities)
    if violations:
        listed = "\n".join(f"  {violation}" for violation in violations)
        raise SkyMelangeError(f"the plan failed its own verification and was discarded; please report this:\n{listed}")


def selected_profiles(workload: Workload, profiles: Iterable[Profile]) -> tuple[Profile, ...]:
    """The profiles that a plan rests on: one for each layout, see `profiles.select`."""
    found = trusted(profiles, workload.constraints.min_profile_kind).profiles
    return select(found, _planned_sizes(workload), extrapolate=workload.profiles.extrapolate).profiles


def _planned_sizes(workload: Workload) -> list[tuple[int, int]]:
    return [(b.planned_input_tokens, b.planned_output_tokens) for b in workload.traffic.buckets()]


def profiles_digest(profiles: Iterable[Profile]) -> str:
    """sha256 (hex) of profiles, in whatever order they come."""
    return _digest(repr(profile) for profile in profiles)


def _digest(lines: Iterable[str]) -> str:
    """sha256 over the lines, in whatever order they come."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
