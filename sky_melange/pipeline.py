"""The composition root: read -> model -> solve -> verify. Rendering and writing are the caller's."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.offer import Offer, PriceBook
from sky_melange.domain.plan import Cost, InputDigests, Overhead, Plan, ReplicaGroup
from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import Formulation, LaunchMode, SolverSettings, Workload
from sky_melange.errors import CheckFailedError, InfeasibleError, MissingDataError, NotOptimalError, SkyMelangeError
from sky_melange.optimizer import Optimum, Problem, ProfileCapacities, context_limited, optimize, solve_problem
from sky_melange.optimizer.overhead import controller
from sky_melange.optimizer.remarks import assumptions, warnings
from sky_melange.optimizer.verify import verify
from sky_melange.prices import known_accelerators, launchable_clouds, load_snapshot
from sky_melange.profiles import known_models, load_profiles, max_capacity
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
    if workload.model.max_model_len is not None:
        return workload
    grid = workload.traffic.grid
    longest = grid.input_edges[-1] + grid.output_edges[-1]
    return replace(workload, model=replace(workload.model, max_model_len=longest))


def plan_file(path: Path, *, formulation: Formulation | None = None) -> Planned:
    """Plans a workload file on the embedded prices and profiles; `formulation` overrides the file's."""
    workload = read(path)
    if formulation is not None:
        workload = replace(workload, solver=replace(workload.solver, formulation=formulation))
    book = load_snapshot(trust=workload.prices.trust)
    profiles = load_profiles(
        workload.model.id, workload.model.dtype, workload.launch.engine, workload.candidates.accelerators
    )
    return make_plan(workload, book, profiles, workload_digest=workload_digest(path, workload))


def workload_digest(path: Path, workload: Workload) -> str:
    """sha256 of a workload file, and of the counts of the log or preset that its traffic names."""
    counted = repr(workload.traffic).encode() if workload.traffic.is_counted else b""
    return hashlib.sha256(path.read_bytes() + counted).hexdigest()


def make_plan(workload: Workload, book: PriceBook, profiles: Sequence[Profile], *, workload_digest: str) -> Planned:
    """The cheapest plan, verified.

    Raises MissingDataError when there is no profile or no offer to choose from, InfeasibleError when no plan exists,
    NotOptimalError when the time limit passes before any plan is found.
    """
    if not profiles:
        raise _no_profile(workload)
    optimum = optimize(workload, book.offers, _capacities(workload, profiles), cloud_features())
    groups = optimum.assembled.groups
    overhead = _overhead(workload, groups, book.offers)
    plan = Plan(
        name=workload.name,
        status=optimum.solution.status,
        mip_gap=optimum.solution.mip_gap if math.isfinite(optimum.solution.mip_gap) else None,
        cost=_cost(groups, overhead),
        groups=groups,
        overhead=overhead,
        policy=workload.routing,
        routing=optimum.assembled.routing,
        alternatives=optimum.alternatives,
        assumptions=assumptions(workload),
        warnings=warnings(workload, groups, overhead, book),
        inputs=InputDigests(
            workload=workload_digest,
            prices=_digest(f"{c.offer.name} {c.offer.price_usd_per_hour!r}" for c in optimum.candidates),
            profiles=_digest(repr(profile) for profile in profiles),
        ),
    )
    _check(plan, workload, optimum)
    return Planned(workload=workload, plan=plan, candidates=optimum.candidates, rejected=optimum.rejected)


def check_budget(planned: Planned) -> None:
    """Raises CheckFailedError when the plan, the cheapest there is, costs more than the workload's budget."""
    budget = planned.workload.budget
    total = planned.plan.cost.total_usd_per_hour
    if budget is not None and total > budget.usd_per_hour:
        raise CheckFailedError(
            f"the cheapest plan costs USD {total:.4f} per hour with overhead, over budget.usd_per_hour "
            f"{budget.usd_per_hour:g}; raise the budget, loosen slo, or allow more candidates"
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
    asked = f"{workload.model.id} ({workload.model.dtype}){where}"
    return MissingDataError(f"there is no throughput profile of {asked}; there are profiles of\n{have}")


def _capacities(workload: Workload, profiles: Iterable[Profile]) -> list[ProfileCapacities]:
    """What one replica of each profile sustains on each bucket; layouts that cannot hold the context are left out."""
    buckets = workload.traffic.buckets()
    max_model_len = workload.model.max_model_len
    found = []
    for profile in profiles:
        capacities = tuple(max_capacity(profile, b.planned_input_tokens, b.planned_output_tokens, workload.slo) for b in buckets)
        if max_model_len is not None:
            capacities = context_limited(profile, capacities, buckets, max_model_len)
        found.append(ProfileCapacities(profile=profile, capacities=capacities))
    return found


def _overhead(workload: Workload, groups: Sequence[ReplicaGroup], offers: Iterable[Offer]) -> tuple[Overhead, ...]:
    if workload.launch.mode is LaunchMode.SERVE:
        return (controller(groups, offers, cloud_features()),)
    return ()


def _cost(groups: Iterable[ReplicaGroup], overhead: Iterable[Overhead]) -> Cost:
    replicas = math.fsum(group.price_usd_per_hour * group.instances for group in groups)
    beside = math.fsum(machine.price_usd_per_hour or 0.0 for machine in overhead)
    total = math.fsum((replicas, beside))
    return Cost(
        replicas_usd_per_hour=replicas,
        overhead_usd_per_hour=beside,
        total_usd_per_hour=total,
        worst_case_usd_per_hour=total,
    )


def _check(plan: Plan, workload: Workload, optimum: Optimum) -> None:
    capacities = {name: candidate.capacities for name, candidate in optimum.assembled.candidates.items()}
    violations = verify(plan, workload, capacities)
    if violations:
        listed = "\n".join(f"  {violation}" for violation in violations)
        raise SkyMelangeError(f"the plan failed its own verification and was discarded; please report this:\n{listed}")


def _digest(lines: Iterable[str]) -> str:
    """sha256 over the lines, in whatever order they come."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
