"""Chooses among plans of the same cost, so that the same input always gives the same plan, and a sensible one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import pulp

from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve.lp import build_lp, objective_expression, run
from sky_melange.optimizer.solve.session import Session
from sky_melange.optimizer.solve.solution import Solution
from sky_melange.optimizer.solve.spread import spread
from sky_melange.optimizer.solve.variables import Variables

_COST_TOLERANCE: Final = 1e-9
_LARGEST_WEIGHT: Final = 1e6
"""Above this a sum of the three criteria would ask more of the solver's precision than it has."""


def break_ties(problem: Problem, best: Solution, session: Session) -> Solution:
    """Among all plans of this total: fewest endpoints, groups, instances, then the earliest candidates.

    One solve where they fit into one weighted sum, otherwise one each, fixing what the one before found. A step
    that does not finish, or whose plan would cost more when summed exactly, leaves the plan as it is.
    """
    program = build_lp(problem, session.slices, linked=True)
    lp, variables = program.lp, program.variables
    limit = problem.objective(best.counts) * (1 + _COST_TOLERANCE)
    base = problem.charges.base_usd_per_hour
    lp.addConstraint(objective_expression(problem, variables) <= limit - base, "same_cost")
    for number, criterion in enumerate(_criteria(problem, variables, limit)):
        lp.setObjective(criterion)
        try:
            found = run(problem, variables, lp, session, gap_absolute=0.5)
        except (InfeasibleError, NotOptimalError):
            return best
        if found.status != "optimal" or problem.objective(found.counts) > limit:
            return best
        best = replace(found, status=best.status, mip_gap=best.mip_gap)
        lp.addConstraint(criterion <= round(pulp.value(criterion)), f"tie_{number}")
    return best


def _criteria(problem: Problem, variables: Variables, limit: float) -> Iterator[pulp.LpAffineExpression]:
    """What to minimise, one after the other. Positions count from 0 and instances to at most what `limit` buys."""
    cheapest = min(problem.prices)
    most = min(sum(variables.max_counts), int(limit / cheapest) if cheapest > 0 else sum(variables.max_counts))
    instance = problem.candidate_count * max(most, 1)
    group = instance * max(most, 1)
    in_order = pulp.LpAffineExpression([(count, position) for position, count in enumerate(variables.counts)])
    groups, instances = pulp.lpSum(variables.used), pulp.lpSum(variables.counts)
    # Of clusters every instance is an endpoint, of services every group.
    first, second = (instances, groups) if problem.charges.instances_are_endpoints else (groups, instances)
    if group <= _LARGEST_WEIGHT:
        yield group * first + instance * second + in_order
    else:
        yield first
        yield second
        yield in_order


def balance(problem: Problem, best: Solution, session: Session) -> Solution:
    """Keeps the counts and spreads the load: minimises the largest utilisation over the groups in use.

    A linear program over the shares alone, so headroom is shared instead of left to wherever the solver stopped.
    """
    found = spread(problem, best.counts, session)
    if found is None or found.peak_utilization > problem.max_utilization * (1 + 1e-6):
        return best
    return replace(best, shares=found.shares)
