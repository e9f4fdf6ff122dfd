"""What aggregates have in common: rows that `where` chooses, one model, and a rate known only by steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import Cell, Outside, RateSummary, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.engine import Seen, Survey
from sky_melange.traces.hours import HOUR_S
from sky_melange.traces.rates import summarize
from sky_melange.traces.where import Condition, matches, parse_where


def chosen(options: TraceOptions) -> Condition:
    """The condition of `where`; without it, one that always holds."""
    return parse_where("TRUE" if options.where is None else options.where)


def is_chosen(row: dict[str, Any], condition: Condition, *, source: str) -> bool:
    """Whether a row, or the labels of a series, is the traffic. Raises InputError for columns that it lacks."""
    try:
        return matches(condition, row)
    except KeyError as error:
        message = f"has no column {error.args[0]!r} (where); it has {', '.join(map(repr, sorted(row)))}"
        raise InputError([Mistake(source=source, message=message)]) from error


def seen_models(rows: Iterable[tuple[str | None, int, int]]) -> Survey:
    """(model, requests, tokens) summed up by model, the most frequent first."""
    found: dict[str | None, tuple[int, int]] = {}
    for model, requests, tokens in rows:
        before = found.get(model, (0, 0))
        found[model] = (before[0] + requests, before[1] + tokens)
    return Survey.of(
        Seen(model=model, aside=0, requests=count, tokens=tokens) for model, (count, tokens) in found.items()
    )


def within(cells: Iterable[Cell], grid: TokenGrid) -> tuple[tuple[Cell, ...], Outside]:
    """The cells of the grid, and the sums of those whose indices are past its edges."""
    inside: list[Cell] = []
    beyond: list[Cell] = []
    for cell in cells:
        is_inside = cell.input_index < len(grid.input_edges) and cell.output_index < len(grid.output_edges)
        (inside if is_inside else beyond).append(cell)
    return tuple(inside), Outside(
        requests=sum(cell.requests for cell in beyond),
        input_tokens=sum(cell.input_tokens for cell in beyond),
        output_tokens=sum(cell.output_tokens for cell in beyond),
    )


def rate_of_steps(steps: Iterable[tuple[int, int, int]], options: TraceOptions, *, source: str) -> RateSummary | None:
    """The rate of requests that came evenly within (from second, to second, requests); None without steps.

    Raises InputError where the rates of single hours are asked for and cannot be had.
    """
    seconds: list[Any] = []
    requests: list[Any] = []
    for begin, end, count in steps:
        if options.hours is not None and end - begin > HOUR_S:
            message = f"is known by steps of {end - begin:,} s, which say nothing of single hours; ask for shorter ones"
            raise InputError([Mistake(source=source, message=message)])
        seconds.append(np.arange(begin, end))
        requests.append(np.diff(np.arange(end - begin + 1) * count // (end - begin)))
    if not seconds:
        return None
    every, which = np.unique(np.concatenate(seconds), return_inverse=True)
    sums = np.zeros(len(every), dtype=np.int64)
    np.add.at(sums, which, np.concatenate(requests))
    if not sums.any():
        return None
    return summarize(
        every,
        sums,
        window_s=options.window_s,
        percentile=options.rate_percentile,
        is_spread=True,
        hours=options.hours,
        source=source,
    )
