"""Every request goes somewhere."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_k x_rk = S for every routing class r, where x_rk ÷ S is the share of r sent to kind k (S = 1 in `exact`).

    Where the most traffic is sought, Σ_k x_rk = t: the factor on all traffic.
    """
    for r in range(problem.class_count):
        terms = [(variable, 1) for variable in variables.shares[r] if variable is not None]
        if variables.traffic is None:
            lp.addConstraint(pulp.LpAffineExpression(terms) == variables.slices, f"assign_{r}")
        else:
            lp.addConstraint(pulp.LpAffineExpression([*terms, (variables.traffic, -1)]) == 0, f"assign_{r}")
