"""What each constraint costs: the best plan without it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sky_melange.domain.explanation import LimitCost
from sky_melange.errors import NotOptimalError
from sky_melange.optimizer.explain.oracle import Oracle
from sky_melange.optimizer.problem import Problem


def limit_costs(oracle: Oracle, problem: Problem) -> tuple[LimitCost, ...]:
    """One entry for each constraint that is set, in the order of the workload's documentation."""
    return tuple(
        LimitCost(name=name, value=value, cost_without_usd_per_hour=_cost(oracle, changed))
        for name, value, changed in _without_each(problem)
    )


def _cost(oracle: Oracle, problem: Problem) -> float | None:
    """The total, without a charge for changes, so that dropping `keep` is comparable too."""
    try:
        found = oracle.best(problem)
    except NotOptimalError:
        return None
    return None if found is None else problem.cost(found.counts)


def _without_each(problem: Problem) -> Iterator[tuple[str, str, Problem]]:
    if problem.max_utilization < 1:
        yield "constraints.max_utilization", f"{problem.max_utilization:g}", replace(problem, max_utilization=1.0)
    for k, cap in enumerate(problem.caps):
        others = tuple(other for index, other in enumerate(problem.caps) if index != k)
        yield cap.name, str(cap.limit), replace(problem, caps=others)
    if problem.min_replicas > 1:
        yield "constraints.min_replicas", str(problem.min_replicas), replace(problem, min_replicas=1)
    for k, floor in enumerate(problem.floors):
        rest = tuple(other for index, other in enumerate(problem.floors) if index != k)
        yield floor.name, str(floor.minimum), replace(problem, floors=rest)
    if problem.max_groups is not None:
        yield "constraints.max_groups", str(problem.max_groups), replace(problem, max_groups=None)
    for name in dict.fromkeys(limit.name.partition(" ")[0] for limit in problem.share_limits):
        family = [limit for limit in problem.share_limits if limit.name.partition(" ")[0] == name]
        left = tuple(limit for limit in problem.share_limits if limit not in family)
        yield name, f"{family[0].limit_fraction:g}", replace(problem, share_limits=left)
    if problem.losses:
        yield "constraints.tolerate_replica_losses", str(problem.losses), replace(problem, losses=0, loss_cuts=())
    if problem.keep is not None:
        charge = f"USD {problem.keep.usd_per_hour:g} per instance changed"
        yield "constraints.keep", charge, replace(problem, keep=None)
