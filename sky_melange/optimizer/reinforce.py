"""A plan that surely survives its losses, for when the search for the cheapest one runs out of time."""

from __future__ import annotations

from collections.abc import Sequence

from sky_melange.errors import NotOptimalError
from sky_melange.optimizer.losses import survival
from sky_melange.optimizer.lp import relative_gap
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.session import Session
from sky_melange.optimizer.solution import Solution
from sky_melange.optimizer.spread import spread


def reinforced(problem: Problem, counts: Sequence[int], bound: float, session: Session) -> Solution:
    """Adds the k instances that may be lost to every group of a plan, then takes back, dearest first, what it can.

    `bound` (USD/h) is what any plan costs at least. Raises NotOptimalError when a limit forbids it.
    """
    chosen = [count + problem.losses if count else 0 for count in counts]
    for c in sorted(range(len(chosen)), key=lambda c: (-problem.prices[c], c)):
        while chosen[c] > counts[c]:
            fewer = [count - (position == c) for position, count in enumerate(chosen)]
            if survival(problem, fewer, session).cuts:
                break
            chosen = fewer
    found = spread(problem, chosen, session)
    if found is None or found.peak_utilization > problem.max_utilization * (1 + 1e-6):
        raise NotOptimalError(session.too_late())
    return Solution(
        counts=tuple(chosen),
        shares=found.shares,
        cost_usd_per_hour=problem.cost(chosen),
        status="feasible",
        mip_gap=relative_gap(problem.objective(chosen), bound),
        contingencies=survival(problem, chosen, session).contingencies,
    )
