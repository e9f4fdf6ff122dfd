"""Which hours of a log have sizes of their own: as few sets of hours as tell sizes apart that matter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import MUCH_LARGER, HourSizes
from sky_melange.traces.hours import local_pieces
from sky_melange.traces.request_log import RequestLog

MOST_SETS: Final = 4
ENOUGH_OF_AN_HOUR: Final = 500
"""Requests in the same hour of all days or weeks, of which the mean size is known."""


def sizes_by_hour(log: RequestLog, grid: TokenGrid, cycle: int, time_zone: str) -> tuple[HourSizes, ...]:
    """The sets, that with the most requests first; one: the sizes of all hours are alike.

    The fewest, up to MOST_SETS, in which the requests of no hour have MUCH_LARGER times the input or output tokens of
    their set, on average. Hours with fewer requests than ENOUGH_OF_AN_HOUR are in the first. Same log, same sets.
    """
    of_hour = _hours_of(log, cycle, time_zone)
    rows = np.searchsorted(grid.input_edges, log.inputs)
    columns = np.searchsorted(grid.output_edges, log.outputs)
    is_inside = (rows < len(grid.input_edges)) & (columns < len(grid.output_edges))
    size = len(grid.input_edges) * len(grid.output_edges)
    place = of_hour * size + rows * len(grid.output_edges) + columns
    counts = np.bincount(place[is_inside], minlength=cycle * size).reshape(cycle, size)
    sums = np.array(
        [
            np.bincount(of_hour, weights=each, minlength=cycle)
            for each in (np.ones(len(of_hour)), log.inputs, log.outputs)
        ]
    )
    known = [hour for hour in range(cycle) if sums[0, hour] >= ENOUGH_OF_AN_HOUR and counts[hour].any()]
    sets = _divided(sums, known)
    sets.sort(key=lambda hours: (-sums[0, hours].sum(), hours))
    if not sets:
        sets = [[]]
    sets[0] = sorted({*sets[0], *(hour for hour in range(cycle) if hour not in known)})
    found = []
    for hours in sets:
        requests, inputs, outputs = (float(each) for each in sums[:, hours].sum(axis=1))
        own = counts[hours].sum(axis=0).reshape(len(grid.input_edges), len(grid.output_edges))
        means = (inputs / max(requests, 1.0), outputs / max(requests, 1.0))
        found.append(
            HourSizes(
                hours=tuple(hours),
                requests=tuple(tuple(row) for row in own.tolist()),
                mean_input_tokens=means[0],
                mean_output_tokens=means[1],
                worst=max(
                    (_larger(sums[:, hour], sums[:, hours].sum(axis=1)) for hour in hours if hour in known), default=1.0
                ),
            )
        )
    return tuple(found)


def _hours_of(log: RequestLog, cycle: int, time_zone: str) -> Any:
    times = log.times_s if log.times_s is not None else np.zeros(len(log.inputs))
    found = np.zeros(len(times), dtype=np.int64)
    for piece in local_pieces(int(times[0]), int(times[-1]) + 1, time_zone):
        low, high = np.searchsorted(times, [piece.begin_s, piece.end_s])
        found[low:high] = piece.hour % cycle
    return found


def _divided(sums: Any, known: Sequence[int]) -> list[list[int]]:
    """Two sets become one, those that this changes least, until the next step would put together what is unlike."""
    sets = [[hour] for hour in known]
    found = sets
    while len(sets) > 1:
        totals = [sums[:, hours].sum(axis=1) for hours in sets]
        pairs = [(i, j) for i in range(len(sets)) for j in range(i + 1, len(sets))]
        one, other = min(pairs, key=lambda pair: (_change(totals[pair[0]], totals[pair[1]]), pair))
        joined = sorted(sets[one] + sets[other])
        sets = [joined if index == one else hours for index, hours in enumerate(sets) if index != other]
        if len(sets) >= MOST_SETS or all(_are_alike(sums, hours) for hours in sets):
            found = sets
    return found


def _change(one: Any, other: Any) -> float:
    """Ward's: what the squares of logarithms of the mean sizes grow by, each hour as heavy as its requests."""
    distance = float(((np.log(one[1:] / one[0]) - np.log(other[1:] / other[0])) ** 2).sum())
    return float(one[0] * other[0] / (one[0] + other[0])) * distance


def _are_alike(sums: Any, hours: Sequence[int]) -> bool:
    total = sums[:, hours].sum(axis=1)
    return all(_larger(sums[:, hour], total) < MUCH_LARGER for hour in hours)


def _larger(one: Any, total: Any) -> float:
    """How many times the tokens of the mean request, input or output, whichever is more."""
    return float(((one[1:] / one[0]) / (total[1:] / total[0])).max())
