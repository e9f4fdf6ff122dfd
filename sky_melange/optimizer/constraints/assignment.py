"""Every request goes somewhere."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_c k_rc = S for every routing class r, where k_rc ÷ S is the share of r sent to c (S = 1 in `exact`)."""
    for r in range(problem.class_count):
        terms = [variable for variable in variables.shares[r] if variable is not None]
        lp.addConstraint(pulp.lpSum(terms) == variables.slices, f"assign_{r}")
