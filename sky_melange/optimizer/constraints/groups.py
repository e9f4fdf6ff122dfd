"""A plan of few kinds is easier to run."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """n_c ≤ M_c · y_c with binary y_c, and Σ_c y_c ≤ max_groups; M_c is a count that no optimum needs to exceed."""
    if problem.counts_groups:
        link_groups(lp, variables, problem)
    if problem.max_groups is not None:
        lp.addConstraint(pulp.lpSum(variables.used) <= problem.max_groups, "max_groups")


def link_groups(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """n_c ≤ M_c · y_c: ties y_c to the use of candidate c."""
    for c in range(problem.candidate_count):
        lp.addConstraint(variables.counts[c] - variables.max_counts[c] * variables.used[c] <= 0, f"used_{c}")
