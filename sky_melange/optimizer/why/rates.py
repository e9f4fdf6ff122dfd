"""The request rates at which other accelerator types become best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sky_melange.domain.explanation import MixRange
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.why.oracle import Oracle

FACTORS: Final = tuple(2.0 ** (k / 2) for k in range(-4, 5))
"""A quarter to four times the rate. Changes that are undone between two of these go unseen."""

_PRECISION: Final = 1.005
_SAME: Final = 3e-6
"""Relative; each of two costs is proven to a millionth."""

_MOST_CHANGES: Final = 16


def mixes(oracle: Oracle, problem: Problem, names: Sequence[str], request_rate_rps: float) -> tuple[MixRange, ...]:
    """Ranges of request rates, rising; `names[c]` is the accelerator of candidate c. Raises NotOptimalError."""
    search = _Search(oracle, problem, names)
    found = []
    start = FACTORS[0]
    types = search.best_types(start)
    if types is None:
        return ()
    for end, change, following in search.changes(types):
        found.append(_range(start, end, change, types, request_rate_rps))
        start, types = change, following
    found.append(_range(start, FACTORS[-1], None, types, request_rate_rps))
    return tuple(found)


def _range(start: float, end: float, change: float | None, types: frozenset[str], rate_rps: float) -> MixRange:
    return MixRange(
        from_rps=start * rate_rps,
        to_rps=end * rate_rps,
        changes_at_rps=None if change is None else change * rate_rps,
        accelerators=tuple(sorted(types)),
    )


class _Search:
    def __init__(self, oracle: Oracle, problem: Problem, names: Sequence[str]) -> None:
        self._oracle = oracle
        self._problem = problem
        self._names = names

    def best_types(self, factor: float) -> frozenset[str] | None:
        """The types of the best plan at a rate, as few as the solver used; None when there is no plan."""
        found = self._oracle.best(self._problem.at_traffic(factor))
        if found is None:
            return None
        return frozenset(name for name, count in zip(self._names, found.counts, strict=True) if count)

    def are_best(self, types: frozenset[str], factor: float) -> bool:
        """Whether a plan of these types alone costs no more than any."""
        scaled = self._problem.at_traffic(factor)
        alone = self._oracle.optimum_of_some(scaled, [c for c, name in enumerate(self._names) if name in types])
        best = self._oracle.objective(scaled)
        if best is None:
            return True
        return alone is not None and alone <= best * (1 + _SAME)

    def changes(self, types: frozenset[str]) -> Iterator[tuple[float, float, frozenset[str]]]:
        """(last factor at which the types are best, first at which they are not, the types that are best there)."""
        low = FACTORS[0]
        changed = 0
        for high in FACTORS[1:]:
            while not self.are_best(types, high) and changed < _MOST_CHANGES:
                inside, outside = self._bisect(types, low, high)
                following = self.best_types(outside)
                if following is None:
                    return
                yield inside, outside, following
                low, types = outside, following
                changed += 1
            low = high

    def _bisect(self, types: frozenset[str], inside: float, outside: float) -> tuple[float, float]:
        while outside / inside > _PRECISION:
            middle = (inside * outside) ** 0.5
            inside, outside = (middle, outside) if self.are_best(types, middle) else (inside, middle)
        return inside, outside
