"""From offers and capacities to the cheapest groups and routes. Imports the solver only when it solves."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

from sky_melange.domain.candidate import Candidate, Rejected
from sky_melange.domain.front_door import ROUTER_PURPOSE
from sky_melange.domain.machine import Deployment
from sky_melange.domain.plan import Choice, Cost, Switching
from sky_melange.domain.workload import LaunchMode, Objective, RoutingPolicy, SolverSettings, Workload
from sky_melange.errors import InfeasibleError, NotOptimalError, SkyMelangeError
from sky_melange.optimizer.assemble import Assembled, assemble
from sky_melange.optimizer.candidates import ProfileCapacities, context_limited
from sky_melange.optimizer.charges import Charges
from sky_melange.optimizer.fleet import DividedMachine, FleetProblem, FleetSolution, SharedLimit, SharedShare
from sky_melange.optimizer.model import Model, build_model, traffic_rounded_down
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.schedule import ScheduleProblem
from sky_melange.optimizer.solve.solution import ScheduleSolution, Solution
from sky_melange.optimizer.spot import with_fallback
from sky_melange.optimizer.why.infeasible import describe_limits, describe_unserved, unserved_classes
from sky_melange.optimizer.why.remedies import Surroundings, quarantined_reasons, remedies
from sky_melange.resources import interruption_bands

__all__ = [
    "DividedMachine",
    "FleetProblem",
    "FleetSolution",
    "Model",
    "Optimum",
    "Problem",
    "ProfileCapacities",
    "ScheduleSolution",
    "SharedLimit",
    "SharedShare",
    "Solution",
    "Solved",
    "Surroundings",
    "assembled_of",
    "build_model",
    "check_servable",
    "context_limited",
    "finished",
    "solve_fleet",
    "solve_hours",
    "solve_problem",
    "solved",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimum(Choice):
    """The answer of the optimizer, and what the choice was made from.

    `model` is what was solved; where the most traffic is asked for, at the traffic found.
    `passed_over`: which plan has cheaper replicas, where the router that they need costs as much or more.
    """

    model: Model
    solution: Solution
    assembled: Assembled
    passed_over: str | None

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What to launch for the replicas, without what stands beside it: `model` as in `Optimum`."""

    model: Model
    solution: Solution
    assembled: Assembled


def solved(model: Model) -> Solved:
    """The launch that costs least in total; that serves the most traffic within its budget, where that is asked for.

    Raises InfeasibleError when no plan exists, NotOptimalError when the time limit passes before any plan is found.
    """
    model = model.within(_limiting_budget(model.workload))
    try:
        model, solution = _solved(model)
    except InfeasibleError:
        if model.problem.max_cost_usd_per_hour is None or model.workload.objective is Objective.MOST_TRAFFIC:
            raise
        # The running plan is over the budget too: the cheapest one is shown, and the caller refuses it.
        model, solution = _solved(model.within(None))
    return Solved(model=model, solution=solution, assembled=assembled_of(model, solution))


def assembled_of(model: Model, solution: Solution) -> Assembled:
    """The groups and routes of a solution of the model."""
    return assemble(model.workload, model.buckets, model.classes, model.candidates, solution, model.utilizations)


def finished(found: Solved, *, is_cheapest: bool = True) -> Optimum:
    """Completes what `solved` found: machines beside the replicas, the total, and what else there was to choose.

    `is_cheapest` False: it is part of a schedule, and other fleets may cost less in this hour.
    """
    from sky_melange.optimizer.why.alternatives import single_types

    model, solution, assembled = found.model, found.solution, found.assembled
    groups = tuple(replace(group, price=group.price.dated()) for group in assembled.groups)
    if model.workload.launch.mode is LaunchMode.SERVE:
        groups = with_fallback(groups, model.offers, interruption_bands())
    overhead = model.machines.beside(groups)
    cost = Cost.of(groups, overhead)
    # What a part costs others decide as well.
    is_cheapest = is_cheapest and all(group.part is None for group in groups)
    if not math.isclose(cost.total_usd_per_hour, solution.cost_usd_per_hour, rel_tol=1e-9, abs_tol=1e-9):
        proven = solution.cost_usd_per_hour
        raise SkyMelangeError(f"the plan costs USD {cost.total_usd_per_hour!r} per hour, the program found {proven!r}")
    return Optimum(
        model=model,
        solution=solution,
        assembled=assembled,
        groups=groups,
        overhead=overhead,
        cost=cost,
        alternatives=single_types(model, solution),
        size_aware_total_usd_per_hour=_size_aware_cost(model, solution) if is_cheapest else None,
        switching=_switching(model, solution),
        passed_over=_passed_over(model, solution) if is_cheapest else None,
    )


