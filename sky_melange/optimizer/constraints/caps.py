"""What can be bought is limited."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_c usage_kc · n_c ≤ limit_k for every cap k (`constraints.max_accelerators`: usage = GPUs an instance)."""
    for k, cap in enumerate(problem.caps):
        terms = [(variables.counts[c], usage) for c, usage in enumerate(cap.usage) if usage]
        if terms:
            lp.addConstraint(pulp.LpAffineExpression(terms) <= cap.limit, f"cap_{k}")
