"""From offers and capacities to the cheapest groups and routes. Imports the solver only when it solves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.cloud import CloudFeatures
from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import Alternative
from sky_melange.domain.workload import SolverSettings, Workload
from sky_melange.errors import InfeasibleError, MissingDataError, NotOptimalError
from sky_melange.optimizer.assemble import Assembled, assemble
from sky_melange.optimizer.candidates import CandidateSet, ProfileCapacities, build_candidates, context_limited
from sky_melange.optimizer.infeasible import check_servable, describe_rejected, explain_limits
from sky_melange.optimizer.problem import Problem, build_problem, routing_classes
from sky_melange.optimizer.solution import Solution

__all__ = [
    "Optimum",
    "Problem",
    "ProfileCapacities",
    "Solution",
    "context_limited",
    "optimize",
    "solve_problem",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The answer of the optimizer, not yet priced with overhead: what to launch and what the choice was made from."""

    solution: Solution
    assembled: Assembled
    alternatives: tuple[Alternative, ...]
    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]


def optimize(
    workload: Workload,
    offers: Iterable[Offer],
    profiles: Sequence[ProfileCapacities],
    clouds: Mapping[str, CloudFeatures],
) -> Optimum:
    """The cheapest groups and routes for a workload.

    Raises MissingDataError when no offer can run the model, InfeasibleError when no plan exists, NotOptimalError when
    the time limit passes before any plan is found.
    """
    buckets = workload.traffic.buckets()
    found = build_candidates(workload, offers, profiles, clouds)
    if not found.candidates:
        raise _nothing_to_choose_from(found)
    classes = routing_classes(workload.routing, buckets)
    problem = build_problem(workload, buckets, classes, found.candidates)
    check_servable(workload, buckets, classes, found.candidates, problem)
    try:
        solution = solve_problem(problem, workload.solver)
    except InfeasibleError as error:
        raise explain_limits(workload, problem) from error
    return Optimum(
        solution=solution,
        assembled=assemble(workload, buckets, classes, found.candidates, solution),
        alternatives=_single_types(workload, buckets, found.candidates, problem),
        candidates=found.candidates,
        rejected=found.rejected,
    )


def solve_problem(problem: Problem, settings: SolverSettings) -> Solution:
    """Solves a problem of plain numbers; see `sky_melange.optimizer.solver.solve`."""
    from sky_melange.optimizer.solver import solve

    return solve(problem, settings)


def _nothing_to_choose_from(found: CandidateSet) -> MissingDataError:
    if not found.rejected:
        return MissingDataError("no price is known for any of candidates.clouds")
    return MissingDataError(f"no priced offer can run this workload:\n{describe_rejected(found.rejected)}")


def _single_types(
    workload: Workload, buckets: Sequence[Bucket], candidates: Sequence[Candidate], problem: Problem
) -> tuple[Alternative, ...]:
    """The best plan of each accelerator alone, cheapest first; types that cannot carry the traffic alone come last."""
    found = []
    for accelerator in sorted({candidate.offer.accelerator for candidate in candidates}):
        kept = [c for c, candidate in enumerate(candidates) if candidate.offer.accelerator == accelerator]
        gpus = [candidates[c].offer.accelerators_per_instance for c in kept]
        found.append(_single_type(workload, buckets, accelerator, gpus, problem.restricted_to(kept)))
    return tuple(sorted(found, key=lambda a: (a.cost_usd_per_hour is None, a.cost_usd_per_hour or 0.0, a.label)))


def _single_type(
    workload: Workload, buckets: Sequence[Bucket], accelerator: str, gpus: Sequence[int], problem: Problem
) -> Alternative:
    classes = routing_classes(workload.routing, buckets)
    total_rps = workload.traffic.request_rate_rps
    unserved_rps = sum(
        buckets[index].rate_rps
        for members, row in zip(classes, problem.loads, strict=True)
        if all(load is None for load in row)
        for index in members
    )
    if unserved_rps > 0:
        note = f"cannot serve {unserved_rps / total_rps:.1%} of the requests within the targets"
        return Alternative(label=accelerator, cost_usd_per_hour=None, instances=None, accelerators=None, note=note)
    try:
        solution = solve_problem(problem, replace(workload.solver, break_ties=False))
    except (InfeasibleError, NotOptimalError) as error:
        return Alternative(
            label=accelerator, cost_usd_per_hour=None, instances=None, accelerators=None, note=str(error)
        )
    note = "" if solution.status == "optimal" else f"not proven optimal (gap {solution.mip_gap:.2%})"
    return Alternative(
        label=accelerator,
        cost_usd_per_hour=solution.cost_usd_per_hour,
        instances=sum(solution.counts),
        accelerators=sum(count * each for count, each in zip(solution.counts, gpus, strict=True)),
        note=note,
    )
