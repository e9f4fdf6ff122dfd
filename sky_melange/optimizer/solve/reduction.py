"""Proves, before the integer program is solved in full, that most candidates cannot be part of an optimum.

Without integrality the model splits by class: class r is served where p_c·load_rc ÷ u is least, at the value v_r, and
Σ_r v_r bounds the cost from below. An instance of c costs p_c and can carry work worth at most V_c, the value of a
fractional knapsack of capacity u over the classes (weights load_rc, values v_r, each class at most once). So a plan
that uses c costs at least Σ v_r + p_c − V_c (Lagrangian bound; V is concave in the number of instances, so one is
the best case), and c can go when that exceeds the cost of a plan that we have. Constraints only raise the cost: the
bound holds with them, as long as the plan at hand satisfies them.

When any k instances may be lost, what is left must still be worth Σ v_r, so the cost is at least Σ v_r plus the k
dearest instances, c among them if it is used. A router adds what the cheapest one costs to every plan that has one; a
plan without one is a single endpoint, whose cost is bounded by itself. A charge for changes
(`keep`) only adds to the cost; what runs already is kept as a candidate, since dropping it is charged for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sky_melange.optimizer.problem import Problem

_RELATIVE_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduction:
    """`mix_bound` on the total (USD/h) of plans with a router, and of any where none is paid for.

    `surcharges[c]`: how much more such a plan with c costs at least. `alone[c]`: bound on the total of a plan whose one
    endpoint is of c, which pays for no router; infinite where c cannot serve everything.
    """

    mix_bound: float
    surcharges: tuple[float, ...]
    alone: tuple[float, ...]

    @property
    def lower_bound(self) -> float:
        """No plan costs less, USD/h."""
        return min(self.mix_bound, *self.alone)

    def keep(self, upper_bound: float) -> tuple[int, ...]:
        """Candidates that may be part of a plan of total ≤ `upper_bound`, rising."""
        tolerance = _RELATIVE_TOLERANCE * max(1.0, upper_bound)
        slack = upper_bound - self.mix_bound + tolerance
        return tuple(
            c
            for c, (surcharge, alone) in enumerate(zip(self.surcharges, self.alone, strict=True))
            if surcharge <= slack or alone <= upper_bound + tolerance
        )

    def most_promising(self, problem: Problem, count: int) -> tuple[int, ...]:
        """About `count` candidates to look for a good plan among, rising; together they serve every class."""
        ranked = sorted(
            range(problem.candidate_count), key=lambda c: (self.surcharges[c] / max(problem.prices[c], 1e-9), c)
        )
        chosen = set(ranked[:count])
        by_itself = min(range(problem.candidate_count), key=lambda c: (self.alone[c], c))
        if math.isfinite(self.alone[by_itself]):
            chosen.add(by_itself)
        for row in problem.loads:
            if not any(row[c] is not None for c in chosen):
                chosen.add(next(c for c in ranked if row[c] is not None))
        if problem.keep is not None:
            chosen.update(c for c, before in enumerate(problem.keep.previous) if before)
        return tuple(sorted(chosen))


def class_values(problem: Problem) -> list[float]:
    """v_r = min_c p_c·load_rc ÷ u, USD/h: what serving class r costs at least; each must have a server."""
    return [
        min(problem.prices[c] * load / problem.max_utilization for c, load in enumerate(row) if load is not None)
        for row in problem.loads
    ]


def reduce_problem(problem: Problem) -> Reduction:
    """Bounds in closed form; every class must have a candidate that serves it."""
    values = class_values(problem)
    forced = [price - _most_valuable_work(problem, values, c) for c, price in enumerate(problem.prices)]
    return reduction_of(problem, values, forced)


def reduction_of(problem: Problem, served: Sequence[float], forced: Sequence[float]) -> Reduction:
    """From a bound on serving everything (the sum of `served`), and by how much an instance of each raises it.

    Both are of the model without its limits, losses and charges.
    """
    spare = problem.losses * min(problem.prices)
    surcharges = [more - spare for more in forced]
    if problem.losses:
        surcharges = [max(s, p - min(problem.prices)) for s, p in zip(surcharges, problem.prices, strict=True)]
    if problem.keep is not None:
        charge = problem.keep.usd_per_hour
        surcharges = [
            0.0 if before else surcharge + charge
            for before, surcharge in zip(problem.keep.previous, surcharges, strict=True)
        ]
    charges = problem.charges
    router = 0.0 if charges.router is None else charges.router.least_usd_per_hour
    return Reduction(
        mix_bound=math.fsum((*served, spare, charges.base_usd_per_hour, router)),
        surcharges=tuple(max(0.0, surcharge) for surcharge in surcharges),
        alone=tuple(_alone(problem, c) if router else math.inf for c in range(problem.candidate_count)),
    )


def _alone(problem: Problem, c: int) -> float:
    """USD/h that a plan with a single endpoint, of c, costs at least."""
    load = [row[c] for row in problem.loads]
    if any(each is None for each in load):
        return math.inf
    busy = math.fsum(each for each in load if each is not None) / problem.max_utilization
    instances = max(1, math.ceil(busy * (1 - 1e-6))) + problem.losses
    if problem.charges.instances_are_endpoints and instances > 1:
        return math.inf
    return problem.prices[c] * instances + problem.charges.base_usd_per_hour


def _most_valuable_work(problem: Problem, values: list[float], c: int) -> float:
    """V_c in USD/h: the fractional knapsack of one instance, filled by value per load."""
    items = sorted(((values[r] / load, load) for r, load in problem.loads_on(c)), reverse=True)
    room, worth = problem.max_utilization, 0.0
    for value_per_load, load in items:
        taken = min(load, room)
        worth += value_per_load * taken
        room -= taken
        if room <= 0:
            break
    return worth
