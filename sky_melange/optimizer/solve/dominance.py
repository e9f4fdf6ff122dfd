"""Takes out candidates that can never be part of a cheaper plan, before the solver sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sky_melange.optimizer.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RELATIVE_TOLERANCE: Final = 1e-9
_NEVER: Final = 1e300
"""Load of a class that a candidate cannot serve, where infinite ones would be divided by each other."""
_NEVER_RATIO: Final = 1e150
_MOST_BLOCK: Final = 64
_MOST_COMPARED: Final = 1_000_000


def undominated(problem: Problem, hourly: Sequence[float] | None = None) -> tuple[int, ...]:
    """Indices of the candidates worth keeping, rising.

    d goes when k instances of another c do all that one d does for less money (or for the same money with k = 1 and
    c earlier in the order), whatever the router then costs more: c serves every class that d serves, k·load stays
    within d's, k·price ≤ price of d, and every limit agrees (`may_replace`). Any plan with d then becomes one with c
    that costs no more. It survives as many losses: the k copies lost are of at most as many d's. What runs already
    (`keep`) stays; k copies of a newcomer are k changes instead of one. `hourly`: what an instance of each costs that
    is not bought for a term, where `problem.prices` are those of terms; it must not be dearer by either.
    """
    table = _Table(problem, problem.prices if hourly is None else hourly)
    order = sorted(range(problem.candidate_count), key=lambda c: (problem.prices[c], c))
    useful = [d for d in order if table.is_useful(d)]
    kept: list[int] = []
    while useful:
        # A block of candidates against all that are kept before it at once, and what is left of it one by one.
        size = table.block_size(len(kept))
        block, useful = useful[:size], useful[size:]
        before = len(kept)
        for d, is_dominated in zip(block, table.are_dominated(block, kept), strict=True):
            if not is_dominated and not table.are_dominated([d], kept[before:])[0]:
                kept.append(d)
    return tuple(sorted(kept))


class _Table:
    """A problem with its loads as an array [class of a case, candidate], infinite where it cannot serve."""

    def __init__(self, problem: Problem, hourly: Sequence[float]) -> None:
        import numpy as np

        rows = [[np.inf if load is None else load for load in row] for loads in problem.cases for row in loads]
        self.loads = np.array(rows, dtype=float).reshape(len(rows), problem.candidate_count)
        self.finite = np.where(np.isinf(self.loads), _NEVER, self.loads)
        keep = problem.keep
        self.runs = np.array([keep is not None and keep.previous[d] > 0 for d in range(problem.candidate_count)])
        self.prices = np.array(problem.prices, dtype=float)
        self.hourly = np.array(hourly, dtype=float)
        self.limits = problem.limits
        self.has_minima = any(limit.is_minimum for limit in problem.limits)
        self.instances_are_endpoints = problem.charges.instances_are_endpoints
        self.charge = 0.0 if keep is None else keep.usd_per_hour
        self.router = problem.charges.router
        near = () if self.router is None else self.router.near_usd_per_hour
        self.near = np.array([np.nan if price is None else price for price in near], dtype=float)
        self.most = 0.0 if self.router is None else self.router.most_usd_per_hour

    def is_useful(self, d: int) -> bool:
        """Whether it can serve anything; with no classes at all everything is."""
        import numpy as np

        return bool(not self.loads.size or np.isfinite(self.loads[:, d]).any())

    def block_size(self, kept: int) -> int:
        """Of candidates that are compared with so many others at once, within `_MOST_COMPARED` loads."""
        return max(1, min(_MOST_BLOCK, 8 + 2 * kept, _MOST_COMPARED // max(1, kept * len(self.loads))))

    def are_dominated(self, block: Sequence[int], cheaper: Sequence[int]) -> list[bool]:
        """For each of `block`, whether it does not run yet and k instances of one of `cheaper` replace one of it.

        Tried are the least k that does its work, and, where a minimum asks for more, the largest that costs less.
        """
        import numpy as np

        if not cheaper:
            return [False] * len(block)
        own, others = np.array(block, dtype=int), np.array(cheaper, dtype=int)
        # [class of a case, candidate of the block, other]: a class that it cannot serve asks nothing of the other.
        with np.errstate(over="ignore"):
            ratios = (self.finite[:, None, others] / self.loads[:, own, None]).max(axis=0, initial=0.0)
        able = ratios < _NEVER_RATIO
        least = np.where(able, np.maximum(1.0, np.ceil(ratios * (1 - _RELATIVE_TOLERANCE))), 1.0)
        affordable = able & self._is_cheaper(own, others, least) & ~self.runs[own, None]
        if not self.limits:
            return [bool(each) for each in affordable.any(axis=1)]
        return [
            any(self._is_replaced(int(others[at]), d, int(least[row, at])) for at in np.flatnonzero(affordable[row]))
            for row, d in enumerate(block)
        ]

    def _is_replaced(self, c: int, d: int, copies: int) -> bool:
        if self._may_replace(c, d, copies):
            return True
        most = self._most_copies(d, c, copies) if self.has_minima else copies
        return most > copies and self._may_replace(c, d, most)

    def _may_replace(self, c: int, d: int, copies: int) -> bool:
        return all(limit.may_replace(c, d, copies) for limit in self.limits)

    def _is_cheaper(
        self, own: NDArray[np.int_], others: NDArray[np.int_], copies: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        """`[d of own, c of others]`: whether so many copies of c cost no more than one d."""
        import numpy as np

        more = (copies - 1) * self.charge + self._more_for_router(own, others, copies)
        cheaper: NDArray[np.bool_] = np.ones(copies.shape, dtype=bool)
        for prices in (self.prices, self.hourly):
            costs, price = copies * prices[others] + more, prices[own, None]
            less = np.isinf(price) | (costs < price * (1 - _RELATIVE_TOLERANCE))
            cheaper &= np.where(copies == 1, costs <= price, less)
        return cheaper

    def _more_for_router(
        self, own: NDArray[np.int_], others: NDArray[np.int_], copies: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """At most how much the router's charge rises when so many `copies` stand in for one of d, whatever the plan."""
        import numpy as np

        if self.router is None:
            return np.zeros(copies.shape)
        # NaN: no machine near it.
        old, new = self.near[own, None], self.near[others]
        # Where the others have no machine near either, the plan paid for one elsewhere.
        anew = np.where(np.isnan(new), 0.0, np.maximum(0.0, new - self.router.elsewhere_usd_per_hour))
        moved = np.maximum(0.0, np.where(np.isnan(new), self.most, new) - old)
        more = np.where(np.isnan(old), anew, moved)
        if self.instances_are_endpoints:
            more = np.where(copies > 1, self.most, more)
        return more

    def _most_copies(self, d: int, c: int, least: int) -> int:
        """The most copies of c, of at least two, that cost less than one d."""
        import numpy as np

        router = float(self._more_for_router(np.array([d]), np.array([c]), np.array([[2.0]]))[0, 0])
        most = 1000 * least
        for prices in (self.prices, self.hourly):
            each = float(prices[c]) + self.charge
            if each > 0 and math.isfinite(prices[d]):
                room = float(prices[d]) * (1 - 2 * _RELATIVE_TOLERANCE) + self.charge - router
                most = min(most, math.ceil(room / each) - 1)
        return most
