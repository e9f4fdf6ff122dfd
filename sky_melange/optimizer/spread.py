"""The linear program over the shares alone: given counts, how evenly can the load be spread, and what limits that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pulp

from sky_melange.errors import NotOptimalError
from sky_melange.optimizer.lp import without_dust
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """`peak_utilization`: the least possible value of the largest load ÷ instances over candidates in use and cases.

    `shares[r][c]` attain it. Where there is one case, `weights[c]` ≥ 0 are its dual values an instance:
    Σ_c weights[c]·counts[c] = 1 and Σ_r min_c weights[c]·load_rc = `peak_utilization`.
    """

    peak_utilization: float
    shares: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


def spread(problem: Problem, counts: Sequence[int], session: Session, *, limited: bool = True) -> Spread | None:
    """Minimises max_c Σ_r load_rc·x_rc ÷ n_c over all cases; None when some class has no instance that serves it.

    `limited`: within the share limits. Without them the program splits well and always has an answer.
    """
    used = [c for c, count in enumerate(counts) if count > 0]
    if not all(any(row[c] is not None for c in used) for row in problem.loads):
        return None
    lp = pulp.LpProblem("sky_melange_spread", pulp.LpMinimize)
    peak = lp.add_variable("peak", lowBound=0)
    shares = {
        (r, c): lp.add_variable(f"x_{r}_{c}", lowBound=0)
        for r, row in enumerate(problem.loads)
        for c in used
        if row[c] is not None
    }
    lp.setObjective(peak)
    for r in range(problem.class_count):
        lp.addConstraint(pulp.lpSum(shares[r, c] for c in used if (r, c) in shares) == 1, f"assign_{r}")
    for case, loads in enumerate(problem.cases):
        for c in used:
            terms = [(shares[r, c], load / counts[c]) for r, load in problem.loads_on(c, loads)]
            lp.addConstraint(pulp.LpAffineExpression([*terms, (peak, -1)]) <= 0, f"load_{c}_{case}")
    for k, limit in enumerate(problem.share_limits if limited else ()):
        routed = [(variable, problem.weights[r]) for (r, c), variable in shares.items() if limit.members[c]]
        if routed:
            lp.addConstraint(pulp.LpAffineExpression(routed) <= limit.limit_fraction, f"share_{k}")
    if not session.solve_linear(lp):
        if limited:
            return None
        raise NotOptimalError(session.too_late())
    rows = [
        [shares[r, c].varValue if (r, c) in shares else 0.0 for c in range(problem.candidate_count)]
        for r in range(problem.class_count)
    ]
    cleaned = tuple(without_dust(row, counts, loads) for row, loads in zip(rows, problem.loads, strict=True))
    return Spread(
        peak_utilization=peak_of(problem, counts, cleaned), shares=cleaned, weights=_weights(lp, used, counts)
    )


def peak_of(problem: Problem, counts: Sequence[int], shares: Sequence[Sequence[float]]) -> float:
    """The largest load ÷ instances over candidates in use and cases, recomputed from the shares."""
    return max(
        math.fsum(load * shares[r][c] for r, load in problem.loads_on(c, loads)) / count
        for loads in problem.cases
        for c, count in enumerate(counts)
        if count > 0
    )


def _weights(lp: pulp.LpProblem, used: Sequence[int], counts: Sequence[int]) -> tuple[float, ...]:
    duals = {constraint.name: constraint.pi for constraint in lp.constraints()}
    return tuple(
        max(0.0, -(duals[f"load_{c}_0"] or 0.0)) / count if c in used else 0.0 for c, count in enumerate(counts)
    )
