"""How much of the traffic the limits allow, and which classes are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pulp

from sky_melange.errors import NotOptimalError
from sky_melange.optimizer.charges import Charges
from sky_melange.optimizer.limits import limits_of
from sky_melange.optimizer.lp import build_lp, whole
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.session import Session
from sky_melange.optimizer.spread import FixedCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved:
    """`fractions[r]` (0..1) of class r that the limits leave without a server, when they serve as much as they can.

    `counts` are the instances then; the minima (replicas, losses) are not asked for.
    """

    fractions: tuple[float, ...]
    counts: tuple[int, ...]


def least_unserved(problem: Problem, session: Session) -> Unserved:
    """Minimises Σ_r w_r·(1 − Σ_c x_rc) within the upper limits alone. Raises NotOptimalError."""
    # The router is left out: what is served without it bounds what is served with it.
    relaxed = replace(problem, keep=None, charges=Charges(base_usd_per_hour=problem.charges.base_usd_per_hour))
    for limit in limits_of(problem):
        if limit.is_minimum:
            relaxed = limit.without(relaxed)
    program = build_lp(relaxed, None, without=("assignment", "coverage"))
    lp, variables = program.lp, program.variables
    left = [lp.add_variable(f"left_{r}", lowBound=0, upBound=1) for r in range(problem.class_count)]
    for r, row in enumerate(variables.shares):
        terms = [variable for variable in row if variable is not None]
        lp.addConstraint(pulp.lpSum(terms) + left[r] == 1, f"assign_{r}")
        # As in `coverage`: next to no load still needs an instance.
        present = [variables.counts[c] for c, load in enumerate(problem.loads[r]) if load is not None]
        lp.addConstraint(pulp.lpSum(present) + left[r] >= 1, f"cover_{r}")
    weights = problem.weights or (1.0 / problem.class_count,) * problem.class_count
    lp.setObjective(pulp.LpAffineExpression(list(zip(left, weights, strict=True))))
    outcome = session.solve(lp)
    if outcome.status != "optimal":
        raise NotOptimalError(session.too_late())
    return Unserved(
        fractions=tuple(_clean(variable.varValue) for variable in left),
        counts=whole([variable.varValue for variable in variables.counts]),
    )


def _clean(fraction: float) -> float:
    return 0.0 if fraction < 1e-6 else min(1.0, fraction)


def in_the_way(problem: Problem, counts: Sequence[int], c: int) -> tuple[str, ...]:
    """The limits that one more instance of c would break, by name."""
    more = [count + (position == c) for position, count in enumerate(counts)]
    found: list[str] = []
    for limit in limits_of(problem):
        program = FixedCounts(problem, more)
        if not limit.is_minimum:
            limit.rows(program)
        found += limit.in_the_way(problem, counts, c, breaks=not program.holds)
    return tuple(found)
