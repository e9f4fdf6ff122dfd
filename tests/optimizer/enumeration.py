"""Problems with every kind of limit, solved by trying all counts; whether shares fit is decided in exact arithmetic.

Shares no code with the package's solver. Slower than `brute_force`, which knows fewer limits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

from brute_force import beside, exact, limits_of_kind
from rational_lp import is_feasible

from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.replicas import MinOnDemandReplicas, MinReplicas
from sky_melange.optimizer.limits.shares import ShareLimit
from sky_melange.optimizer.problem import Problem


def least_objective(problem: Problem, *, slack: float = 0.0) -> float | None:
    """USD/h with the charge for changes; None when nothing fits. `slack` widens utilisation and shares, relative."""
    found = [_objective(problem, counts) for counts in plans(problem, slack=slack)]
    return float(min(found)) if found else None


def plans(problem: Problem, *, slack: float = 0.0) -> Iterator[tuple[int, ...]]:
    """Every plan whose counts keep all limits."""
    wider = 1 + Fraction(slack)
    fits: dict[tuple[int, ...], bool] = {}
    for counts in _counts(problem):
        if (
            _within_counts(problem, counts)
            and _fits(problem, counts, wider, shares=True)
            and _survives(problem, counts, wider, fits)
        ):
            yield counts


def _counts(problem: Problem) -> Iterator[tuple[int, ...]]:
    most = []
    for c in range(problem.candidate_count):
        everything = max(sum(exact(row[c]) for row in loads if row[c] is not None) for loads in problem.cases)
        enough = math.ceil(everything / exact(problem.max_utilization)) + problem.losses
        for kind in (MinReplicas, MinOnDemandReplicas):
            enough += sum(floor.limit for floor in limits_of_kind(problem, kind))
        running = 0 if problem.keep is None else problem.keep.previous[c]
        most.append(max(enough, running))
    return itertools.product(*(range(count + 1) for count in most))


def _objective(problem: Problem, counts: Sequence[int]) -> Fraction:
    cost = _cost(problem, counts)
    if problem.keep is None:
        return cost
    changes = sum(abs(n - before) for n, before in zip(counts, problem.keep.previous, strict=True))
    return cost + exact(problem.keep.usd_per_hour) * changes


def _cost(problem: Problem, counts: Sequence[int]) -> Fraction:
    replicas = sum((exact(p) * n for p, n in zip(problem.prices, counts, strict=True)), Fraction(0))
    return replicas + beside(problem, counts)


def _within_counts(problem: Problem, counts: Sequence[int]) -> bool:
    def total(weights: Sequence[int]) -> int:
        return sum(weight * count for weight, count in zip(weights, counts, strict=True))

    groups = sum(count > 0 for count in counts)
    budget = problem.max_cost_usd_per_hour
    useless = any(count and all(row[c] is None for row in problem.loads) for c, count in enumerate(counts))
    return (
        not useless
        and all(total(problem.replicas) >= limit.limit for limit in limits_of_kind(problem, MinReplicas))
        and all(groups <= limit.limit for limit in limits_of_kind(problem, MaxGroups))
        and (problem.charges.most_groups is None or groups <= problem.charges.most_groups)
        and all(total(cap.weights) <= cap.limit for cap in limits_of_kind(problem, Cap))
        and all(total(floor.weights) >= floor.limit for floor in limits_of_kind(problem, MinOnDemandReplicas))
        and (budget is None or _cost(problem, counts) <= exact(budget))
    )


def _survives(problem: Problem, counts: Sequence[int], wider: Fraction, fits: dict[tuple[int, ...], bool]) -> bool:
    """`fits`: what is known of the counts that are left; other plans leave the same."""
    if not problem.losses:
        return True
    each = [c for c, count in enumerate(counts) for _ in range(count)]
    for gone in set(itertools.combinations(each, min(problem.losses, len(each)))):
        left = tuple(count - gone.count(c) for c, count in enumerate(counts))
        if left not in fits:
            fits[left] = _fits(problem, left, wider, shares=False)
        if not fits[left]:
            return False
    return True


def _fits(problem: Problem, counts: Sequence[int], wider: Fraction, *, shares: bool) -> bool:
    """Whether the traffic fits, routed anew; `shares`: within the share limits."""
    pairs = [
        (r, c) for r, row in enumerate(problem.loads) for c, load in enumerate(row) if load is not None and counts[c]
    ]
    if {r for r, _ in pairs} != set(range(problem.class_count)):
        return False
    equal = [([Fraction(int(r == row)) for r, _ in pairs], Fraction(1)) for row in range(problem.class_count)]
    at_most = []
    # When instances are lost, estimates are right on average.
    for case in problem.cases if shares else (problem.loads,):
        for candidate in range(problem.candidate_count):
            loads = [exact(case[r][c]) if c == candidate else Fraction(0) for r, c in pairs]
            at_most.append((loads, exact(problem.max_utilization) * counts[candidate] * wider))
    for limit in limits_of_kind(problem, ShareLimit) if shares else ():
        for _, members in limit.places:
            weights = [exact(problem.weights[r]) if members[c] else Fraction(0) for r, c in pairs]
            at_most.append((weights, exact(limit.limit_fraction) * wider))
    return is_feasible(at_most, equal)
