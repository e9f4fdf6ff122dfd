"""What may be spent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Objective, Workload
from sky_melange.optimizer.limits.shapes import BuiltIn
from sky_melange.optimizer.problem import GroupCapacities, Limit, Problem, Program, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxCost(BuiltIn):
    """Σ_c p_c · n_c + charges ≤ limit, USD per hour in total, where `Problem.max_cost_usd_per_hour` is set."""

    name: str = "budget (in total, USD per hour)"
    usd_per_hour: float

    @classmethod
    def set_in(cls, problem: Problem) -> Iterator[Limit]:
        if problem.max_cost_usd_per_hour is not None:
            yield cls(usd_per_hour=problem.max_cost_usd_per_hour)

    def rows(self, program: Program) -> None:
        program.at_most("budget", program.cost(), self.usd_per_hour)

    def setting(self) -> str:
        return f"USD {self.usd_per_hour:.4f} per hour"

    def text(self) -> str:
        return f"budget (in total) = {self.setting()}"

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        """Where the budget decides how much traffic is planned for; otherwise `check` reports a plan over it."""
        limit = None if workload.budget is None else workload.budget.limit_usd_per_hour
        total = plan.cost.total_usd_per_hour
        if workload.objective is Objective.MOST_TRAFFIC and limit is not None and total > limit * (1 + 1e-9):
            yield f"the plan costs USD {total!r} per hour, the budget whose most traffic is sought is {limit!r}"

    def bound(self) -> float:
        return round(self.usd_per_hour, 4)

    def measure(self, program: Program) -> Terms:
        return program.cost()

    def needed(self, measured: float) -> float:
        return math.ceil(measured * 100 - 1e-6) / 100

    def without(self, problem: Problem) -> Problem:
        return replace(problem, max_cost_usd_per_hour=None)

    def in_the_way(self, problem: Problem, counts: Sequence[int], c: int, *, breaks: bool) -> Iterator[str]:
        left = math.fsum((self.usd_per_hour, -problem.cost(counts)))
        if problem.prices[c] > left:
            yield f"budget: costs USD {problem.prices[c]:.4f}, more than the {left:.4f} left"
