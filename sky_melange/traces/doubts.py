"""A log held against itself: what is unlikely of traffic, and more likely a clock, a unit or a copy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from sky_melange.domain.hours import Hours, hour_name
from sky_melange.domain.trace import (
    BURST_REQUESTS,
    BURST_SCALES_S,
    CALENDAR_FROM_S,
    MUCH_LARGER,
    RateSummary,
    TraceSummary,
)
from sky_melange.traces.engine import Counted, LogTables
from sky_melange.traces.hours import local_pieces
from sky_melange.traces.rates import resolution_s

_FEWEST: Final = 50
"""Of fewer requests, or seconds with requests, nothing is unlikely."""

_FEWEST_STEPS: Final = 8
_SCALES_DIFFER: Final = 5.0
"""Poisson's factors, and those of gaps from a gamma distribution, differ less between scales."""

_LONG_GAP: Final = 0.2
_PARTS: Final = 100
_IN_ONE_PART: Final = 0.4
_LARGEST_TOKENS: Final = 1_000_000
_ZONES_S: Final = 900
_LEAST_JUMP_S: Final = 1500
_OFF_S: Final = 60
_ALIKE: Final = 0.8


def doubts_of(log: LogTables, counted: Counted, summary: TraceSummary, *, by_hour: bool) -> Iterator[str]:
    """A sentence for each; none changes what was counted. `by_hour`: as in `TraceOptions`."""
    outside = summary.outside
    if outside.requests and outside.input_tokens + outside.output_tokens > _LARGEST_TOKENS * outside.requests:
        yield (
            "Those beyond the last edges have over a million tokens on average, more than models take: are they bytes, "
            "or sums of many requests?"
        )
    if summary.rate is None:
        return
    yield from _many_scales(summary.rate)
    if summary.rate.hours is not None and not by_hour:
        yield from _sizes_by_hour(counted, summary.rate.hours)
    yield from _rounded(resolution_s(counted.seconds), len(counted.seconds), summary.rate)
    if len(counted.seconds) < _FEWEST:
        return
    yield from _copies(counted)
    yield from _uneven(counted, summary.rate.window_s)
    yield from _two_zones(log.first_seconds())


def _rounded(step_s: int, steps: int, rate: RateSummary) -> Iterator[str]:
    window_s = rate.window_s
    if step_s == 1 or steps < _FEWEST_STEPS:
        return
    if window_s % step_s:
        yield (
            f"Its times are whole multiples of {step_s:,} s apart: the rate in a window of {window_s:,} s may be up to "
            f"{max(2.0, step_s / window_s):.3g} times too high. Take a window of {step_s:,} s or a multiple (--window)."
        )
    if rate.burst_scale_s is None and BURST_SCALES_S[0] % step_s:
        yield (
            f"Its times are whole multiples of {step_s:,} s apart, as where they are rounded: bursts within {step_s:,} "
            "s are not known, and arrivals are planned as Poisson unless you say otherwise (arrivals: in a workload)."
        )


def _many_scales(rate: RateSummary) -> Iterator[str]:
    """Of scales at which a window has enough requests to be of use."""
    factors = {scale_s: factor for scale_s, factor in rate.burstiness if scale_s * rate.mean_rps >= BURST_REQUESTS}
    if rate.burst_scale_s is None or max(factors.values()) <= _SCALES_DIFFER * max(min(factors.values()), 0.1):
        return
    told = ", ".join(f"{factor:.3g} at {scale_s} s" for scale_s, factor in sorted(factors.items()))
    yield (
        f"How bursty it is depends on the scale ({told}; Poisson: 1), so no cv stands for it: the one in the workload "
        f"is near that of {rate.burst_scale_s} s. `arrivals: trace` next to `trace: …` replays the log itself."
    )


