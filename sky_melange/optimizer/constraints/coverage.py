"""Every request has somewhere to go, however rare it is."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_{c can serve r} n_c ≥ 1 + k for every routing class r, with k the instances that may be lost.

    Follows from the other rows in exact arithmetic. At 1e-6 requests/s a class keeps 1e-7 of an instance busy, and the
    load rows would hold within the solver's tolerance with no instance at all.
    """
    for r, row in enumerate(problem.loads):
        terms = [(variables.counts[c], 1) for c, load in enumerate(row) if load is not None]
        lp.addConstraint(pulp.LpAffineExpression(terms) >= 1 + problem.losses, f"cover_{r}")
