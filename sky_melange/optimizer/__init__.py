"""From offers and capacities to the cheapest groups and routes. Imports the solver only when it solves."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.plan import Alternative, Switching
from sky_melange.domain.workload import Objective, RoutingPolicy, SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.assemble import Assembled, assemble
from sky_melange.optimizer.candidates import ProfileCapacities, context_limited
from sky_melange.optimizer.infeasible import describe_limits, describe_unserved, unserved_classes
from sky_melange.optimizer.model import Model, build_model, traffic_rounded_down
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.remedies import Surroundings, quarantined_reasons, remedies
from sky_melange.optimizer.solution import Solution

__all__ = [
    "Model",
    "Optimum",
    "Problem",
    "ProfileCapacities",
    "Solution",
    "Surroundings",
    "build_model",
    "check_servable",
    "context_limited",
    "optimize",
    "solve_problem",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum:
    """The answer of the optimizer, not yet priced with overhead: what to launch and what the choice was made from.

    `model` is what was solved; where the most traffic is sought, at the traffic found. `size_aware_usd_per_hour`: cost
    of the replicas under the routing policy that knows most, None when not proven.
    """

    model: Model
    solution: Solution
    assembled: Assembled
    alternatives: tuple[Alternative, ...]
    size_aware_usd_per_hour: float | None
    switching: Switching | None

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What could be bought."""
        return self.model.candidates

    @property
    def rejected(self) -> tuple[Rejected, ...]:
        """What could not."""
        return self.model.rejected


def check_servable(model: Model, around: Surroundings) -> None:
    """Raises InfeasibleError when some routing class has no candidate that serves all of it: why, and what helps."""
    if unserved_classes(model):
        raise describe_unserved(model, quarantined_reasons(model, around), remedies(model, around))


def optimize(model: Model) -> Optimum:
    """The cheapest groups and routes for a model; for the most traffic that its budget buys, where that is sought.

    Raises InfeasibleError when no plan exists, NotOptimalError when the time limit passes before any plan is found.
    """
    from sky_melange.optimizer.alternatives import single_types

    try:
        most = _most_traffic(model) if model.workload.objective is Objective.MOST_TRAFFIC else None
        if most is not None:
            model = model.at_traffic(most.factor)
        solution = solve_problem(model.problem, model.workload.solver)
    except InfeasibleError as error:
        # Where the most traffic is sought, there is none that the limits allow.
        sought = model.workload.objective is Objective.MOST_TRAFFIC
        raise describe_limits(model.at_traffic(1e-6) if sought else model) from error
    if most is not None and not most.is_proven:
        solution = replace(solution, status="feasible", mip_gap=max(solution.mip_gap, most.gap))
    return Optimum(
        model=model,
        solution=solution,
        assembled=assemble(model.workload, model.buckets, model.classes, model.candidates, solution),
        alternatives=single_types(model),
        size_aware_usd_per_hour=_size_aware_cost(model, solution),
        switching=_switching(model, solution),
    )


def solve_problem(problem: Problem, settings: SolverSettings) -> Solution:
    """Solves a problem of plain numbers; see `sky_melange.optimizer.solver.solve`."""
    from sky_melange.optimizer.solver import solve

    return solve(problem, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Most:
    """The factor on the traffic to plan for, and whether and how nearly it is proven to be the largest."""

    factor: float
    is_proven: bool
    gap: float


def _most_traffic(model: Model) -> _Most:
    from sky_melange.optimizer.traffic import most_traffic

    found = most_traffic(model.problem, model.workload.solver)
    factor = traffic_rounded_down(model.workload.traffic.request_rate_rps, found.factor)
    return _Most(factor=factor, is_proven=found.status == "optimal", gap=1 - found.factor / found.bound)


def _size_aware_cost(model: Model, solution: Solution) -> float | None:
    """Without a charge for changes, which would hide what the policy costs."""
    if solution.status != "optimal":
        return None
    if model.workload.routing is RoutingPolicy.SIZE_AWARE and model.problem.keep is None:
        return solution.cost_usd_per_hour
    problem = replace(model.under(RoutingPolicy.SIZE_AWARE), keep=None, max_cost_usd_per_hour=None)
    try:
        found = solve_problem(problem, replace(model.workload.solver, break_ties=False))
    except (InfeasibleError, NotOptimalError):
        return None
    return found.cost_usd_per_hour if found.status == "optimal" else None


def _switching(model: Model, solution: Solution) -> Switching | None:
    """Against the running plan, its groups that are no candidates any more included."""
    keep = model.workload.constraints.keep
    if keep is None:
        return None
    before, now = Counter[tuple[object, ...]](), Counter[tuple[object, ...]]()
    for group in keep.groups:
        before[group.identity] += group.instances
    for candidate, count in zip(model.candidates, solution.counts, strict=True):
        now[candidate.identity] += count
    started, stopped = (now - before).total(), (before - now).total()
    return Switching(
        started_instances=started,
        stopped_instances=stopped,
        charged_usd_per_hour=keep.switching_usd_per_hour * (started + stopped),
    )
