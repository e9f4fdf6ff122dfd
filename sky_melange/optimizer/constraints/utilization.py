"""No instance carries more than its allowed load."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_r load_rc · k_rc ÷ S ≤ u · n_c for every candidate c that can serve anything."""
    for c in range(problem.candidate_count):
        terms = [(variables.shares[r][c], load / variables.slices) for r, load in problem.loads_on(c)]
        if terms:
            lp.addConstraint(
                pulp.LpAffineExpression(terms) - problem.max_utilization * variables.counts[c] <= 0, f"load_{c}"
            )
