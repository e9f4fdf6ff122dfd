"""Solves the model with HiGHS through PuLP: least cost first, then ties by a fixed rule, then an even load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import pulp

from sky_melange.domain.workload import Formulation, SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError, SkyMelangeError
from sky_melange.optimizer.constraints import CONSTRAINTS
from sky_melange.optimizer.constraints.groups import link_groups
from sky_melange.optimizer.dominance import undominated
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solution import Solution
from sky_melange.optimizer.variables import Variables, make_variables

_COST_TOLERANCE: Final = 1e-9
_MIN_SHARE: Final = 1e-7
_TIE_BREAK_MAX_VARIABLES: Final = 20_000
"""Beyond this size ties are left as the (deterministic) solver breaks them; the cost is the same."""


def solve(problem: Problem, settings: SolverSettings) -> Solution:
    """The cheapest counts and shares.

    Ties: fewer groups, then fewer instances, then the earlier candidates. Raises InfeasibleError when no counts
    satisfy the constraints, NotOptimalError when the time limit passes without any plan.
    """
    kept = undominated(problem)
    reduced = _solve_reduced(problem.restricted_to(kept), settings)
    counts = [0] * problem.candidate_count
    shares = [[0.0] * problem.candidate_count for _ in range(problem.class_count)]
    for position, c in enumerate(kept):
        counts[c] = reduced.counts[position]
        for r in range(problem.class_count):
            shares[r][c] = reduced.shares[r][position]
    return Solution(
        counts=tuple(counts),
        shares=tuple(tuple(row) for row in shares),
        cost_usd_per_hour=total_cost(problem.prices, counts),
        status=reduced.status,
        mip_gap=reduced.mip_gap,
    )


def total_cost(prices: Sequence[float], counts: Sequence[int]) -> float:
    """Σ_c p_c · n_c, USD per hour, summed without rounding error."""
    return math.fsum(price * count for price, count in zip(prices, counts, strict=True))


def _solve_reduced(problem: Problem, settings: SolverSettings) -> Solution:
    slices = settings.slices if settings.formulation is Formulation.SLICED else None
    best = _run(problem, settings, slices)
    if best.status != "optimal":
        return _balanced(problem, best, settings)
    if settings.break_ties and problem.class_count * problem.candidate_count <= _TIE_BREAK_MAX_VARIABLES:
        best = _break_ties(problem, best, settings, slices)
    return best if slices is not None else _balanced(problem, best, settings)


def _run(problem: Problem, settings: SolverSettings, slices: int | None) -> Solution:
    lp, variables = build_lp(problem, slices)
    lp.setObjective(_cost(problem, variables))
    gap = _optimize(lp, settings)
    return _read(problem, variables, lp, gap)


def build_lp(problem: Problem, slices: int | None) -> tuple[pulp.LpProblem, Variables]:
    """The model with every constraint and no objective yet."""
    lp = pulp.LpProblem("sky_melange", pulp.LpMinimize)
    variables = make_variables(lp, problem, slices)
    for add in CONSTRAINTS.values():
        add(lp, variables, problem)
    return lp, variables


def _cost(problem: Problem, variables: Variables) -> pulp.LpAffineExpression:
    return pulp.LpAffineExpression(list(zip(variables.counts, problem.prices, strict=True)))


def _break_ties(problem: Problem, best: Solution, settings: SolverSettings, slices: int | None) -> Solution:
    """Among all plans of this cost: fewest groups, then fewest instances, then the earliest candidates.

    Each step fixes what the step before it found. A step that does not finish, or whose plan would cost more when
    summed exactly, leaves the plan as it is.
    """
    lp, variables = build_lp(problem, slices)
    if problem.max_groups is None:
        link_groups(lp, variables, problem)
    lp.addConstraint(_cost(problem, variables) <= best.cost_usd_per_hour * (1 + _COST_TOLERANCE), "same_cost")
    in_order = [(count, position) for position, count in enumerate(variables.counts)]
    steps = (pulp.lpSum(variables.used), pulp.lpSum(variables.counts), pulp.LpAffineExpression(in_order))
    for number, objective in enumerate(steps):
        lp.setObjective(objective)
        try:
            found = _read(problem, variables, lp, _optimize(lp, settings))
        except (InfeasibleError, NotOptimalError):
            return best
        limit = best.cost_usd_per_hour * (1 + _COST_TOLERANCE)
        if found.status != "optimal" or found.cost_usd_per_hour > limit:
            return best
        best = Solution(
            counts=found.counts,
            shares=found.shares,
            cost_usd_per_hour=found.cost_usd_per_hour,
            status=best.status,
            mip_gap=best.mip_gap,
        )
        lp.addConstraint(objective <= round(pulp.value(objective)), f"tie_{number}")
    return best


def _balanced(problem: Problem, best: Solution, settings: SolverSettings) -> Solution:
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
    lp.solve(_highs(settings))
    if lp.sol_status != pulp.LpSolutionOptimal or peak.varValue > problem.max_utilization * (1 + 1e-6):
        return best
    rows = [
        [shares[r, c].varValue if (r, c) in shares else 0.0 for c in range(problem.candidate_count)]
        for r in range(problem.class_count)
    ]
    return Solution(
        counts=best.counts,
        shares=tuple(_clean(row, best.counts) for row in rows),
        cost_usd_per_hour=best.cost_usd_per_hour,
        status=best.status,
        mip_gap=best.mip_gap,
    )


def _highs(settings: SolverSettings) -> pulp.HiGHS:
    return pulp.HiGHS(
        msg=False, threads=1, timeLimit=settings.time_limit_s, gapRel=settings.mip_gap, gapAbs=0.0, random_seed=0
    )


def _optimize(lp: pulp.LpProblem, settings: SolverSettings) -> float:
    """Solves; returns the relative gap reached. PuLP calls a timed-out incumbent `Optimal` in `status`."""
    lp.solve(_highs(settings))
    if lp.sol_status in (pulp.LpSolutionInfeasible, pulp.LpSolutionUnbounded):
        raise InfeasibleError("no number of instances satisfies the constraints together")
    if lp.sol_status not in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible):
        raise NotOptimalError(f"no plan was found within the time limit of {settings.time_limit_s:g} s; raise it")
    return float(lp.solverModel.getInfo().mip_gap)


def _read(problem: Problem, variables: Variables, lp: pulp.LpProblem, gap: float) -> Solution:
    values = [variable.varValue for variable in variables.counts]
    if any(value is None or not math.isfinite(value) for value in values):
        raise NotOptimalError("the time limit passed before any plan was found; raise solver.time_limit_s")
    counts = [round(value) for value in values]
    if any(abs(value - count) > 1e-4 for value, count in zip(values, counts, strict=True)):
        raise SkyMelangeError(f"the solver returned fractional instance counts: {values}")
    rows = [
        [0.0 if variable is None else variable.varValue / variables.slices for variable in row]
        for row in variables.shares
    ]
    optimal = lp.sol_status == pulp.LpSolutionOptimal
    return Solution(
        counts=tuple(counts),
        shares=tuple(_clean(row, counts) for row in rows),
        cost_usd_per_hour=total_cost(problem.prices, counts),
        status="optimal" if optimal else "feasible",
        mip_gap=max(0.0, gap),
    )


def _clean(row: Sequence[float], counts: Sequence[int]) -> tuple[float, ...]:
    """Takes the solver's dust away: no share below 1e-7, none to an absent group, and the rest sums to 1."""
    kept = [share if count > 0 and share > _MIN_SHARE else 0.0 for share, count in zip(row, counts, strict=True)]
    total = math.fsum(kept)
    if total <= 0:
        raise SkyMelangeError("the solver sent a whole class of requests to groups without instances")
    return tuple(share / total for share in kept)
