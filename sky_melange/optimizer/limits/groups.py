"""A plan of few kinds is easier to run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.problem import GroupCapacities, Limit, Program, Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxGroups(Limit):
    """Σ_c y_c ≤ limit (`constraints.max_groups`), where y_c = 1 if n_c > 0."""

    name: str = "constraints.max_groups"
    limit: int

    @classmethod
    def of(cls, workload: Workload, candidates: Sequence[Candidate]) -> Iterator[Self]:
        if workload.constraints.max_groups is not None:
            yield cls(limit=workload.constraints.max_groups)

    def restricted_to(self, kept: Sequence[int]) -> Self:
        return self

    def rows(self, program: Program) -> None:
        program.at_most("max_groups", self.measure(program), self.limit)

    def setting(self) -> str:
        return str(self.limit)

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        limit = workload.constraints.max_groups
        if limit is not None and len(plan.groups) > limit:
            yield f"{len(plan.groups)} groups are planned, constraints.max_groups is {limit}"

    def may_replace(self, one: int, other: int, copies: int) -> bool:
        # The group of `other` becomes one of `one`, or joins it.
        return True

    def counts_alike(self, one: int, other: int) -> bool:
        return True

    def most_groups(self) -> int:
        return self.limit

    def extra_instances(self, c: int) -> int:
        return 0

    def bound(self) -> float:
        return self.limit

    def measure(self, program: Program) -> Terms:
        return [(used, 1) for used in program.used()]
