"""Which other layouts of a model lend the shape of their laws to one with few runs of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from profile_fit.accuracy import fitted
from profile_fit.fitting import Fit, Neighbour
from profile_fit.runs import Layout
from profile_fit.serving_runs import Run, without_waiting

MOST_NEIGHBOURS: Final = 2
NEIGHBOURS_WEIGHT: Final = 2.0
"""How many own runs all neighbours' runs together weigh at most."""

_FULL_RUNS: Final = 4
"""Runs from which a neighbour counts in full."""


class Neighbourhood:
    """Layouts and their runs, each with a law fitted to it alone."""

    def __init__(self, runs: Mapping[Layout, Sequence[Run]], memory_gib: Mapping[str, float]) -> None:
        self.memory_gib = memory_gib
        self._runs = runs
        self._alone: dict[Layout, Fit] = {}

    def names(self, layout: Layout) -> list[Layout]:
        """The nearest other layouts of the same model, nearest first; the order of layouts breaks ties."""
        others = [other for other in self._runs if other != layout and other.model == layout.model]
        return sorted(others, key=lambda other: (-similarity(layout, other), other))[:MOST_NEIGHBOURS]

    def of(self, layout: Layout) -> tuple[Neighbour, ...]:
        """What the nearest layouts lend. Nothing in it depends on the runs of `layout` itself."""
        names = self.names(layout)
        shares = [similarity(layout, name) * min(1.0, len(self._runs[name]) / _FULL_RUNS) for name in names]
        return tuple(
            Neighbour(
                runs=tuple(without_waiting(self._runs[name])),
                fitted=self._law(name),
                weight=NEIGHBOURS_WEIGHT * share / sum(shares),
            )
            for name, share in zip(names, shares, strict=True)
        )

    def _law(self, layout: Layout) -> Fit:
        if layout not in self._alone:
            self._alone[layout] = fitted(layout, self._runs[layout], self.memory_gib[layout.accelerator])
        return self._alone[layout]


def similarity(one: Layout, other: Layout) -> float:
    """1 for the same, half as much for each thing that differs and each doubling of the GPUs."""
    different = sum(
        getattr(one, name) != getattr(other, name) for name in ("accelerator", "engine", "dtype", "sharing")
    )
    return float(0.5 ** (different + abs(math.log2(one.gpus / other.gpus))))
