"""Several workloads that share quotas and machines, as plain numbers; nothing of PuLP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve.solution import Solution


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLimit:
    """Σ_k Σ_c weights[k][c] · n_kc ≤ limit over the candidates c of all workloads k."""

    name: str
    weights: tuple[tuple[int, ...], ...]
    limit: int

    def used_by(self, k: int, counts: Sequence[int]) -> int:
        """What the counts of workload k take of it."""
        return sum(weight * count for weight, count in zip(self.weights[k], counts, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetProblem:
    """The problems of the workloads, each with its own limits, and what they share.

    `problems[k]` keep every shared limit by themselves, too, so that what is true of a workload alone (such as which
    candidates dominate) stays true in the fleet: `of` sees to it. A budget of all together is no part of it: it is held
    against what the cheapest plans cost.
    """

    problems: tuple[Problem, ...]
    shared: tuple[SharedLimit, ...] = ()

    @classmethod
    def of(cls, problems: Sequence[Problem], shared: Sequence[SharedLimit]) -> FleetProblem:
        """The problem of workloads that do not know yet what they share."""
        limited = tuple(
            replace(problem, limits=(*problem.limits, *shared_caps(shared, k))) for k, problem in enumerate(problems)
        )
        return cls(problems=limited, shared=tuple(shared))

    def cost(self, counts: Sequence[Sequence[int]]) -> float:
        """USD per hour of all workloads, charges included."""
        return math.fsum(problem.cost(each) for problem, each in zip(self.problems, counts, strict=True))

    def objective(self, counts: Sequence[Sequence[int]]) -> float:
        """What is minimised: the cost, and what running plans charge for changes."""
        return math.fsum(problem.objective(each) for problem, each in zip(self.problems, counts, strict=True))

    def used(self, counts: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Of each shared limit."""
        return tuple(sum(limit.used_by(k, each) for k, each in enumerate(counts)) for limit in self.shared)

    def is_within(self, counts: Sequence[Sequence[int]]) -> bool:
        """Whether everything that is shared suffices."""
        return all(used <= limit.limit for used, limit in zip(self.used(counts), self.shared, strict=True))


def shared_caps(shared: Sequence[SharedLimit], k: int) -> tuple[Cap, ...]:
    """What the shared limits mean for workload k alone: it has no more of each than there is."""
    return tuple(
        Cap(name=limit.name, weights=limit.weights[k], limit=limit.limit) for limit in shared if any(limit.weights[k])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSolution:
    """`solutions[k]` of workload k, at its own prices. `status` and `mip_gap` as in `Solution`, of the fleet's cost.

    `worth_usd_per_hour[j]`: what one unit more of shared limit j saves , by the prices of what is shared that proved
    the most; 0 where it is not short.
    """

    solutions: tuple[Solution, ...]
    cost_usd_per_hour: float
    bound_usd_per_hour: float
    status: str
    mip_gap: float
    worth_usd_per_hour: tuple[float, ...] = ()

    @property
    def counts(self) -> tuple[tuple[int, ...], ...]:
        """`[workload][candidate]`."""
        return tuple(solution.counts for solution in self.solutions)