def _sizes_by_hour(counted: Counted, hours: Hours) -> Iterator[str]:
    """Hours whose requests are so much larger than those of all hours that they need more than is planned for them."""
    import numpy as np

    from sky_melange.traces.hour_sizes import ENOUGH_OF_AN_HOUR

    cycle = len(hours.rates_rps)
    sums = np.zeros((cycle, 3))
    columns = (counted.requests, counted.input_tokens, counted.output_tokens)
    reached = [np.concatenate([[0], np.cumsum(column)]) for column in columns]
    for piece in local_pieces(int(counted.seconds[0]), int(counted.seconds[-1]) + 1, hours.time_zone):
        low, high = np.searchsorted(counted.seconds, [piece.begin_s, piece.end_s])
        sums[piece.hour % cycle] += [column[high] - column[low] for column in reached]
    requests, *tokens = sums.T
    enough = requests >= ENOUGH_OF_AN_HOUR
    # Work that is a sum of both grows by at most the larger of the two.
    sizes = [column / np.maximum(requests, 1) for column in tokens]
    means = [max(float(column.sum()), 1.0) / float(requests.sum()) for column in tokens]
    times_the_mean = np.max([size / mean for size, mean in zip(sizes, means, strict=True)], axis=0)
    needed = np.where(enough, times_the_mean, 0.0) * hours.rates_rps / np.maximum(hours.planned_rps(None), 1e-9)
    if not needed.max() >= MUCH_LARGER:
        return
    worst = int(needed.argmax())
    yield (
        f"Requests of {hour_name(worst, cycle)} have {sizes[0][worst]:,.0f} input and {sizes[1][worst]:,.0f} output "
        f"tokens on average, all together {means[0]:,.0f} and {means[1]:,.0f}. Each hour is planned with the sizes of "
        f"all: that hour may need up to {needed[worst]:.1f} times what is planned for it, and "
        f"{int((needed >= MUCH_LARGER).sum())} of {cycle} hours at least {MUCH_LARGER:g} times. Plan them with sizes "
        "of their own: `sky-melange workload from-trace --sizes-by-hour` writes them (`hours: {sizes: […]}`)."
    )


def _copies(counted: Counted) -> Iterator[str]:
    """All counts of seconds and of buckets are multiples of one number."""
    import numpy as np

    every = int(np.gcd.reduce(counted.requests))
    every = int(np.gcd.reduce([every, *(key.requests for key in counted.keys if key.key >= 0)]))
    if every > 1:
        yield (
            f"Every second and every bucket has a multiple of {every} requests: the log seems to hold each {every} "
            f"times, and its rate would be {every} times too high. Read each file once."
        )


def _uneven(counted: Counted, window_s: int) -> Iterator[str]:
    """A long silence, or most of the requests in little time: two logs, or clocks or units that do not agree."""
    import numpy as np

    seconds, requests = counted.seconds, counted.requests
    first_s, span_s = int(seconds[0]), int(seconds[-1] - seconds[0]) + 1
    steps = np.diff(seconds)
    at = int(steps.argmax())
    gap_s = int(steps[at])
    if gap_s >= 10 * window_s and gap_s >= _LONG_GAP * span_s:
        yield (
            f"There is no request from {_moment(int(seconds[at]))} to {_moment(int(seconds[at + 1]))}, "
            f"{gap_s / span_s:.0%} of the log, and its windows count in the rate. If a clock or a unit is wrong, or "
            "these are two logs, choose one with --since and --until."
        )
        return
    parts = np.bincount((seconds - first_s) * _PARTS // span_s, weights=requests, minlength=_PARTS)
    most = int(parts.argmax())
    share = float(parts[most] / requests.sum())
    if share > _IN_ONE_PART and span_s >= _PARTS * 2:
        begin_s, end_s = (first_s + span_s * place // _PARTS for place in (most, most + 1))
        yield (
            f"{share:.0%} of the requests come in a hundredth of its time, {_moment(begin_s)} to {_moment(end_s)}. "
            "If the log mixes units or clocks, its rate is wrong; choose a part with --since and --until, or --where."
        )


def _two_zones(seconds: Any) -> Iterator[str]:
    """Rows as they were written that go back and forth by the same number of quarters of an hour."""
    import numpy as np

    steps = np.diff(seconds)
    jumps = steps[np.abs(steps) >= _LEAST_JUMP_S]
    if len(jumps) < 4 or not 0.25 <= float((jumps > 0).mean()) <= 0.75:
        return
    quarters = np.round(np.abs(jumps) / _ZONES_S).astype(np.int64)
    usual = int(np.bincount(np.minimum(quarters, 96)).argmax())
    if usual <= 60 and float((np.abs(np.abs(jumps) - usual * _ZONES_S) <= _OFF_S).mean()) >= _ALIKE:
        hours, minutes = divmod(usual * 15, 60)
        yield (
            f"Its first {len(seconds):,} rows go back and forth by {hours} h {minutes:02d} min, {len(jumps):,} times: "
            "they seem to be written in two time zones, which makes the rate too low. Write times with their zone."
        )


def _moment(second: int) -> str:
    if second < CALENDAR_FROM_S:
        return f"{second:,} s"
    return datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
