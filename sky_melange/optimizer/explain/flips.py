"""The price at which something leaves or enters the best plan.

With the prices of a set S of candidates multiplied by f, a plan costs a + f·b, where b is what it spends on S today. So
the least cost Z(f) of the plans that use S is concave and piecewise linear in f, and rises. It meets the cost of the
best plan without S at one f. Newton's method finds it exactly, since each step solves for the line that holds there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sky_melange.optimizer.explain.oracle import Oracle, forced, priced
from sky_melange.optimizer.problem import Problem

_STEPS: Final = 40
_TOLERANCE: Final = 1e-9
_NEXT_TO_FREE: Final = 1e-5
"""Of today's price: what does not enter even then is said to enter at no price."""


def factor_at(
    oracle: Oracle, problem: Problem, some: Collection[int], target_usd_per_hour: float, start: float = 1.0
) -> float | None:
    """The factor on the prices of `some` at which the best plan that uses them costs `target_usd_per_hour`.

    None: no plan can use them, or one that does costs more even when they are free. Raises NotOptimalError.
    """
    using = forced(problem, some)
    factor = start
    for _ in range(_STEPS):
        at_factor = priced(using, some, factor)
        found = oracle.best(at_factor)
        if found is None:
            return None
        cost = at_factor.objective(found.counts)
        spent = sum(problem.prices[c] * found.counts[c] for c in some)
        if spent <= 0:
            # Paid for already: its price plays no part.
            return None
        following = factor + (target_usd_per_hour - cost) / spent
        if abs(following - factor) <= _TOLERANCE * max(1.0, factor) or _is_settled(cost, target_usd_per_hour):
            break
        if following < _NEXT_TO_FREE and factor == _NEXT_TO_FREE:
            return None
        factor = max(following, _NEXT_TO_FREE)
    return factor if factor > 2 * _NEXT_TO_FREE else None


def _is_settled(cost: float, target: float) -> bool:
    """Whether the rest of the way is within the gap that a solve is proven to."""
    return abs(target - cost) <= 1e-9 * max(1.0, target)
