"""Means and spreads of latencies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from sky_melange.profiles.measure.results import Spread

_BATCHES: Final = 6
_LEAST_PER_BATCH: Final = 2


def spread(values: Sequence[float]) -> Spread:
    """Statistics of `values` (seconds, in order of time, at least one)."""
    ordered = sorted(values)
    return Spread(
        mean=math.fsum(values) / len(values),
        p50=percentile(ordered, 0.50),
        p99=percentile(ordered, 0.99),
        standard_error=standard_error(values),
    )


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """Percentile of sorted values, linear between the two nearest."""
    position = fraction * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean by batch means: requests that ran side by side are not independent, batches nearly.

    None with fewer than two values in each of six batches. Formula: Law, Simulation Modeling and Analysis, 9.5.3.
    """
    size = len(values) // _BATCHES
    if size < _LEAST_PER_BATCH:
        return None
    means = [math.fsum(values[i * size : (i + 1) * size]) / size for i in range(_BATCHES)]
    mean = math.fsum(means) / _BATCHES
    variance = math.fsum((value - mean) ** 2 for value in means) / (_BATCHES - 1)
    return math.sqrt(variance / _BATCHES)
