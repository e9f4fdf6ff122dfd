"""The variables of the model. Names come from indices: PuLP maps `-` and `_` alike, so user text would collide."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pulp

from sky_melange.optimizer.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """`counts[c]` = n_c instances; `shares[r][c]` = k_rc, None where c cannot serve r; `used[c]` = y_c, 1 if n_c > 0.

    The share of class r that goes to c is k_rc ÷ `slices`. `max_counts[c]` is an n_c that no optimum needs to exceed.
    """

    counts: tuple[pulp.LpVariable, ...]
    shares: tuple[tuple[pulp.LpVariable | None, ...], ...]
    used: tuple[pulp.LpVariable, ...]
    slices: int
    max_counts: tuple[int, ...]


def make_variables(lp: pulp.LpProblem, problem: Problem, slices: int | None) -> Variables:
    """Adds the variables to `lp`.

    `slices` None: continuous shares (the exact formulation); otherwise integer multiples of 1/slices.
    """
    scale = 1 if slices is None else slices
    category = pulp.LpContinuous if slices is None else pulp.LpInteger
    max_counts = tuple(_max_count(problem, c) for c in range(problem.candidate_count))
    return Variables(
        counts=tuple(
            lp.add_variable(f"n_{c}", lowBound=0, upBound=bound, cat=pulp.LpInteger)
            for c, bound in enumerate(max_counts)
        ),
        shares=tuple(
            tuple(
                None if load is None else lp.add_variable(f"x_{r}_{c}", lowBound=0, upBound=scale, cat=category)
                for c, load in enumerate(row)
            )
            for r, row in enumerate(problem.loads)
        ),
        used=tuple(lp.add_variable(f"y_{c}", cat=pulp.LpBinary) for c in range(problem.candidate_count)),
        slices=scale,
        max_counts=max_counts,
    )


def _max_count(problem: Problem, c: int) -> int:
    """Enough instances of c to carry all that it can serve, plus enough for the minimum of replicas."""
    load = math.fsum(row[c] or 0.0 for row in problem.loads)
    return math.ceil(load / problem.max_utilization) + math.ceil(problem.min_replicas / problem.replicas[c]) + 1
