"""Takes out candidates that can never be part of a cheaper plan, before the solver sees them."""

from __future__ import annotations

import math

from sky_melange.optimizer.problem import Problem

_RELATIVE_TOLERANCE = 1e-9


def undominated(problem: Problem) -> tuple[int, ...]:
    """Indices of the candidates worth keeping, rising.

    d goes when k instances of another c do all that one d does for less money (or for the same money with k = 1 and
    c earlier in the order): c serves every class that d serves, k·load stays within d's, k·price ≤ price of d, k·usage
    of every cap ≤ d's, and k·replicas ≥ d's where a minimum is asked for. Any plan with d then becomes one with c
    that costs no more. With `max_groups` this still holds: d's group is replaced by c's.
    """
    order = sorted(range(problem.candidate_count), key=lambda c: (problem.prices[c], c))
    kept: list[int] = []
    for d in order:
        if not any(_dominates(problem, c, d) for c in kept):
            kept.append(d)
    # A dear candidate with many replicas can still dominate a cheap one only by equal cost, which the order excludes.
    return tuple(sorted(kept))


def _dominates(problem: Problem, c: int, d: int) -> bool:
    copies = _copies_needed(problem, c, d)
    if copies is None:
        return False
    cost, limit = copies * problem.prices[c], problem.prices[d]
    if cost > limit if copies == 1 else cost >= limit * (1 - _RELATIVE_TOLERANCE):
        return False
    return all(copies * cap.usage[c] <= cap.usage[d] for cap in problem.caps)


def _copies_needed(problem: Problem, c: int, d: int) -> int | None:
    """How many instances of c carry whatever one instance of d carries; None when no number does."""
    ratio = 0.0
    for row in problem.loads:
        load_c, load_d = row[c], row[d]
        if load_d is None:
            continue
        if load_c is None:
            return None
        ratio = max(ratio, load_c / load_d)
    if problem.min_replicas > 1:
        ratio = max(ratio, problem.replicas[d] / problem.replicas[c])
    return max(1, math.ceil(ratio * (1 - _RELATIVE_TOLERANCE)))
