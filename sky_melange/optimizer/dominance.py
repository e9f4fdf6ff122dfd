"""Takes out candidates that can never be part of a cheaper plan, before the solver sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sky_melange.optimizer.problem import Problem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RELATIVE_TOLERANCE: Final = 1e-9


def undominated(problem: Problem) -> tuple[int, ...]:
    """Indices of the candidates worth keeping, rising.

    d goes when k instances of another c do all that one d does for less money (or for the same money with k = 1 and
    c earlier in the order): c serves every class that d serves, k·load stays within d's, k·price ≤ price of d, k·usage
    of every cap ≤ d's, and k·replicas ≥ d's where a minimum is asked for. Any plan with d then becomes one with c
    that costs no more. With `max_groups` this still holds: d's group is replaced by c's.
    """
    import numpy as np

    loads = np.array([[np.inf if load is None else load for load in row] for row in problem.loads])
    prices = np.array(problem.prices)
    useful = np.isfinite(loads).any(axis=0) if problem.class_count else np.ones(len(prices), dtype=bool)
    order = sorted(range(problem.candidate_count), key=lambda c: (problem.prices[c], c))
    kept: list[int] = []
    for d in order:
        cheaper = np.array(kept, dtype=int)
        if useful[d] and not _is_dominated(problem, loads, prices, cheaper, d):
            kept.append(d)
    return tuple(sorted(kept))


def _is_dominated(
    problem: Problem, loads: NDArray[np.float64], prices: NDArray[np.float64], cheaper: NDArray[np.int_], d: int
) -> bool:
    """Whether k instances of one of the candidates `cheaper` replace one of d; k is the least that carries its work."""
    import numpy as np

    served = np.isfinite(loads[:, d])
    ratios = (loads[served][:, cheaper] / loads[served, d][:, None]).max(axis=0, initial=0.0)
    if problem.min_replicas > 1:
        replicas = np.array(problem.replicas)
        ratios = np.maximum(ratios, replicas[d] / replicas[cheaper])
    able = np.isfinite(ratios)
    copies = np.where(able, np.maximum(1.0, np.ceil(ratios * (1 - _RELATIVE_TOLERANCE))), 1.0)
    costs = copies * prices[cheaper]
    dominates = able & np.where(copies == 1, costs <= prices[d], costs < prices[d] * (1 - _RELATIVE_TOLERANCE))
    for cap in problem.caps:
        usage = np.array(cap.usage)
        dominates &= copies * usage[cheaper] <= usage[d]
    return bool(dominates.any())
