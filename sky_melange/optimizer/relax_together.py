"""The smallest joint change of all limits, for when no limit alone is to blame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pulp

from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.relax import BUDGET, Relaxation, minimum
from sky_melange.optimizer.session import Session
from sky_melange.optimizer.variables import Variables, cost_expression

_Elastic = Callable[[Variables], pulp.LpAffineExpression]


def joint_relaxation(problem: Problem, session: Session) -> list[Relaxation]:
    """Limits to change together so that there is a plan: the least sum of relative changes; [] when none suffices.

    Caps, groups, replicas and the budget; shares and losses stay as they are.
    """
    limits = list(_limits(problem))
    found: list[pulp.LpAffineExpression] = []

    def excess(lp: pulp.LpProblem, variables: Variables) -> pulp.LpAffineExpression:
        found.clear()
        total = pulp.LpAffineExpression()
        for number, (_, limit, sign, expression) in enumerate(limits):
            over = lp.add_variable(f"over_{number}", lowBound=0)
            value = expression(variables)
            found.append(value)
            lp.addConstraint(sign * value - sign * limit - over <= 0, f"elastic_{number}")
            total += over * (1.0 / max(abs(limit), 1.0))
        return total

    free = replace(problem, caps=(), max_cost_usd_per_hour=None)
    if problem.max_groups is not None:
        free = replace(free, max_groups=problem.candidate_count)
    try:
        minimum(free, excess, session, without=("replicas", "floors"))
    except (InfeasibleError, NotOptimalError):
        return []
    changes = []
    for (name, limit, sign, _), expression in zip(limits, found, strict=True):
        value = float(pulp.value(expression))
        if sign * (value - limit) > 1e-6:
            needed = math.ceil(value * 100 - 1e-4) / 100 if name == BUDGET else round(value)
            changes.append(Relaxation(name=name, now=limit, needed=needed))
    return changes


def _limits(problem: Problem) -> list[tuple[str, float, int, _Elastic]]:
    """(name, limit, 1 for an upper and −1 for a lower limit, what is limited)."""
    found: list[tuple[str, float, int, _Elastic]] = []
    base = problem.charges.base_usd_per_hour
    found += [(cap.name, cap.limit, 1, partial(_sum, cap.usage)) for cap in problem.caps]
    found += [(floor.name, floor.minimum, -1, partial(_sum, floor.supply)) for floor in problem.floors]
    if problem.min_replicas > 1:
        found.append(("constraints.min_replicas", problem.min_replicas, -1, partial(_sum, problem.replicas)))
    if problem.max_groups is not None:
        found.append(("constraints.max_groups", problem.max_groups, 1, lambda v: pulp.lpSum(v.used)))
    if problem.max_cost_usd_per_hour is not None:
        budget = problem.max_cost_usd_per_hour
        found.append((BUDGET, round(budget, 4), 1, lambda v: cost_expression(problem, v) + base))
    return found


def _sum(weights: tuple[int, ...], variables: Variables) -> pulp.LpAffineExpression:
    return pulp.LpAffineExpression([(variables.counts[c], weight) for c, weight in enumerate(weights) if weight])
