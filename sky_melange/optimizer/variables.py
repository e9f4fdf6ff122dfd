"""The variables of the model. Names come from indices: PuLP maps `-` and `_` alike, so user text would collide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pulp

from sky_melange.optimizer.kinds import Kinds, kinds_of
from sky_melange.optimizer.limits import Keep
from sky_melange.optimizer.problem import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """`counts[c]` = n_c instances; `shares[r][k]` = x_rk, None where kind k cannot serve r; `used[c]` = y_c.

    The share of class r that goes to kind k (see `kinds`) is x_rk ÷ `slices`. y_c is 1 if n_c > 0. `max_counts[c]` is
    an n_c that no optimum needs to exceed. `changed[c]` = d_c: how many more or fewer than in the running plan.
    `traffic` is the factor t on all traffic where the most of it is sought, None where the traffic is given.
    """

    counts: tuple[pulp.LpVariable, ...]
    shares: tuple[tuple[pulp.LpVariable | None, ...], ...]
    used: tuple[pulp.LpVariable, ...]
    kinds: Kinds
    slices: int
    max_counts: tuple[int, ...]
    changed: tuple[pulp.LpVariable, ...] = ()
    traffic: pulp.LpVariable | None = None

    @property
    def whole(self) -> pulp.LpAffineExpression:
        """What the x_rk of a class sum to: S, or t where the traffic is sought."""
        return pulp.LpAffineExpression([], self.slices) if self.traffic is None else self.traffic * self.slices


def make_variables(
    lp: pulp.LpProblem, problem: Problem, slices: int | None, *, most_traffic: float | None = None
) -> Variables:
    """Adds the variables to `lp`.

    `slices` None: continuous shares (the exact formulation); otherwise integer multiples of 1/slices.
    `most_traffic`: the traffic is a variable up to this factor; exact formulation only.
    """
    kinds = kinds_of(problem, merged=slices is None)
    scale = 1 if slices is None else slices
    category = pulp.LpContinuous if slices is None else pulp.LpInteger
    max_share = scale if most_traffic is None else most_traffic
    max_counts = tuple(_max_count(problem, c, most_traffic) for c in range(problem.candidate_count))
    counts = tuple(
        lp.add_variable(f"n_{c}", lowBound=0, upBound=bound, cat=pulp.LpInteger) for c, bound in enumerate(max_counts)
    )
    return Variables(
        counts=counts,
        shares=tuple(
            tuple(
                None if row[c] is None else lp.add_variable(f"x_{r}_{c}", lowBound=0, upBound=max_share, cat=category)
                for c in kinds.first
            )
            for r, row in enumerate(problem.loads)
        ),
        kinds=kinds,
        used=tuple(lp.add_variable(f"y_{c}", cat=pulp.LpBinary) for c in range(problem.candidate_count)),
        slices=scale,
        max_counts=max_counts,
        changed=() if problem.keep is None else _changed(lp, counts, problem.keep),
        traffic=None if most_traffic is None else lp.add_variable("traffic", lowBound=0, upBound=most_traffic),
    )


def _changed(lp: pulp.LpProblem, counts: Sequence[pulp.LpVariable], keep: Keep) -> tuple[pulp.LpVariable, ...]:
    """d_c; where nothing runs yet that is n_c itself."""
    return tuple(
        lp.add_variable(f"d_{c}", lowBound=0) if before else counts[c] for c, before in enumerate(keep.previous)
    )


def _max_count(problem: Problem, c: int, most_traffic: float | None) -> int:
    """Enough instances of c to carry all that it can serve, for every minimum, and to lose some; or what limits allow.

    With `keep`, those that run already may stay.
    """
    load = math.fsum(row[c] or 0.0 for row in problem.loads) * (most_traffic or 1.0)
    enough = math.ceil(load / problem.max_utilization) + math.ceil(problem.min_replicas / problem.replicas[c]) + 1
    enough += sum(math.ceil(floor.minimum / floor.supply[c]) for floor in problem.floors if floor.supply[c])
    enough += problem.losses
    if problem.keep is not None:
        enough = max(enough, problem.keep.previous[c])
    allowed = [cap.limit // cap.usage[c] for cap in problem.caps if cap.usage[c]]
    if problem.max_cost_usd_per_hour is not None and problem.prices[c] > 0:
        allowed.append(math.floor(problem.max_cost_usd_per_hour / problem.prices[c] * (1 + 1e-9)))
    return min(enough, *allowed) if allowed else enough
