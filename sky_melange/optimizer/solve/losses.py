"""Plans that survive the loss of any k instances: checked by linear programs, enforced by cuts (see `LossCut`)."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.optimizer.problem import LossCut, Problem
from sky_melange.optimizer.solve.reduction import class_values
from sky_melange.optimizer.solve.session import Session
from sky_melange.optimizer.solve.solution import Contingency
from sky_melange.optimizer.solve.spread import Spread, spread

_TOLERANCE: Final = 5e-6
"""Relative, on the utilisation after a loss: above the solver's own 1e-6, below the verifier's 1e-5."""

_SMALLEST_WEIGHT: Final = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Survival:
    """What happens to given counts: a contingency for each loss survived, a cut for each that is not."""

    contingencies: tuple[Contingency, ...]
    cuts: tuple[LossCut, ...]


def survival(problem: Problem, counts: Sequence[int], session: Session) -> Survival:
    """Tries every loss of `problem.losses` instances of these counts, the traffic routed anew each time.

    Fewer losses need no test of their own: what is left of the plan is more. Estimates of sizes are right on average.
    """
    problem = problem.on_average
    contingencies, cuts = [], []
    for lost in losses_of(counts, problem.losses):
        left = [count - gone for count, gone in zip(counts, lost, strict=True)]
        found = spread(problem, left, session, limited=False)
        if found is not None and found.peak_utilization <= problem.max_utilization * (1 + _TOLERANCE):
            contingencies.append(Contingency(lost=lost, shares=found.shares, peak_utilization=found.peak_utilization))
        else:
            cuts.append(_cut(problem, left, lost, found))
    return Survival(contingencies=tuple(contingencies), cuts=tuple(cuts))


def losses_of(counts: Sequence[int], losses: int) -> Iterator[tuple[int, ...]]:
    """Every way to lose `losses` instances (all of them, when there are no more), in a fixed order."""
    used = [c for c, count in enumerate(counts) if count > 0]
    for chosen in itertools.combinations_with_replacement(used, min(losses, sum(counts))):
        gone = Counter(chosen)
        if all(instances <= counts[c] for c, instances in gone.items()):
            yield tuple(gone.get(c, 0) for c in range(len(counts)))


def with_first_cut(problem: Problem) -> Problem:
    """The problem with the cut whose weights are the value of the work (`class_values`), which needs no solve."""
    if not problem.losses or problem.loss_cuts:
        return problem
    values = class_values(problem)
    nothing = (0,) * problem.candidate_count
    return replace(problem, loss_cuts=(_cut_of(problem, values, {}, nothing),))


def _cut(problem: Problem, left: Sequence[int], lost: tuple[int, ...], found: Spread | None) -> LossCut:
    """The dual of the failed spread; for a class left without a server, that one must be there."""
    if found is None:
        unserved = next(
            row for row in problem.loads if all(load is None or not n for load, n in zip(row, left, strict=True))
        )
        return LossCut(weights=tuple(0.0 if load is None else 1.0 for load in unserved), demand=1.0, lost=lost)
    known = [c for c, count in enumerate(left) if count > 0]
    values = [
        min(
            math.fsum(
                weights[c] * (loads[r][c] or 0.0) for weights, loads in zip(found.weights, problem.cases, strict=True)
            )
            for c in known
            if row[c] is not None
        )
        for r, row in enumerate(problem.loads)
    ]
    sums = {c: math.fsum(weights[c] for weights in found.weights) for c in known}
    return _cut_of(problem, values, sums, lost)


def _cut_of(problem: Problem, values: Sequence[float], known: Mapping[int, float], lost: tuple[int, ...]) -> LossCut:
    """w_c = max_r π_r ÷ load_rc is feasible in the dual for `values` π, and the least by one case: that of the case
    where it is least is taken. `known` w_c are so already.

    Weights below a ten-millionth of the largest are raised to that: still valid, and kinder to the solver.
    """
    weights = []
    for c in range(problem.candidate_count):
        needed = (
            max((values[r] / load for r, load in problem.loads_on(c, loads) if values[r] > 0), default=0.0)
            for loads in problem.on_average.cases
        )
        weights.append(known[c] if c in known else min(needed))
    least = max(weights) * _SMALLEST_WEIGHT
    return LossCut(
        weights=tuple(problem.max_utilization * max(weight, least) if weight else 0.0 for weight in weights),
        demand=math.fsum(values),
        lost=lost,
    )
