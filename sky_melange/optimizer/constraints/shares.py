"""Not all eggs in one basket."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_{k∈members_l} Σ_r w_r · x_rk ≤ limit_l · S for every share limit l; w_r is the fraction of requests in class r.

    A kind is counted whole by a limit, or not at all (see `kinds`).

    `constraints.max_cloud_share`, `max_region_share`, `max_spot_share`: of the requests, not of the money.
    """
    for number, limit in enumerate(problem.share_limits):
        terms = [
            (variable, problem.weights[r])
            for r, row in enumerate(variables.shares)
            for first, variable in zip(variables.kinds.first, row, strict=True)
            if variable is not None and limit.members[first]
        ]
        if terms:
            routed = pulp.LpAffineExpression(terms)
            lp.addConstraint(routed - limit.limit_fraction * variables.whole <= 0, f"share_{number}")
