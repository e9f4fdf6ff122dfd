"""Some of it must not be spot."""

from __future__ import annotations

import pulp

from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables


def add(lp: pulp.LpProblem, variables: Variables, problem: Problem) -> None:
    """Σ_c supply_kc · n_c ≥ minimum_k for every floor k.

    `constraints.min_on_demand_replicas`: supply = replicas an instance, 0 for spot.
    """
    for k, floor in enumerate(problem.floors):
        terms = [(variables.counts[c], supply) for c, supply in enumerate(floor.supply) if supply]
        lp.addConstraint(pulp.LpAffineExpression(terms) >= floor.minimum, f"floor_{k}")
