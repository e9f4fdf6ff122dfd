"""No instance carries more than its allowed load."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_r load_rc · k_rc ÷ S ≤ u · n_c for every candidate c, and Σ_r k_rc ÷ S ≤ |R| · n_c.

    The second row follows from the first in exact arithmetic only when loads are not tiny: at 1e-6 requests/s the
    first one holds within the solver's tolerance at n_c = 0.
    """
    for c in range(problem.candidate_count):
        pairs = [(load, variables.shares[r][c]) for r, load in problem.loads_on(c)]
        if not pairs:
            lp.addConstraint(pulp.lpSum(variables.counts[c]) <= variables.max_counts[c], f"load_{c}")
            continue
        load = pulp.LpAffineExpression([(variable, load / variables.slices) for load, variable in pairs])
        lp.addConstraint(load - problem.max_utilization * variables.counts[c] <= 0, f"load_{c}")
        total = pulp.LpAffineExpression([(variable, 1 / variables.slices) for _, variable in pairs])
        lp.addConstraint(total - len(pairs) * variables.counts[c] <= 0, f"present_{c}")
