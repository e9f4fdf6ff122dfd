"""Answers "what would the best plan cost if …" by solving, and at which price something leaves or enters it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.limits.shapes import AtLeast
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve.session import Session
from sky_melange.optimizer.solve.solution import Solution
from sky_melange.optimizer.solve.solver import solve_within


class Oracle:
    """Solves without settling ties: only costs are asked for. `solves` counts."""

    def __init__(self, settings: SolverSettings) -> None:
        self._session = Session(replace(settings, break_ties=False))
        self.solves = 0

    def best(self, problem: Problem) -> Solution | None:
        """The optimum, None when there is no plan. Raises NotOptimalError when it cannot be proven in time."""
        self.solves += 1
        if any(all(load is None for load in row) for row in problem.loads):
            return None
        try:
            found = solve_within(problem, self._session)
        except InfeasibleError:
            return None
        if found.status != "optimal":
            raise NotOptimalError(self._session.too_late())
        return found

    def objective(self, problem: Problem) -> float | None:
        """What the optimum costs, USD/h, with the charge for changes; None when there is no plan."""
        found = self.best(problem)
        return None if found is None else problem.objective(found.counts)

    def optimum_of_some(self, problem: Problem, kept: Collection[int]) -> float | None:
        """The same with the candidates `kept` alone, the charge for stopping the others included."""
        chosen = sorted(kept)
        found = self.objective(problem.restricted_to(chosen)) if chosen else None
        return None if found is None else found + stopping_others(problem, chosen)


def without(problem: Problem, gone: Collection[int]) -> tuple[Problem, list[int]]:
    """The problem without some candidates, and which are left. Its objective lacks `stopping_others`."""
    left = [c for c in range(problem.candidate_count) if c not in gone]
    return problem.restricted_to(left), left


def stopping_others(problem: Problem, kept: Collection[int]) -> float:
    """USD/h that `keep` charges for having nothing but the candidates `kept`."""
    return 0.0 if problem.keep is None else problem.keep.stopping_others_usd_per_hour(kept)


def forced(problem: Problem, some: Collection[int]) -> Problem:
    """The problem in which at least one instance of some of these candidates is bought."""
    bought = AtLeast(name="forced", weights=tuple(int(c in some) for c in range(problem.candidate_count)), limit=1)
    return replace(problem, limits=(*problem.limits, bought))


def priced(problem: Problem, some: Collection[int], factor: float) -> Problem:
    """The problem with the prices of some candidates multiplied."""
    prices = tuple(price * factor if c in some else price for c, price in enumerate(problem.prices))
    return replace(problem, prices=prices)


_STEPS: Final = 40
_TOLERANCE: Final = 1e-9
_NEXT_TO_FREE: Final = 1e-5
"""Of today's price: what does not enter even then is said to enter at no price."""


def factor_at(
    oracle: Oracle, problem: Problem, some: Collection[int], target_usd_per_hour: float, start: float = 1.0
) -> float | None:
    """The factor on the prices of `some` at which the best plan that uses them costs `target_usd_per_hour`.

    With their prices multiplied by f, a plan costs a + f·b, where b is what it spends on them today. So the least cost
    Z(f) of the plans that use them is concave and piecewise linear in f, and rises. It meets the cost of the best plan
    without them at one f. Newton's method finds it exactly, since each step solves for the line that holds there.

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
