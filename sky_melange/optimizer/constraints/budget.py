"""What may be spent."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables, cost_expression


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_c p_c · n_c + charges ≤ B, USD per hour in total (`budget.usd_per_hour`)."""
    if problem.max_cost_usd_per_hour is not None:
        limit = problem.max_cost_usd_per_hour - problem.charges.base_usd_per_hour
        lp.addConstraint(cost_expression(problem, variables) <= limit, "budget")
