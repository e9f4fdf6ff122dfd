"""Candidates that carry load alike: the same layout in machines of other sizes, places and prices.

Their loads are proportional, so traffic need only be divided among kinds; within one it goes where the instances are.
That is what keeps the model small: hundreds of offers are a dozen kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sky_melange.optimizer.problem import Problem

_SAME: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """`of[c]` is the kind of candidate c, `first[k]` the candidate whose loads are the kind's.

    `strength[c]`: instances of `first[of[c]]` that one instance of c is worth.
    """

    of: tuple[int, ...]
    first: tuple[int, ...]
    strength: tuple[float, ...]

    def members(self, k: int) -> list[int]:
        """The candidates of a kind, rising."""
        return [c for c, kind in enumerate(self.of) if kind == k]


def kinds_of(problem: Problem, *, merged: bool = True) -> Kinds:
    """Kinds by proportional loads, and by the share limits that count them; `merged` False: each candidate is its own.

    Shares in slices cannot be divided further, so there each candidate stays alone.
    """
    if not merged:
        size = problem.candidate_count
        return Kinds(of=tuple(range(size)), first=tuple(range(size)), strength=(1.0,) * size)
    found: dict[tuple[object, ...], list[int]] = {}
    of: list[int] = []
    first: list[int] = []
    strength: list[float] = []
    rows = [row for loads in problem.cases for row in loads]
    for c in range(problem.candidate_count):
        column = [row[c] for row in rows]
        scale = next((load for load in column if load is not None), 1.0)
        shape = tuple(None if load is None else round(load / scale, 9) for load in column)
        key = (shape, tuple(limit.members[c] for limit in problem.share_limits))
        alike = (k for k in found.get(key, []) if _are_proportional(rows, first[k], column, scale))
        kind = next(alike, None)
        if kind is None:
            kind = len(first)
            first.append(c)
            found.setdefault(key, []).append(kind)
        of.append(kind)
        reference = next((load for row in problem.loads if (load := row[first[kind]]) is not None), 1.0)
        strength.append(reference / scale)
    return Kinds(of=tuple(of), first=tuple(first), strength=tuple(strength))


def _are_proportional(
    rows: Sequence[Sequence[float | None]], first: int, column: Sequence[float | None], scale: float
) -> bool:
    pairs = [(row[first], load) for row, load in zip(rows, column, strict=True)]
    reference = next((load for load, _ in pairs if load is not None), 1.0)
    return all(
        ours is not None and theirs is not None and abs(ours * scale - theirs * reference) <= _SAME * ours * scale
        for ours, theirs in pairs
        if ours is not None or theirs is not None
    )
