"""No instance carries more than its allowed load."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_r load_rk · x_rk ÷ S ≤ u · Σ_{c∈k} s_c · n_c for every kind k that can serve anything.

    Candidates of one kind have proportional loads; s_c is the strength of an instance (see `kinds`). In each case of
    the estimates of sizes: the loads of the first, then those of `biased`.
    """
    strength = variables.kinds.strength
    for k, first in enumerate(variables.kinds.first):
        room = [(variables.counts[c], -problem.max_utilization * strength[c]) for c in variables.kinds.members(k)]
        for case, loads in enumerate(problem.cases):
            terms = [(variables.shares[r][k], load / variables.slices) for r, load in problem.loads_on(first, loads)]
            if terms:
                name = f"load_{first}_{case}" if case else f"load_{first}"
                lp.addConstraint(pulp.LpAffineExpression([*terms, *room]) <= 0, name)
