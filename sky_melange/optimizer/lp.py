"""Builds the model in PuLP, runs HiGHS, and reads the answer without believing its word for `optimal`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import pulp

from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError, SkyMelangeError
from sky_melange.optimizer.constraints import CONSTRAINTS
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solution import Solution
from sky_melange.optimizer.variables import Variables, make_variables

_MIN_SHARE: Final = 1e-7
_INTEGRALITY: Final = 1e-4


def build_lp(problem: Problem, slices: int | None) -> tuple[pulp.LpProblem, Variables]:
    """The model with every constraint and no objective yet; `slices` None: continuous shares."""
    lp = pulp.LpProblem("sky_melange", pulp.LpMinimize)
    variables = make_variables(lp, problem, slices)
    for add in CONSTRAINTS.values():
        add(lp, variables, problem)
    return lp, variables


def cost_expression(problem: Problem, variables: Variables) -> pulp.LpAffineExpression:
    """Σ_c p_c · n_c, USD/h."""
    return pulp.LpAffineExpression(list(zip(variables.counts, problem.prices, strict=True)))


def total_cost(prices: Sequence[float], counts: Sequence[int]) -> float:
    """Σ_c p_c · n_c, USD per hour, summed without rounding error."""
    return math.fsum(price * count for price, count in zip(prices, counts, strict=True))


def highs(settings: SolverSettings) -> pulp.HiGHS:
    """The solver: one thread and a fixed seed, so that the same model gives the same answer."""
    return pulp.HiGHS(
        msg=False, threads=1, timeLimit=settings.time_limit_s, gapRel=settings.mip_gap, gapAbs=0.0, random_seed=0
    )


def run(problem: Problem, variables: Variables, lp: pulp.LpProblem, settings: SolverSettings) -> Solution:
    """Solves and reads.

    Raises InfeasibleError when there is no plan, NotOptimalError when the time limit passes before any is found.
    """
    lp.solve(highs(settings))
    if lp.sol_status in (pulp.LpSolutionInfeasible, pulp.LpSolutionUnbounded):
        raise InfeasibleError("no number of instances satisfies the constraints together")
    values = [variable.varValue for variable in variables.counts]
    found = lp.sol_status in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible)
    if not found or any(value is None or not math.isfinite(value) for value in values):
        raise NotOptimalError(f"no plan was found within the time limit of {settings.time_limit_s:g} s; raise it")
    counts = _whole(values)
    rows = [
        [0.0 if variable is None else variable.varValue / variables.slices for variable in row]
        for row in variables.shares
    ]
    return Solution(
        counts=counts,
        shares=tuple(without_dust(row, counts, loads) for row, loads in zip(rows, problem.loads, strict=True)),
        cost_usd_per_hour=total_cost(problem.prices, counts),
        status="optimal" if lp.sol_status == pulp.LpSolutionOptimal else "feasible",
        mip_gap=max(0.0, float(lp.solverModel.getInfo().mip_gap)),
    )


def _whole(values: Sequence[float]) -> tuple[int, ...]:
    counts = tuple(round(value) for value in values)
    if any(abs(value - count) > _INTEGRALITY for value, count in zip(values, counts, strict=True)):
        raise SkyMelangeError(f"the solver returned fractional instance counts: {values}")
    return counts


def without_dust(row: Sequence[float], counts: Sequence[int], loads: Sequence[float | None]) -> tuple[float, ...]:
    """One class's shares without the solver's dust: none below 1e-7, none to an absent group, summing to 1.

    A class so rare that its load is within the solver's tolerance may have been sent to absent groups alone; it goes
    to the present group that it loads least (the coverage constraint sees to it that there is one).
    """
    kept = [share if count > 0 and share > _MIN_SHARE else 0.0 for share, count in zip(row, counts, strict=True)]
    total = math.fsum(kept)
    if total < 1 - 1e-3:
        present = [(load, c) for c, load in enumerate(loads) if load is not None and counts[c] > 0]
        if not present:
            raise SkyMelangeError("the solver left a class of requests without any group that can serve it")
        kept[min(present)[1]] += 1 - total
        total = 1.0
    return tuple(share / total for share in kept)
