"""Enough replicas to lose one."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_c replicas_c · n_c ≥ min_replicas."""
    if problem.min_replicas > 1:
        terms = [(variables.counts[c], replicas) for c, replicas in enumerate(problem.replicas)]
        lp.addConstraint(pulp.LpAffineExpression(terms) >= problem.min_replicas, "min_replicas")
