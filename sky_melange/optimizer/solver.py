"""Solves a problem: shrinks it with proofs, finds the least cost, then settles ties and evens out the load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sky_melange.domain.workload import Formulation, SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.dominance import undominated
from sky_melange.optimizer.lp import build_lp, cost_expression, run, total_cost
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.reduction import Reduction, reduce_problem
from sky_melange.optimizer.solution import Solution
from sky_melange.optimizer.ties import balance, break_ties

_SMALL: Final = 24
"""Up to this many candidates the integer program is solved as it is."""

_FIRST_LOOK: Final = 16
"""Candidates among which a first good plan is looked for in a larger problem."""

_TIE_BREAK_MAX_PAIRS: Final = 5_000
"""Beyond this many (class, candidate) pairs ties stay as the solver, which is deterministic, breaks them."""


def solve(problem: Problem, settings: SolverSettings) -> Solution:
    """The cheapest counts and shares.

    Ties: fewer groups, then fewer instances, then the earlier candidates. Raises InfeasibleError when no counts
    satisfy the constraints, NotOptimalError when the time limit passes without any plan.
    """
    kept = undominated(problem)
    slices = settings.slices if settings.formulation is Formulation.SLICED else None
    kept = _promising(problem, kept, settings, slices)
    return _widened(problem, kept, _solve_reduced(problem.restricted_to(kept), settings, slices))


def _promising(
    problem: Problem, kept: tuple[int, ...], settings: SolverSettings, slices: int | None
) -> tuple[int, ...]:
    """Of the candidates `kept`, those that may be part of an optimum, proven by the cost of plans found on the way."""
    for looked_at in (_FIRST_LOOK, 3 * _FIRST_LOOK):
        if len(kept) <= max(_SMALL, looked_at):
            return kept
        reduced = problem.restricted_to(kept)
        reduction = reduce_problem(reduced)
        upper_bound = _cost_among(reduced, reduction, looked_at, settings, slices)
        if upper_bound is None:
            return kept
        kept = tuple(kept[position] for position in reduction.keep(upper_bound))
    return kept


def _cost_among(
    problem: Problem, reduction: Reduction, count: int, settings: SolverSettings, slices: int | None
) -> float | None:
    """Cost of a good plan made of the most promising candidates alone, USD/h; None when they allow none."""
    restricted = problem.restricted_to(reduction.most_promising(problem, count))
    hurried = replace(settings, time_limit_s=settings.time_limit_s / 6, mip_gap=max(settings.mip_gap, 1e-4))
    try:
        return _least_cost(restricted, hurried, slices).cost_usd_per_hour
    except (InfeasibleError, NotOptimalError):
        return None


def _least_cost(problem: Problem, settings: SolverSettings, slices: int | None) -> Solution:
    lp, variables = build_lp(problem, slices)
    lp.setObjective(cost_expression(problem, variables))
    return run(problem, variables, lp, settings)


def _solve_reduced(problem: Problem, settings: SolverSettings, slices: int | None) -> Solution:
    best = _least_cost(problem, settings, slices)
    small = problem.class_count * problem.candidate_count <= _TIE_BREAK_MAX_PAIRS
    if best.status == "optimal" and settings.break_ties and small:
        best = break_ties(problem, best, settings, slices)
    return best if slices is not None else balance(problem, best, settings)


def _widened(problem: Problem, kept: Sequence[int], found: Solution) -> Solution:
    """The solution of the problem restricted to `kept`, as one of the whole problem."""
    counts = [0] * problem.candidate_count
    shares = [[0.0] * problem.candidate_count for _ in range(problem.class_count)]
    for position, c in enumerate(kept):
        counts[c] = found.counts[position]
        for r in range(problem.class_count):
            shares[r][c] = found.shares[r][position]
    return replace(
        found,
        counts=tuple(counts),
        shares=tuple(tuple(row) for row in shares),
        cost_usd_per_hour=total_cost(problem.prices, counts),
    )