def _limiting_budget(workload: Workload) -> float | None:
    """USD/h, where the budget limits the choice: otherwise a plan over budget is still worth seeing."""
    limits = workload.objective is Objective.MOST_TRAFFIC or workload.constraints.keep is not None
    return workload.budget.limit_usd_per_hour if limits and workload.budget is not None else None


def _solved(model: Model) -> tuple[Model, Solution]:
    """The solution, and the model at the traffic that it is for."""
    most = None
    try:
        if model.workload.objective is Objective.MOST_TRAFFIC:
            most = _most_traffic(model)
            model = model.at_traffic(most.factor)
        solution = solve_problem(model.problem, model.workload.solver)
    except InfeasibleError as error:
        # Where the most traffic is asked for, there is none that the limits allow.
        is_most = model.workload.objective is Objective.MOST_TRAFFIC
        raise describe_limits(model.at_traffic(1e-6) if is_most else model) from error
    if most is not None and not most.is_proven:
        solution = replace(solution, status="feasible", mip_gap=max(solution.mip_gap, most.gap))
    return model, solution


def _passed_over(model: Model, solution: Solution) -> str | None:
    """The plan whose replicas are the cheapest, where the router that it needs makes it dearer in total."""
    problem, workload = model.problem, model.workload
    charged = problem.charges.router is not None and problem.charges.endpoints(solution.counts) == 1
    if not charged or problem.keep is not None or workload.objective is Objective.MOST_TRAFFIC:
        return None
    bare = replace(problem, charges=Charges(most_groups=problem.charges.most_groups))
    try:
        found = solve_problem(bare, replace(workload.solver, break_ties=False))
    except (InfeasibleError, NotOptimalError):
        return None
    saved = problem.replica_cost(solution.counts) - problem.replica_cost(found.counts)
    if saved <= 1e-9 * max(1.0, solution.cost_usd_per_hour):
        return None
    groups = assemble(workload, model.buckets, model.classes, model.candidates, found).groups
    more = problem.charges.usd_per_hour(found.counts) - problem.charges.usd_per_hour(solution.counts)
    router = next(machine for machine in model.machines.beside(groups) if machine.purpose == ROUTER_PURPOSE)
    mix = " + ".join(f"{group.instances} × {group.name}" for group in groups)
    return (
        f"One endpoint costs no more in total. The replicas of {mix} would cost USD {saved:.4f} per hour less; with "
        f"the router that they need ({router.instance_type} on {router.cloud}) the overhead costs USD {more:.4f} more: "
        "`router: {kind: none}` plans such mixes without one."
    )


def solve_problem(problem: Problem, settings: SolverSettings) -> Solution:
    """Solves a problem of plain numbers; see `sky_melange.optimizer.solve.solver.solve`."""
    from sky_melange.optimizer.solve.solver import solve

    return solve(problem, settings)


def solve_fleet(problem: FleetProblem, settings: SolverSettings) -> FleetSolution:
    """Solves several workloads that share something; see `sky_melange.optimizer.solve.fleet.solve_fleet`."""
    from sky_melange.optimizer.solve.fleet import solve_fleet as solve

    return solve(problem, settings)


def solve_hours(problem: ScheduleProblem, settings: SolverSettings) -> ScheduleSolution:
    """Solves the program over hours; see `sky_melange.optimizer.solve.hours.solve_schedule`."""
    from sky_melange.optimizer.solve.hours import solve_schedule

    return solve_schedule(problem, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Most:
    """The factor on the traffic to plan for, and whether and how nearly it is proven to be the largest."""

    factor: float
    is_proven: bool
    gap: float


def _most_traffic(model: Model) -> _Most:
    from sky_melange.optimizer.solve.traffic import most_traffic

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
    before, now = Counter[Deployment](), Counter[Deployment]()
    for group in keep.groups:
        before[group.deployment] += group.instances
    for candidate, count in zip(model.candidates, solution.counts, strict=True):
        now[candidate.deployment] += count
    started, stopped = (now - before).total(), (before - now).total()
    return Switching(
        started_instances=started,
        stopped_instances=stopped,
        charged_usd_per_hour=keep.switching_usd_per_hour * (started + stopped),
    )
