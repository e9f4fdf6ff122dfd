"""What may be spent."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_c p_c · n_c ≤ B, USD per hour (`budget.usd_per_hour`, less what is kept back for overhead)."""
    if problem.max_cost_usd_per_hour is not None:
        spent = pulp.LpAffineExpression(list(zip(variables.counts, problem.prices, strict=True)))
        lp.addConstraint(spent <= problem.max_cost_usd_per_hour, "budget")
