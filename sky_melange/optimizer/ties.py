"""Chooses among plans of the same cost, so that the same input always gives the same plan, and a sensible one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pulp

from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.constraints.groups import link_groups
from sky_melange.optimizer.lp import build_lp, cost_expression, highs, run, without_dust
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solution import Solution

_COST_TOLERANCE: Final = 1e-9


def break_ties(problem: Problem, best: Solution, settings: SolverSettings, slices: int | None) -> Solution:
    """Among all plans of this cost: fewest groups, then fewest instances, then the earliest candidates.

    Each step fixes what the step before it found. A step that does not finish, or whose plan would cost more when
    summed exactly, leaves the plan as it is.
    """
    lp, variables = build_lp(problem, slices)
    if problem.max_groups is None:
        link_groups(lp, variables, problem)
    limit = best.cost_usd_per_hour * (1 + _COST_TOLERANCE)
    lp.addConstraint(cost_expression(problem, variables) <= limit, "same_cost")
    in_order = [(count, position) for position, count in enumerate(variables.counts)]
    steps = (pulp.lpSum(variables.used), pulp.lpSum(variables.counts), pulp.LpAffineExpression(in_order))
    for number, objective in enumerate(steps):
        lp.setObjective(objective)
        try:
            found = run(problem, variables, lp, settings)
        except (InfeasibleError, NotOptimalError):
            return best
        if found.status != "optimal" or found.cost_usd_per_hour > limit:
            return best
        best = replace(found, status=best.status, mip_gap=best.mip_gap)
        lp.addConstraint(objective <= round(pulp.value(objective)), f"tie_{number}")
    return best


def balance(problem: Problem, best: Solution, settings: SolverSettings) -> Solution:
    """Keeps the counts and spreads the load: minimises the largest utilisation over the groups in use.

    A linear program over the shares alone, so headroom is shared instead of left to wherever the solver stopped.
    """
    used = [c for c, count in enumerate(best.counts) if count > 0]
    lp = pulp.LpProblem("sky_melange_balance", pulp.LpMinimize)
    peak = lp.add_variable("peak", lowBound=0)
    shares = {
        (r, c): lp.add_variable(f"x_{r}_{c}", lowBound=0, upBound=1)
        for r, row in enumerate(problem.loads)
        for c in used
        if row[c] is not None
    }
    lp.setObjective(peak)
    for r in range(problem.class_count):
        lp.addConstraint(pulp.lpSum(shares[r, c] for c in used if (r, c) in shares) == 1, f"assign_{r}")
    for c in used:
        terms = [(shares[r, c], load / best.counts[c]) for r, load in problem.loads_on(c)]
        lp.addConstraint(pulp.LpAffineExpression(terms) <= peak, f"load_{c}")
    lp.solve(highs(settings))
    if lp.sol_status != pulp.LpSolutionOptimal or peak.varValue > problem.max_utilization * (1 + 1e-6):
        return best
    rows = [
        [shares[r, c].varValue if (r, c) in shares else 0.0 for c in range(problem.candidate_count)]
        for r in range(problem.class_count)
    ]
    return replace(
        best,
        shares=tuple(without_dust(row, best.counts, loads) for row, loads in zip(rows, problem.loads, strict=True)),
    )
