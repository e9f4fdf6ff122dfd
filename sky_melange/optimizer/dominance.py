"""Takes out candidates that can never be part of a cheaper plan, before the solver sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sky_melange.optimizer.problem import Charges, Problem

_RELATIVE_TOLERANCE: Final = 1e-9


def undominated(problem: Problem) -> tuple[int, ...]:
    """Indices of the candidates worth keeping, rising.

    d goes when k instances of another c do all that one d does for less money (or for the same money with k = 1 and
    c earlier in the order), whatever the router then costs more: c serves every class that d serves, k·load stays
    within d's, k·price ≤ price of d, k·usage of every cap ≤ d's, k·replicas and k·supply of every floor ≥ d's where a
    minimum is asked for, and c counts towards no share limit that d does not count towards. Any plan with d then
    becomes one with c that costs no more. With `max_groups` this still holds: d's group is replaced by c's. It survives
    as many losses: the k copies lost are of at most as many d's. What runs already (`keep`) stays; k copies of a
    newcomer are k changes instead of one.
    """
    table = _Table(problem)
    charges = problem.charges
    order = sorted(range(problem.candidate_count), key=lambda c: (problem.prices[c], c))
    kept: list[int] = []
    for d in order:
        runs = problem.keep is not None and problem.keep.previous[d] > 0
        if table.is_useful(d) and (runs or not table.is_dominated(d, kept, charges)):
            kept.append(d)
    return tuple(sorted(kept))


class _Table:
    """A problem as arrays: `loads` [class of a case, candidate], infinite: cannot serve; elsewhere one row a limit."""

    def __init__(self, problem: Problem) -> None:
        import numpy as np

        size = problem.candidate_count
        rows = [[np.inf if load is None else load for load in row] for loads in problem.cases for row in loads]
        self.loads = np.array(rows, dtype=float).reshape(len(rows), size)
        self.prices = np.array(problem.prices, dtype=float)
        floors = [floor.supply for floor in problem.floors]
        if problem.min_replicas > 1:
            floors.append(problem.replicas)
        self.supply = np.array(floors, dtype=float).reshape(len(floors), size)
        self.usage = np.array([cap.usage for cap in problem.caps], dtype=float).reshape(len(problem.caps), size)
        members = [limit.members for limit in problem.share_limits]
        self.members = np.array(members, dtype=bool).reshape(len(members), size)
        self.charge = 0.0 if problem.keep is None else problem.keep.usd_per_hour

    def is_useful(self, d: int) -> bool:
        """Whether it can serve anything; with no classes at all everything is."""
        import numpy as np

        return bool(not self.loads.size or np.isfinite(self.loads[:, d]).any())

    def is_dominated(self, d: int, cheaper: Sequence[int], charges: Charges) -> bool:
        """Whether k instances of one of `cheaper` replace one of d; k is the least that does its work."""
        import numpy as np

        others = np.array(cheaper, dtype=int)
        served = np.isfinite(self.loads[:, d])
        ratios = (self.loads[np.ix_(served, others)] / self.loads[served, d][:, None]).max(axis=0, initial=0.0)
        wanted = self.supply[:, d] > 0
        with np.errstate(divide="ignore"):
            supplied = self.supply[wanted, d][:, None] / self.supply[np.ix_(wanted, others)]
        ratios = np.maximum(ratios, supplied.max(axis=0, initial=0.0))
        able = np.isfinite(ratios)
        copies = np.where(able, np.maximum(1.0, np.ceil(ratios * (1 - _RELATIVE_TOLERANCE))), 1.0)
        costs = copies * self.prices[others] + (copies - 1) * self.charge
        if charges.router is not None:
            costs += [charges.replacing_usd_per_hour(d, c, int(k)) for c, k in zip(cheaper, copies, strict=True)]
        price = self.prices[d]
        dominates = able & np.where(copies == 1, costs <= price, costs < price * (1 - _RELATIVE_TOLERANCE))
        dominates &= (copies * self.usage[:, others] <= self.usage[:, [d]]).all(axis=0)
        dominates &= ~(self.members[:, others] & ~self.members[:, [d]]).any(axis=0)
        return bool(dominates.any())
