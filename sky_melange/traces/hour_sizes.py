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
"""Requests of which the mean size is known."""


def sizes_by_hour(log: RequestLog, grid: TokenGrid, cycle: int, time_zone: str) -> tuple[HourSizes, ...]:
    """The sets, that with the most requests first; one: the sizes of all hours are alike.

    The fewest, up to MOST_SETS, in which the requests of no hour have MUCH_LARGER times the input or output tokens of
    their set, on average; of requests within the grid. Hours with fewer requests than ENOUGH_OF_AN_HOUR are taken
    together with those next to them that have few as well; those that are too few even so are in the first. Same log,
    same sets.
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
            np.bincount(of_hour[is_inside], weights=each[is_inside], minlength=cycle)
            for each in (np.ones(len(of_hour)), log.inputs, log.outputs)
        ]
    )
    pieces = _pieces(sums[0])
    known = [piece for piece in pieces if sums[0, piece].sum() >= ENOUGH_OF_AN_HOUR]
    untold = [hour for piece in pieces if piece not in known for hour in piece]
    totals = np.array([sums[:, piece].sum(axis=1) for piece in known]).reshape(-1, 3).T
    sets = [([hour for index in each for hour in known[index]], each) for each in _divided(totals)]
    sets.sort(key=lambda each: (-sums[0, each[0]].sum(), each[0]))
    if not sets:
        sets = [([], [])]
    sets[0] = (sorted([*sets[0][0], *untold]), sets[0][1])
    found: list[HourSizes] = []
    for hours, own_pieces in sets:
        whole = sums[:, hours].sum(axis=1)
        requests, inputs, outputs = (float(each) for each in whole)
        own = counts[hours].sum(axis=0).reshape(len(grid.input_edges), len(grid.output_edges))
        found.append(
            HourSizes(
                hours=tuple(sorted(hours)),
                requests=tuple(tuple(row) for row in own.tolist()),
                mean_input_tokens=inputs / max(requests, 1.0),
                mean_output_tokens=outputs / max(requests, 1.0),
                worst=max((_larger(totals[:, index], whole) for index in own_pieces), default=1.0),
                untold=sum(sums[0, hour] > 0 for hour in untold) if not found else 0,
            )
        )
    return tuple(found)


def _pieces(requests: Any) -> list[list[int]]:
    """Hours with enough requests by themselves, and those between them together until they are enough.

    What is left at the end of a run goes with the piece before it in the same run.
    """
    found: list[list[int]] = []
    run: list[int] = []
    has_piece = False
    for hour, count in enumerate(requests):
        if count >= ENOUGH_OF_AN_HOUR:
            found += [run] if run else []
            found.append([hour])
            run, has_piece = [], False
            continue
        run.append(hour)
        if requests[run].sum() >= ENOUGH_OF_AN_HOUR:
            found.append(run)
            run, has_piece = [], True
        elif has_piece and (hour + 1 == len(requests) or requests[hour + 1] >= ENOUGH_OF_AN_HOUR):
            found[-1] += run
            run, has_piece = [], False
    return [*found, run] if run else found


def _hours_of(log: RequestLog, cycle: int, time_zone: str) -> Any:
    times = log.times_s if log.times_s is not None else np.zeros(len(log.inputs))
    found = np.zeros(len(times), dtype=np.int64)
    for piece in local_pieces(int(times[0]), int(times[-1]) + 1, time_zone):
        low, high = np.searchsorted(times, [piece.begin_s, piece.end_s])
        found[low:high] = piece.hour % cycle
    return found


def _divided(sums: Any) -> list[list[int]]:
    """Two sets become one, those that this changes least, until the next step would put together what is unlike."""
    sets = [[index] for index in range(sums.shape[1])]
    found = sets
    while len(sets) > 1:
        totals = [sums[:, each].sum(axis=1) for each in sets]
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
