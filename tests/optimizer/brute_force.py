"""Solves tiny problems by trying every count, in exact rational arithmetic. Shares no code with the package's solver.

Whether continuous shares fit into given counts is decided by linear programming duality: they do unless some weights
w ≥ 0 on the candidates have Σ_r min_c w_c·load_rc > Σ_c w_c·u·n_c. Both sides are linear between the planes w_c = 0 and
w_a·load_ra = w_b·load_rb, so only the rays where C − 1 of those planes meet need to be tried (here C ≤ 3).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from typing import TypeVar

from rational_lp import is_feasible

from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.replicas import MinReplicas
from sky_melange.optimizer.problem import Limit, Problem

Vector = tuple[Fraction, ...]
ZERO, ONE = Fraction(0), Fraction(1)


_Limit = TypeVar("_Limit", bound=Limit)


@cache
def exact(figure: float) -> Fraction:
    """As it is written."""
    return Fraction(str(figure))


def limits_of_kind(problem: Problem, kind: type[_Limit]) -> list[_Limit]:
    """The limits of one kind: their numbers alone are read, none of their methods."""
    return [limit for limit in problem.limits if isinstance(limit, kind)]


def all_plans(problem: Problem, slices: int | None, *, slack: float = 0.0) -> list[tuple[float, tuple[int, ...]]]:
    """(USD per hour, counts) of every plan, the cheapest first; `slack` as in `cheapest_cost`."""
    return list(_plans(problem, slices, slack))


def cheapest_fleet_cost(
    problems: Sequence[Problem],
    shared: Sequence[tuple[Sequence[Sequence[int]], int]],
    *,
    slack: float = 0.0,
) -> float | None:
    """USD per hour of the cheapest choice of a plan for each workload; `shared`: ([workload][candidate], limit)."""
    best: float | None = None
    for chosen in itertools.product(*(all_plans(problem, None, slack=slack) for problem in problems)):
        cost = sum(each for each, _ in chosen)
        counts = [each for _, each in chosen]
        enough = all(
            sum(w * n for row, each in zip(weights, counts, strict=True) for w, n in zip(row, each, strict=True))
            <= limit
            for weights, limit in shared
        )
        if enough and (best is None or cost < best):
            best = cost
    return best


def cheapest_placed_cost(
    problems: Sequence[Problem],
    places: Sequence[tuple[Sequence[Sequence[bool]], Fraction]],
    parts: Sequence[Fraction],
) -> float | None:
    """The same where no place may get more of the requests, those of workload k counted `parts[k]`, than its fraction.

    `places`: ([workload][candidate], fraction). Problems without limits: with more instances more is possible.
    """
    plans = [all_plans(problem, None) for problem in problems]
    if not all(plans) or not _placed(problems, [_most(each) for each in plans], places, parts):
        return None
    chosen = sorted(itertools.product(*plans), key=lambda each: sum(cost for cost, _ in each))
    return next(
        sum(cost for cost, _ in each)
        for each in chosen
        if _placed(problems, [counts for _, counts in each], places, parts)
    )


def _most(plans: Sequence[tuple[float, tuple[int, ...]]]) -> tuple[int, ...]:
    return tuple(map(max, zip(*(counts for _, counts in plans), strict=True)))


def _placed(
    problems: Sequence[Problem],
    counts: Sequence[Sequence[int]],
    places: Sequence[tuple[Sequence[Sequence[bool]], Fraction]],
    parts: Sequence[Fraction],
) -> bool:
    """Whether the requests of all can be routed so, in exact arithmetic."""
    keys = [
        (k, r, c)
        for k, problem in enumerate(problems)
        for r, row in enumerate(problem.loads)
        for c, load in enumerate(row)
        if load is not None and counts[k][c]
    ]
    classes = [(k, r) for k, problem in enumerate(problems) for r in range(problem.class_count)]
    equal = [([Fraction(key[:2] == each) for key in keys], ONE) for each in classes]
    at_most = []
    for k, problem in enumerate(problems):
        for c, count in enumerate(counts[k]):
            loads = [exact(problem.loads[key[1]][c]) if (key[0], key[2]) == (k, c) else ZERO for key in keys]
            at_most.append((loads, exact(problem.max_utilization) * count))
    for members, fraction in places:
        row = [parts[k] * exact(problems[k].weights[r]) if members[k][c] else ZERO for k, r, c in keys]
        at_most.append((row, fraction))
    return is_feasible(at_most, equal)


def cheapest_divided_cost(
    problems: Sequence[Problem],
    parts: Sequence[Sequence[int]],
    gpus: int,
    usd_per_hour: float,
    shared: tuple[Sequence[Sequence[int]], int],
) -> float | None:
    """The same where candidates may be `parts` (GPUs, 0: a machine of its own) of machines, each paid for as a whole.

    The GPUs of a machine that nobody takes count in the shared limit as well.
    """
    choices = []
    for problem, row, weights in zip(problems, parts, shared[0], strict=True):
        least: dict[tuple[tuple[int, ...], int], float] = {}
        for cost, counts in all_plans(problem, None):
            sizes = tuple(sorted(part for part, n in zip(row, counts, strict=True) if part for _ in range(n)))
            key = (sizes, _dot([0 if part else w for part, w in zip(row, weights, strict=True)], counts))
            own = cost - sum(part * usd_per_hour / gpus for part in sizes)
            least[key] = min(own, least.get(key, own))
        choices.append(list(least.items()))
    found = []
    for chosen in itertools.product(*choices):
        machines = _machines(sorted(part for (sizes, _), _ in chosen for part in sizes), gpus)
        if sum(used for (_, used), _ in chosen) + machines * gpus <= shared[1]:
            found.append(sum(cost for _, cost in chosen) + machines * usd_per_hour)
    return min(found, default=None)


@cache
def _packed(parts: tuple[int, ...], room: tuple[int, ...]) -> bool:
    """Whether parts fit into so many machines with this room, by trying every place of each."""
    if not parts:
        return True
    return any(
        _packed(parts[:-1], tuple(sorted((*room[:i], left - parts[-1], *room[i + 1 :]))))
        for i, left in enumerate(room)
        if left >= parts[-1]
    )


def _machines(parts: Sequence[int], gpus: int) -> int:
    return next(count for count in itertools.count() if _packed(tuple(parts), (gpus,) * count))


def _dot(weights: Sequence[int], counts: Sequence[int]) -> int:
    return sum(weight * count for weight, count in zip(weights, counts, strict=True))


def cheapest_cost(problem: Problem, slices: int | None, *, slack: float = 0.0) -> float | None:
    """USD per hour of the cheapest counts, None when there are none. `slack` is added to the utilisation, relative."""
    return next((cost for cost, _ in _plans(problem, slices, slack)), None)


def _plans(problem: Problem, slices: int | None, slack: float) -> Iterator[tuple[float, tuple[int, ...]]]:
    if problem.candidate_count > 3 or problem.class_count > 4:
        raise ValueError("too large to enumerate")
    allowed = exact(problem.max_utilization) * (1 + Fraction(slack))
    loads = [[None if load is None else exact(load) for load in row] for row in problem.loads]
    if any(all(load is None for load in row) for row in loads):
        return
    fits = _Continuous(loads) if slices is None else _Sliced(loads, slices)
    for cost, counts in sorted((_cost(problem, counts), counts) for counts in _counts(problem, allowed)):
        if _within_limits(problem, counts) and fits.into([allowed * count for count in counts]):
            yield cost, counts


def _cost(problem: Problem, counts: Sequence[int]) -> float:
    """Replicas, controller and router, counted from the documented rules alone."""
    replicas = sum(exact(price) * count for price, count in zip(problem.prices, counts, strict=True))
    return float(replicas + beside(problem, counts))


def beside(problem: Problem, counts: Sequence[int]) -> Fraction:
    """USD per hour of controller and router beside these counts."""
    charges = problem.charges
    groups = sum(count > 0 for count in counts)
    cost = exact(charges.base_usd_per_hour)
    for more_than, extra in charges.steps:
        if groups > more_than:
            cost += exact(extra)
    endpoints = sum(counts) if charges.instances_are_endpoints else groups
    if charges.router is not None and endpoints > 1:
        near = [charges.router.near_usd_per_hour[c] for c, count in enumerate(counts) if count]
        known = [exact(price) for price in near if price is not None]
        cost += min(known) if known else exact(charges.router.elsewhere_usd_per_hour)
    return cost


def _counts(problem: Problem, allowed: Fraction) -> Iterator[tuple[int, ...]]:
    """A candidate never needs more instances than carry all that it serves and, alone, hold all replicas."""
    most = []
    for c, replicas in enumerate(problem.replicas):
        everything = sum((exact(row[c]) for row in problem.loads if row[c] is not None), ZERO)
        minima = [limit.limit for limit in limits_of_kind(problem, MinReplicas)]
        most.append(math.ceil(everything / allowed) + sum(-(-minimum // replicas) for minimum in minima))
    return itertools.product(*(range(count + 1) for count in most))


def _within_limits(problem: Problem, counts: Sequence[int]) -> bool:
    replicas = sum(each * count for each, count in zip(problem.replicas, counts, strict=True))
    groups = sum(count > 0 for count in counts)
    return (
        all(replicas >= limit.limit for limit in limits_of_kind(problem, MinReplicas))
        and all(groups <= limit.limit for limit in limits_of_kind(problem, MaxGroups))
        and (problem.charges.most_groups is None or groups <= problem.charges.most_groups)
        and all(
            sum(usage * count for usage, count in zip(cap.weights, counts, strict=True)) <= cap.limit
            for cap in limits_of_kind(problem, Cap)
        )
    )


class _Continuous:
    def __init__(self, loads: Sequence[Sequence[Fraction | None]]) -> None:
        self._rays = [(ray, _least(loads, ray)) for ray in set(_rays(loads))]

    def into(self, room: Sequence[Fraction]) -> bool:
        return all(
            needed <= sum(weight * space for weight, space in zip(ray, room, strict=True)) for ray, needed in self._rays
        )


def _least(loads: Sequence[Sequence[Fraction | None]], weights: Vector) -> Fraction:
    """Σ_r min_c w_c·load_rc over the candidates that serve class r."""
    return sum(
        (min(w * load for w, load in zip(weights, row, strict=True) if load is not None) for row in loads),
        ZERO,
    )


def _rays(loads: Sequence[Sequence[Fraction | None]]) -> Iterator[Vector]:
    size = len(loads[0])
    for c in range(size):
        yield tuple(ONE if other == c else ZERO for other in range(size))
    ratios = {(a, b): _ratios(loads, a, b) for a, b in itertools.permutations(range(size), 2)}
    for (a, b), found in ratios.items():
        for ratio in found:
            yield _vector(size, {a: ONE, b: ratio})
    if size == 3:
        for a, b, c in itertools.permutations(range(3)):
            for first, second in itertools.product(ratios[a, b], ratios[a, c]):
                yield _vector(size, {a: ONE, b: first, c: second})


def _ratios(loads: Sequence[Sequence[Fraction | None]], a: int, b: int) -> list[Fraction]:
    """w_b ÷ w_a at which one class costs the same on both."""
    return [row[a] / row[b] for row in loads if row[a] is not None and row[b] is not None]  # type: ignore[operator]


def _vector(size: int, values: dict[int, Fraction]) -> Vector:
    return tuple(values.get(c, ZERO) for c in range(size))


class _Sliced:
    def __init__(self, loads: Sequence[Sequence[Fraction | None]], slices: int) -> None:
        """Every way to deal out the slices, as total loads by candidate; ways worse than another are dropped."""
        totals: set[Vector] = {tuple(ZERO for _ in loads[0])}
        for row in loads:
            ways = [way for way in _compositions(slices, len(row)) if _allowed(way, row)]
            totals = {
                tuple(
                    total + Fraction(k, slices) * (load or ZERO) for total, k, load in zip(old, way, row, strict=True)
                )
                for old in totals
                for way in ways
            }
        self._totals = _undominated(totals)

    def into(self, room: Sequence[Fraction]) -> bool:
        return any(all(load <= space for load, space in zip(total, room, strict=True)) for total in self._totals)


def _undominated(totals: set[Vector]) -> list[Vector]:
    kept: list[Vector] = []
    for total in sorted(totals, key=lambda vector: (sum(vector), vector)):
        if not any(all(a <= b for a, b in zip(other, total, strict=True)) for other in kept):
            kept.append(total)
    return kept


def _allowed(way: Sequence[int], row: Sequence[Fraction | None]) -> bool:
    return all(k == 0 or load is not None for k, load in zip(way, row, strict=True))


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)
