"""The cheapest launch as a whole: replicas, SkyServe controller and router, within a budget that limits the choice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.domain.front_door import ROUTER_PURPOSE, needs_router
from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import Cost, Overhead, ReplicaGroup
from sky_melange.domain.workload import LaunchMode, Objective, Workload
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer import Optimum, optimize, solve_problem
from sky_melange.optimizer.model import Model
from sky_melange.optimizer.overhead import PURPOSE as CONTROLLER_PURPOSE
from sky_melange.optimizer.overhead import controller, places_with_idle_gpus
from sky_melange.optimizer.problem import Cap
from sky_melange.optimizer.router_overhead import router_machine
from sky_melange.optimizer.spot import with_fallback
from sky_melange.resources import cloud_features, interruption_bands

_ONE_GROUP: Final = "one group: a router costs more"
_NO_CONTROLLER: Final = "other places: the controller's GPUs would idle"
_SAME_COST: Final = 1e-9
_TOLERANCE: Final = 1e-7
"""The solver's, relative."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An optimum with its groups, what is launched beside them, and the cost of both.

    `passed_over` says which plans have the cheaper replicas, where what is launched beside them makes them dearer.
    """

    optimum: Optimum
    groups: tuple[ReplicaGroup, ...]
    overhead: tuple[Overhead, ...]
    cost: Cost
    passed_over: tuple[str, ...] = ()


def cheapest_whole(model: Model, offers: Sequence[Offer]) -> Whole:
    """The launch that costs least; that serves the most traffic within the budget where that is sought.

    Raises InfeasibleError when no plan exists, NotOptimalError when the time limit passes before any plan is found.
    """
    first = _within_budget(model, offers)
    elsewhere = _elsewhere(first, offers)
    wide = [first] if elsewhere is None else [first, elsewhere]
    narrow = [_one_group(whole, offers) for whole in wide]
    found = (*wide, *(whole for whole in narrow if whole is not None))
    return min(found, key=lambda whole: whole.cost.total_usd_per_hour)


def cost_of(groups: Iterable[ReplicaGroup], overhead: Iterable[Overhead]) -> Cost:
    """Σ price × count, and the overhead whose price is known; sums are exact to the last bit of a float.

    The worst case adds the on-demand machines that stand in for all spot machines at once, where their price is known.
    """
    groups = tuple(groups)
    replicas = math.fsum(group.price_usd_per_hour * group.instances for group in groups)
    beside = math.fsum(machine.price_usd_per_hour or 0.0 for machine in overhead)
    total = math.fsum((replicas, beside))
    return Cost(
        replicas_usd_per_hour=replicas,
        overhead_usd_per_hour=beside,
        total_usd_per_hour=total,
        worst_case_usd_per_hour=math.fsum((total, *(group.surge_usd_per_hour for group in groups))),
    )


def _within_budget(model: Model, offers: Sequence[Offer]) -> Whole:
    """The optimum whose groups and overhead together stay within the budget, where that limits the choice.

    The overhead depends on the plan, so the budget for the replicas is what the overhead of the plan before left.
    """
    limit = _limiting_budget(model.workload)
    reserve_usd_per_hour = 0.0
    while True:
        left = None if limit is None else (limit - reserve_usd_per_hour) * (1 - _TOLERANCE)
        try:
            whole = _whole(optimize(model.within(left)), offers)
        except InfeasibleError:
            if limit is None or model.workload.objective is Objective.MOST_TRAFFIC:
                raise
            # The running plan is over the budget too: the cheapest one is shown, and the caller refuses it.
            limit = None
            continue
        cost = whole.cost
        if limit is None or cost.total_usd_per_hour <= limit or cost.overhead_usd_per_hour <= reserve_usd_per_hour:
            return whole
        reserve_usd_per_hour = cost.overhead_usd_per_hour


def _limiting_budget(workload: Workload) -> float | None:
    """USD/h, where the cheapest plan is not what is sought: otherwise a plan over budget is still worth seeing."""
    if workload.budget is None:
        return None
    sought = workload.objective is Objective.MOST_TRAFFIC or workload.constraints.keep is not None
    return workload.budget.limit_usd_per_hour if sought else None


def _elsewhere(first: Whole, offers: Sequence[Offer]) -> Whole | None:
    """The cheapest plan of other places, where the controller would rent GPUs that idle, and that costs more.

    Controllers with a machine to themselves differ by cents, which are not weighed.
    """
    model = first.optimum.model
    machine = next((machine for machine in first.overhead if machine.purpose == CONTROLLER_PURPOSE), None)
    if machine is None or not _is_cost_alone_sought(model.workload) or not _is_known(first):
        return None
    dear = places_with_idle_gpus(_on_offer(model.workload, offers), cloud_features())
    if (machine.cloud, machine.region) not in dear:
        return None
    usage = tuple(int((each.offer.cloud, each.offer.region) in dear) for each in model.candidates)
    problem = replace(model.problem, caps=(*model.problem.caps, Cap(name=_NO_CONTROLLER, usage=usage, limit=0)))
    whole = _cheaper(first, replace(model, problem=problem), offers)
    if whole is None:
        return None
    saved = whole.cost.replicas_usd_per_hour - first.cost.replicas_usd_per_hour
    why = (
        f"Another place is cheaper in total. The replicas of {_counts(first)} in {first.groups[0].cloud} "
        f"{first.groups[0].region} would cost USD {saved:.4f} per hour less; but SkyServe's controller would rent "
        f"{machine.instance_type} there for USD {machine.price_usd_per_hour:.4f} and leave its GPUs idle: "
        "`serve.controller.resources: {infra: CLOUD}` in SkyPilot's config places it elsewhere."
    )
    return replace(whole, passed_over=(*first.passed_over, why))


def _one_group(mix: Whole, offers: Sequence[Offer]) -> Whole | None:
    """The cheapest plan of one group, where the router that a mix needs costs more than the mix saves.

    The mix is the cheapest by its replicas, and every mix needs a router; that another mix could have a cheaper router
    or controller, because its replicas are elsewhere, is not looked into. Nor is any of this where changes are charged
    for, where the most traffic is sought, and where a price is unknown.
    """
    router = next((machine for machine in mix.overhead if machine.purpose == ROUTER_PURPOSE), None)
    if router is None or not _may_one_group_be_cheaper(mix):
        return None
    model = mix.optimum.model
    problem = replace(model.problem, max_groups=1, max_groups_name=_ONE_GROUP)
    whole = _cheaper(mix, replace(model, problem=problem), offers)
    return None if whole is None else replace(whole, passed_over=(*mix.passed_over, _why(mix, whole, router)))


def _cheaper(than: Whole, model: Model, offers: Sequence[Offer]) -> Whole | None:
    """The cheapest launch of a narrower model, where it costs less in total."""
    total = than.cost.total_usd_per_hour
    try:
        if solve_problem(model.problem, replace(model.workload.solver, break_ties=False)).cost_usd_per_hour >= total:
            return None
        whole = _whole(optimize(model), offers)
    except (InfeasibleError, NotOptimalError):
        return None
    if not _is_known(whole) or whole.cost.total_usd_per_hour >= total - _SAME_COST:
        return None
    return _as_proven_as(whole, than)


def _may_one_group_be_cheaper(mix: Whole) -> bool:
    """One group is of one type, and each type alone is solved already: mostly that tells."""
    if not _is_cost_alone_sought(mix.optimum.model.workload):
        return False
    if len(mix.groups) == 1 or not _is_known(mix):
        return False
    return any(
        alternative.cost_usd_per_hour is not None
        and (alternative.note or alternative.cost_usd_per_hour < mix.cost.total_usd_per_hour)
        for alternative in mix.optimum.alternatives
    )


def _is_cost_alone_sought(workload: Workload) -> bool:
    return workload.objective is not Objective.MOST_TRAFFIC and workload.constraints.keep is None


def _as_proven_as(whole: Whole, mix: Whole) -> Whole:
    """Where the mix is not proven to be the cheapest by its replicas, a cheaper one is not ruled out."""
    bound = mix.optimum.solution
    if bound.status == "optimal":
        return whole
    solution = whole.optimum.solution
    weaker = replace(solution, status=bound.status, mip_gap=max(solution.mip_gap, bound.mip_gap))
    return replace(whole, optimum=replace(whole.optimum, solution=weaker))


def _why(mix: Whole, whole: Whole, router: Overhead) -> str:
    saved = whole.cost.replicas_usd_per_hour - mix.cost.replicas_usd_per_hour
    more = mix.cost.overhead_usd_per_hour - whole.cost.overhead_usd_per_hour
    return (
        f"One group is cheaper in total. The replicas of {_counts(mix)} would cost USD {saved:.4f} per hour less; "
        f"what is launched beside them, the router ({router.instance_type} on {router.cloud}) above all, "
        f"USD {more:.4f} more: `router: {{kind: none}}` plans such mixes without one."
    )


def _counts(whole: Whole) -> str:
    return " + ".join(f"{group.instances} × {group.name}" for group in whole.groups)


def _is_known(whole: Whole) -> bool:
    return all(machine.price_usd_per_hour is not None for machine in whole.overhead)


def _whole(optimum: Optimum, offers: Sequence[Offer]) -> Whole:
    workload = optimum.model.workload
    groups = tuple(replace(group, price=group.price.dated()) for group in optimum.assembled.groups)
    if workload.launch.mode is LaunchMode.SERVE:
        groups = with_fallback(groups, offers, interruption_bands())
    overhead = _overhead(workload, groups, offers)
    return Whole(optimum=optimum, groups=groups, overhead=overhead, cost=cost_of(groups, overhead))


def _overhead(workload: Workload, groups: Sequence[ReplicaGroup], offers: Iterable[Offer]) -> tuple[Overhead, ...]:
    on_offer = _on_offer(workload, offers)
    machines = []
    if workload.launch.mode is LaunchMode.SERVE:
        machines.append(controller(groups, on_offer, cloud_features()))
    if needs_router(groups, workload):
        machines.append(router_machine(groups, on_offer, cloud_features()))
    return tuple(m if m.price is None else replace(m, price=m.price.dated()) for m in machines)


def _on_offer(workload: Workload, offers: Iterable[Offer]) -> list[Offer]:
    """Without the clouds that the user does not have: a machine there could not be launched."""
    clouds = workload.candidates.clouds
    return [offer for offer in offers if clouds is None or offer.cloud in clouds]
