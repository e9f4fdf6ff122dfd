"""What several limits have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.problem import GroupCapacities, Limit, Problem, Program, Terms


class BuiltIn(Limit):
    """A limit that is a number of every problem: the program is built around it (`solve/rows.py`)."""

    __slots__ = ()

    @classmethod
    def of(cls, workload: Workload, candidates: Sequence[Candidate]) -> Iterator[Self]:
        return iter(())

    def restricted_to(self, kept: Sequence[int]) -> Self:
        return self

    def rows(self, program: Program) -> None:
        pass

    def may_replace(self, one: int, other: int, copies: int) -> bool:
        return True

    def counts_alike(self, one: int, other: int) -> bool:
        return True

    def extra_instances(self, c: int) -> int:
        return 0

    def in_the_way(self, problem: Problem, counts: Sequence[int], c: int, *, breaks: bool) -> Iterator[str]:
        return iter(())


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted(Limit):
    """Σ_c weights[c]·n_c ≤ limit, or ≥ where it is a minimum."""

    name: str
    weights: tuple[int, ...]
    limit: int

    row: ClassVar[str]

    def restricted_to(self, kept: Sequence[int]) -> Self:
        return replace(self, weights=tuple(self.weights[c] for c in kept))

    def rows(self, program: Program) -> None:
        terms = self.measure(program)
        if self.is_minimum:
            program.at_least(self.row, terms, self.limit)
        elif terms:
            program.at_most(self.row, terms, self.limit)

    def setting(self) -> str:
        return str(self.limit)

    def may_replace(self, one: int, other: int, copies: int) -> bool:
        new, old = copies * self.weights[one], self.weights[other]
        return new >= old if self.is_minimum else new <= old

    def counts_alike(self, one: int, other: int) -> bool:
        return True

    def most_instances(self, c: int) -> int | None:
        return self.limit // self.weights[c] if self.weights[c] and not self.is_minimum else None

    def extra_instances(self, c: int) -> int:
        return -(-self.limit // self.weights[c]) if self.weights[c] and self.is_minimum else 0

    def bound(self) -> float:
        return self.limit

    def measure(self, program: Program) -> Terms:
        return [(program.counts[c], weight) for c, weight in enumerate(self.weights) if weight]


@dataclass(frozen=True, slots=True, kw_only=True)
class AtLeast(Counted):
    """A minimum: Σ_c weights[c]·n_c ≥ limit."""

    row: ClassVar[str] = "floor_#"
    is_minimum: ClassVar[bool] = True

    @classmethod
    def of(cls, workload: Workload, candidates: Sequence[Candidate]) -> Iterator[Self]:
        return iter(())

    def is_met(self, counts: Sequence[int]) -> bool:
        """Whether these instances of each candidate are enough."""
        return sum(weight * n for weight, n in zip(self.weights, counts, strict=True)) >= self.limit

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        return iter(())
