"""The constraints of the model: one function a file, each with its formula.

A constraint is a function `add(lp, variables, problem)` that adds rows to the PuLP problem; `CONSTRAINTS` lists all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pulp

from sky_melange.optimizer.constraints import (
    assignment,
    budget,
    caps,
    charges,
    coverage,
    floors,
    groups,
    losses,
    replicas,
    shares,
    switching,
    utilization,
)
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.variables import Variables

Constraint = Callable[[pulp.LpProblem, Variables, Problem], None]

CONSTRAINTS: Final[dict[str, Constraint]] = {
    "assignment": assignment.add,
    "utilization": utilization.add,
    "coverage": coverage.add,
    "caps": caps.add,
    "replicas": replicas.add,
    "floors": floors.add,
    "groups": groups.add,
    "shares": shares.add,
    "budget": budget.add,
    "switching": switching.add,
    "losses": losses.add,
    "charges": charges.add,
}
