"""What became of each layout: its cross-validated error, its outliers, and why there is no profile of it."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from profile_fit.accuracy import (
    LARGEST_ERROR,
    LEAST_RUNS,
    Prediction,
    fitted,
    leave_one_out,
    outliers,
    predictor,
)
from profile_fit.fitting import Neighbour
from profile_fit.neighbours import Neighbourhood
from profile_fit.runs import NOT_OFFERED, Layout
from profile_fit.serving_runs import Run

FEW_RUNS: Final = 4
"""Below, a median would rest on too few: errors are the largest. Three runs do not tell offset, slope and prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one layout. `reason` is empty when the profile is bundled."""

    layout: Layout
    runs: tuple[Run, ...]
    outliers: tuple[tuple[Run, float], ...]
    predictions: tuple[Prediction, ...]
    neighbours: tuple[tuple[Layout, Neighbour], ...]
    reason: str

    @property
    def few(self) -> bool:
        """Whether the profile is its neighbours' law, scaled, rather than one of its own."""
        return len(self.runs) < FEW_RUNS

    @property
    def error(self) -> float | None:
        """Cross-validated TPOT error; None where there are too few runs."""
        return stated([p.tpot_fraction for p in self.predictions]) if self.predictions else None

    @property
    def refused(self) -> bool:
        """Whether the error is too large."""
        return self.error is not None and self.error > LARGEST_ERROR

    @property
    def lent(self) -> tuple[Neighbour, ...]:
        """What the neighbours lend to the fit."""
        return tuple(neighbour for _, neighbour in self.neighbours)


def examine_all(runs: Mapping[Layout, Sequence[Run]], memory_gib: Mapping[str, float]) -> list[Outcome]:
    """Every layout of a table, in its order. `memory_gib` by accelerator."""
    around = Neighbourhood(runs, memory_gib)
    return [examine(layout, found, around) for layout, found in runs.items()]


def examine(layout: Layout, runs: Sequence[Run], around: Neighbourhood) -> Outcome:
    """Cross-validates one layout and decides whether its profile is good enough to ship."""
    predictions: tuple[Prediction, ...] = ()
    wrong: tuple[tuple[Run, float], ...] = ()
    neighbours: tuple[tuple[Layout, Neighbour], ...] = ()
    if len(runs) >= LEAST_RUNS:
        memory_gib, lent = around.memory_gib[layout.accelerator], around.of(layout)
        neighbours = tuple(zip(around.names(layout), lent, strict=True))
        predictions = tuple(leave_one_out(runs, predictor(layout, memory_gib, lent)))
        wrong = tuple(outliers(runs, fitted(layout, runs, memory_gib, neighbours=lent)))
    return Outcome(
        layout=layout,
        runs=tuple(runs),
        outliers=wrong,
        predictions=predictions,
        neighbours=neighbours,
        reason=_reason(layout, predictions),
    )


def _reason(layout: Layout, predictions: Sequence[Prediction]) -> str:
    """Why there is no profile; empty when there is one."""
    if not predictions:
        return "1 run: nothing to check a fit with"
    error = stated([p.tpot_fraction for p in predictions])
    if error > LARGEST_ERROR:
        return f"cross-validated {statistic(len(predictions))} TPOT error {error:.1%}, over {LARGEST_ERROR:.0%}"
    if layout.accelerator in NOT_OFFERED:
        return f"no cloud that SkyPilot launches on offers {layout.accelerator}"
    return ""


def statistic(runs: int) -> str:
    """What is stated of the errors of so many runs."""
    return "largest" if runs < FEW_RUNS else "median"


def stated(errors: Sequence[float]) -> float:
    """The median of the errors, or the largest of few."""
    return max(errors) if statistic(len(errors)) == "largest" else statistics.median(errors)


def main_setup(runs: Sequence[Run], dates: Mapping[str, str]) -> str:
    """The engine version with the most runs; of several, the one with the newest run."""
    count = Counter(run.setup for run in runs)
    newest = {setup: max(dates[run.name] for run in runs if run.setup == setup) for setup in count}
    return max(count, key=lambda setup: (count[setup], newest[setup], setup))


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between the ordered values."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def binomial(hits: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's 95 % interval of a share: the shares that would give so many, or so few, in 2.5 %."""

    def least(count: int) -> float:
        """The share with which `count` or more are hit in 2.5 % of the cases."""
        low, high = 0.0, 1.0
        for _ in range(50):
            share = (low + high) / 2
            if _at_least(count, of, share) < 0.025:
                low = share
            else:
                high = share
        return low

    return least(hits) if hits else 0.0, 1.0 - least(of - hits) if hits < of else 1.0


def _at_least(count: int, of: int, share: float) -> float:
    logs = (
        math.lgamma(of + 1)
        - math.lgamma(k + 1)
        - math.lgamma(of - k + 1)
        + k * math.log(share)
        + (of - k) * math.log1p(-share)
        for k in range(count, of + 1)
    )
    return math.fsum(map(math.exp, logs))
