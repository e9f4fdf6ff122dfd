"""Requests by second -> the rate to plan for, and how it varies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

from sky_melange.domain.buckets import BucketSize, Traffic, rates_of
from sky_melange.domain.hours import HourCount, Hours
from sky_melange.domain.trace import BURST_REQUESTS, BURST_SCALES_S, CALENDAR_FROM_S, RateSummary, TraceSummary
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.hours import hours_of_requests

_CHART_SPANS: Final = 240
_SCALES_S: Final = (1, *BURST_SCALES_S[:2])
_SLOW_SCALES_S: Final = BURST_SCALES_S[2:]
"""For logs with few requests in 60 s."""

_LEAST_WINDOWS: Final = 20
_STEPS_S: Final = (86_400, 3600, 1800, 900, 600, 300, 60, 30, 15, 10, 5, 2)
_ROUNDED: Final = 0.9
"""This share of the seconds with requests lie on one step where times are rounded to it."""

_DENSE: Final = 8
"""A log with requests in one of so many seconds is quicker summed up second by second."""

_HOUR_S: Final = 3600
_WEEK_S: Final = 168 * _HOUR_S
_EPOCH_IN_WEEK_S: Final = 72 * _HOUR_S
"""1970-01-01 00:00 was a Thursday: 72 hours after Monday began."""


def summarize(  # noqa: PLR0913 - what a log says, and how it is counted
    seconds: Any,
    requests: Any,
    *,
    window_s: int,
    percentile: float,
    is_spread: bool = False,
    hours: HourCount | None = None,
    source: str = "",
) -> RateSummary:
    """Summary of the `requests` in each of `seconds`: arrays of whole numbers, the seconds in rising order.

    A window begins at every second, so where the clock stood when the log began does not matter. The planned rate is
    the nearest-rank percentile of all windows that the log covers whole, or, where it covers none, that of the one
    window that holds all of it. `is_spread`: the seconds within longer steps are made up, and how requests vary from
    one to the next is not known. Raises InputError where `hours` are asked for that the log of `source` does not give.
    """
    import numpy as np

    first_s, last_s = int(seconds[0]), int(seconds[-1])
    total, span_s = int(requests.sum()), last_s - first_s + 1
    counts, weights = np.array([total]), np.array([1])
    if span_s >= window_s:
        counts, weights = _windows(seconds, requests, window_s)
    reached = np.cumsum(weights)
    windows = int(reached[-1])
    rank = max(1, math.ceil(Fraction(str(percentile)) * windows / 100))
    mean = float(np.dot(counts.astype(float), weights)) / windows
    variance = float(np.dot((counts - mean) ** 2, weights)) / windows
    return RateSummary(
        window_s=window_s,
        percentile=percentile,
        windows=windows,
        complete=windows if span_s >= window_s else 0,
        empty=int(weights[counts == 0].sum()),
        first_s=first_s,
        last_s=last_s,
        planned_rps=int(counts[np.searchsorted(reached, rank)]) / window_s,
        mean_rps=total / max(span_s, window_s),
        peak_rps=int(counts[-1]) / window_s,
        dispersion=variance / mean if windows > 1 and mean and not is_spread else None,
        hour_of_week=_hour_of_week(seconds, requests, window_s) if first_s >= CALENDAR_FROM_S else None,
        over_time=_over_time(seconds, requests, window_s),
        burstiness=() if is_spread else _burstiness(seconds, requests),
        hours=None
        if hours is None
        else hours_of_requests(seconds, requests, hours, window_s=window_s, percentile=percentile, source=source),
    )


def resolution_s(seconds: Any) -> int:
    """The step in seconds to which times seem to be rounded: all, or nearly all, are whole steps apart."""
    import numpy as np

    for step_s in _STEPS_S if len(seconds) >= _LEAST_WINDOWS else ():
        if np.bincount(seconds % step_s).max() >= _ROUNDED * len(seconds):
            return step_s
    return max(1, int(np.gcd.reduce(np.diff(seconds)))) if len(seconds) > 1 else 1


def to_traffic(
    summary: TraceSummary, *, request_rate_rps: float | None = None, bucket_size: BucketSize = BucketSize.UPPER
) -> Traffic:
    """Traffic with the sizes of a log, at `request_rate_rps` or else at the log's planned rate.

    Where its hours were counted, that is the rate of the busiest one, and the others are in proportion.

    Raises InputError when there is no rate, or no request inside the buckets.
    """
    rate_rps = planned_rate(summary) if request_rate_rps is None else request_rate_rps
    if not summary.requests_inside:
        raise _mistake(summary, "every request is larger than the last edges; choose other buckets, such as extend")
    inputs, outputs = summary.grid.input_edges, summary.grid.output_edges
    means: list[list[tuple[float, float] | None]] = [[None] * len(outputs) for _ in inputs]
    for cell in summary.cells:
        means[cell.input_index][cell.output_index] = (
            cell.input_tokens / cell.requests,
            cell.output_tokens / cell.requests,
        )
    return Traffic(
        grid=summary.grid,
        rates_rps=rates_of(summary.counts(), rate_rps),
        origin=describe(summary, request_rate_rps),
        mean_tokens=tuple(tuple(row) for row in means),
        bucket_size=bucket_size,
        notes=tuple(_relevant(summary, request_rate_rps)),
        is_counted=True,
        input_parts=summary.input_parts,
        fit=summary.fit,
        hours=_planned_hours(summary, rate_rps),
    )


def planned_rate(summary: TraceSummary) -> float:
    """The rate that the log itself gives, requests/s. Raises InputError when it gives none."""
    if summary.rate is None:
        raise _mistake(summary, "has no times, so no rate; give the request rate to plan for (request_rate)")
    if summary.rate.hours is not None:
        return summary.rate.hours.peak_rps
    if summary.rate.planned_rps == 0:
        raise _mistake(summary, summary.notes[-1])
    return summary.rate.planned_rps


def describe(summary: TraceSummary, request_rate_rps: float | None) -> str:
    """Where sizes and rate come from, in words."""
    rate = "the rate as given"
    if request_rate_rps is None and summary.rate is not None:
        of_rate = summary.rate
        within = "" if of_rate.hours is None else " within its busiest hour"
        rate = f"the rate is the p{of_rate.percentile:g} of its {of_rate.window_s} s windows{within}"
    return f"{summary.source} ({summary.columns.layout}, {summary.requests:,} requests; {rate})"


def _windows(seconds: Any, requests: Any, window_s: int) -> tuple[Any, Any]:
    """(requests in a window, in how many windows), by rising number: of the windows within the log.

    The number changes only where a request enters or leaves, so what is idle for years takes no time or memory.
    """
    import numpy as np

    span_s = int(seconds[-1] - seconds[0]) + 1
    if span_s <= _DENSE * len(seconds):
        reached = np.zeros(span_s + 1, dtype=np.int64)
        reached[seconds - seconds[0] + 1] = requests
        np.cumsum(reached, out=reached)
        return np.unique(reached[window_s:] - reached[:-window_s], return_counts=True)
    at = np.concatenate([seconds, seconds + window_s])
    order = np.argsort(at, kind="stable")
    inside = np.cumsum(np.concatenate([requests, -requests])[order])
    # `inside[k]` are the requests of the windows that end with a second from at[k] until before at[k + 1].
    bounds = np.clip(at[order], seconds[0] + window_s - 1, seconds[-1] + 1)
    lengths = np.diff(bounds, append=bounds[-1])
    counts, which = np.unique(inside[lengths > 0], return_inverse=True)
    weights = np.zeros(len(counts), dtype=np.int64)
    np.add.at(weights, which, lengths[lengths > 0])
    return counts, weights


def _burstiness(seconds: Any, requests: Any) -> tuple[tuple[int, float], ...]:
    """The Allan factor at each scale of which the log covers enough windows, and that its times can tell.

    Times that are rounded down to a step fall into the right windows of whole steps, and of no others.
    """
    import numpy as np

    found = []
    step_s = resolution_s(seconds)
    span_s = int(seconds[-1] - seconds[0] + 1)
    is_slow = int(requests.sum()) * _SCALES_S[-1] < BURST_REQUESTS * span_s
    for scale_s in (*_SCALES_S, *(_SLOW_SCALES_S if is_slow else ())):
        windows = span_s // scale_s
        if windows < _LEAST_WINDOWS or scale_s % step_s:
            continue
        number = (seconds - seconds[0]) // scale_s
        within = number < windows
        begins = np.flatnonzero(np.diff(number[within], prepend=-1))
        which, counts = number[begins], np.add.reduceat(requests[within], begins).astype(float)
        mean = float(counts.sum()) / windows
        # Windows without requests are not in the array: between two that are not neighbours lie changes to and from 0.
        is_next = np.diff(which) == 1
        squares = float((np.diff(counts)[is_next] ** 2).sum())
        lonely = (counts[:-1][~is_next] ** 2).sum() + (counts[1:][~is_next] ** 2).sum()
        ends = (counts[0] ** 2 if which[0] > 0 else 0.0) + (counts[-1] ** 2 if which[-1] < windows - 1 else 0.0)
        found.append((scale_s, float(squares + lonely + ends) / (2.0 * (windows - 1) * mean)))
    return tuple(found)


def _hour_of_week(seconds: Any, requests: Any, window_s: int) -> tuple[tuple[float | None, ...], ...]:
    """Mean requests/s `[day from Monday][hour UTC]`; None for hours of which the log covers less than a window."""
    import numpy as np

    hours = (seconds + _EPOCH_IN_WEEK_S) % _WEEK_S // _HOUR_S
    sums = np.bincount(hours, weights=requests, minlength=168).tolist()
    begin, end = (int(second) + _EPOCH_IN_WEEK_S for second in (seconds[0], seconds[-1] + 1))
    means: list[float | None] = []
    for hour, total in enumerate(sums):
        covered = _seconds_before(end, hour) - _seconds_before(begin, hour)
        means.append(total / covered if covered >= min(window_s, _HOUR_S) else None)
    return tuple(tuple(means[day * 24 : day * 24 + 24]) for day in range(7))


def _seconds_before(second: int, hour: int) -> int:
    """How many seconds before `second` (of Mondays) lie in this hour of the week."""
    weeks, rest = divmod(second, _WEEK_S)
    return weeks * _HOUR_S + min(max(rest - hour * _HOUR_S, 0), _HOUR_S)


def _over_time(seconds: Any, requests: Any, window_s: int) -> tuple[tuple[int, float], ...]:
    """(start, requests/s) of equal spans of whole windows of the clock; the last span may be shorter."""
    import numpy as np

    low, high = int(seconds[0]) // window_s, int(seconds[-1]) // window_s
    per_span = math.ceil((high - low + 1) / _CHART_SPANS)
    spans = (high - low) // per_span + 1
    sums = np.bincount((seconds // window_s - low) // per_span, weights=requests, minlength=spans).tolist()
    lengths = [min(per_span, high - low + 1 - span * per_span) for span in range(spans)]
    return tuple(((low + span * per_span) * window_s, sums[span] / (lengths[span] * window_s)) for span in range(spans))


def _planned_hours(summary: TraceSummary, rate_rps: float) -> Hours | None:
    """The hours at `rate_rps` in the busiest; None where they were not asked for, or are all alike."""
    hours = None if summary.rate is None else summary.rate.hours
    return None if hours is None or hours.is_even else hours.scaled_to(rate_rps)


def _relevant(summary: TraceSummary, request_rate_rps: float | None) -> Iterator[str]:
    """Notes on the sizes always; notes on the rate only when it is the log's."""
    for note in summary.notes:
        if request_rate_rps is None or "window" not in note:
            yield f"Traffic: {note}"


def _mistake(summary: TraceSummary, message: str) -> InputError:
    return InputError([Mistake(source=summary.source, message=message)])
