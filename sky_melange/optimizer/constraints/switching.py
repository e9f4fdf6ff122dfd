"""What runs already is worth keeping."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """d_c ≥ n_c − n⁰_c and d_c ≥ n⁰_c − n_c, so that d_c = |n_c − n⁰_c| where it is charged for.

    n⁰ are the instances of the previous plan (`constraints.keep`); the objective gains s · Σ_c d_c. A candidate that
    does not run yet has d_c = n_c and needs no rows.
    """
    if problem.keep is None:
        return
    for c, before in enumerate(problem.keep.previous):
        if before:
            lp.addConstraint(variables.changed[c] - variables.counts[c] >= -before, f"more_{c}")
            lp.addConstraint(variables.changed[c] + variables.counts[c] >= before, f"fewer_{c}")
