"""Requests in windows of time -> the rate to plan for, and how it varies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from sky_melange.domain.trace import CALENDAR_FROM_S, RateSummary

_CHART_SPANS: Final = 240
_HOUR_S: Final = 3600
_HOURS_PER_WEEK: Final = 168
_EPOCH_HOUR_OF_WEEK: Final = 72
"""1970-01-01 00:00 was a Thursday: 72 hours after Monday began."""


def summarize(
    requests: Mapping[int, int], *, first_s: int, last_s: int, window_s: int, percentile: float
) -> RateSummary:
    """Summary of the requests by window index; windows that are not there had none. `first_s`, `last_s`: of requests.

    The first and the last window are complete only if the log reaches their first, last second. The planned rate is
    the nearest-rank percentile of the complete windows, or of all of them where that is more: a window that is cut off
    may raise the rate, never lower it.
    """
    low, high = min(requests), max(requests)
    begin = low if first_s == low * window_s else low + 1
    end = high if last_s == (high + 1) * window_s - 1 else high - 1
    complete = sorted(count for index, count in requests.items() if begin <= index <= end)
    total, whole = high - low + 1, max(0, end - begin + 1)
    everything = sorted(requests.values())
    planned = _percentile(everything, total, percentile)
    if whole:
        planned = max(planned, _percentile(complete, whole, percentile))
    measured, count = (complete, whole) if whole else (everything, total)
    return RateSummary(
        window_s=window_s,
        percentile=percentile,
        windows=total,
        complete=whole,
        empty=total - len(requests),
        first_s=first_s,
        last_s=last_s,
        planned_rps=planned / window_s,
        mean_rps=sum(measured) / (count * window_s),
        peak_rps=everything[-1] / window_s,
        dispersion=_dispersion(measured, count),
        hour_of_week=_hour_of_week(requests, begin, end, window_s) if first_s >= CALENDAR_FROM_S else None,
        over_time=_over_time(requests, low, high, window_s),
    )


def _percentile(positive: list[int], total: int, percentile: float) -> int:
    """The least count that `percentile` % of `total` windows do not exceed; those not in `positive` (sorted) are 0."""
    rank = max(1, math.ceil(Fraction(str(percentile)) * total / 100))
    zeros = total - len(positive)
    return 0 if rank <= zeros else positive[rank - zeros - 1]


def _dispersion(counts: list[int], total: int) -> float | None:
    """Index of dispersion, variance ÷ mean, of `total` windows; those not in `counts` are 0."""
    mean = Fraction(sum(counts), total)
    if total < 2 or mean == 0:
        return None
    variance = Fraction(sum(count * count for count in counts), total) - mean * mean
    return float(variance / mean)


def _hour_of_week(
    requests: Mapping[int, int], begin: int, end: int, window_s: int
) -> tuple[tuple[float | None, ...], ...] | None:
    """Mean requests/s `[day from Monday][hour UTC]` over complete windows; None where windows do not fill hours."""
    if _HOUR_S % window_s or end < begin:
        return None
    per_hour = _HOUR_S // window_s
    sums = [0] * _HOURS_PER_WEEK
    for index, count in requests.items():
        if begin <= index <= end:
            sums[(index // per_hour + _EPOCH_HOUR_OF_WEEK) % _HOURS_PER_WEEK] += count
    means: list[float | None] = []
    for hour in range(_HOURS_PER_WEEK):
        windows = _windows_before(end + 1, hour, per_hour) - _windows_before(begin, hour, per_hour)
        means.append(sums[hour] / (windows * window_s) if windows else None)
    return tuple(tuple(means[day * 24 : day * 24 + 24]) for day in range(7))


def _windows_before(index: int, hour: int, per_hour: int) -> int:
    """How many windows since 1970 began before window `index` in this hour of the week."""
    weeks, rest = divmod(index + _EPOCH_HOUR_OF_WEEK * per_hour, _HOURS_PER_WEEK * per_hour)
    return weeks * per_hour + min(max(rest - hour * per_hour, 0), per_hour)


def _over_time(requests: Mapping[int, int], low: int, high: int, window_s: int) -> tuple[tuple[int, float], ...]:
    """(start, requests/s) of equal spans of whole windows; the last span may be shorter."""
    per_span = math.ceil((high - low + 1) / _CHART_SPANS)
    sums: dict[int, int] = {}
    for index, count in requests.items():
        span = (index - low) // per_span
        sums[span] = sums.get(span, 0) + count
    spans = (high - low) // per_span + 1
    lengths = [min(per_span, high - low + 1 - span * per_span) for span in range(spans)]
    return tuple(
        ((low + span * per_span) * window_s, sums.get(span, 0) / (lengths[span] * window_s)) for span in range(spans)
    )
