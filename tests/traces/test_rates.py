"""Rates from windows, against a plain list of every window."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.domain.trace import RateSummary
from sky_melange.traces.rates import summarize

MONDAY_S = 1_740_960_000
"""2025-03-03 00:00 UTC."""


def _summary(seconds: list[int], window_s: int = 60, percentile: float = 99.0) -> RateSummary:
    return summarize(
        Counter(second // window_s for second in seconds),
        first_s=min(seconds),
        last_s=max(seconds),
        window_s=window_s,
        percentile=percentile,
    )


@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=60),
    st.sampled_from([1, 7, 60, 900]),
    st.sampled_from([1, 50, 90, 99, 99.9, 100]),
)
def test_equals_numpy_on_every_window(seconds: list[int], window_s: int, percentile: float) -> None:
    found = _summary(seconds, window_s, percentile)
    windows = np.bincount(np.array(seconds) // window_s - min(seconds) // window_s)
    first = 0 if min(seconds) % window_s == 0 else 1
    last = len(windows) - (0 if max(seconds) % window_s == window_s - 1 else 1)
    complete = windows[first:last] if first < last else windows[:0]
    ranked = [
        sorted(part)[max(0, -(-round(percentile * 10) * len(part) // 1000) - 1)]
        for part in (windows, complete)
        if len(part)
    ]
    assert found.planned_rps == max(ranked) / window_s
    assert found.peak_rps == windows.max() / window_s
    assert (found.windows, found.complete, found.empty) == (len(windows), len(complete), int((windows == 0).sum()))
    counted = complete if len(complete) else windows
    assert found.mean_rps == pytest.approx(counted.mean() / window_s)
    if len(counted) > 1 and counted.sum():
        assert found.dispersion == pytest.approx(counted.var() / counted.mean())
    else:
        assert found.dispersion is None
    assert sum(rate for _, rate in found.over_time) > 0


def test_a_window_that_is_cut_off_may_raise_the_rate_but_not_lower_it() -> None:
    steady = [second for minute in range(1, 61) for second in range(minute * 60, minute * 60 + 60, 2)]
    assert _summary(steady).planned_rps == 0.5
    assert _summary([59, *steady, 61 * 60]).planned_rps == 0.5
    assert _summary([*steady, *[61 * 60] * 90]).planned_rps == 1.5


def test_empty_windows_count() -> None:
    found = _summary([0, 59, 60, 119, 6000, 6059], percentile=50)
    assert (found.windows, found.empty, found.planned_rps) == (101, 98, 0.0)
    assert found.mean_rps == pytest.approx(6 / 6060)


def test_a_log_of_decades_takes_no_time() -> None:
    found = _summary([946_684_800, 946_684_801, 253_402_300_799], window_s=1)
    assert found.windows > 10**11
    assert found.empty == found.windows - 3
    assert len(found.over_time) <= 240


def test_hours_of_the_week() -> None:
    """Ten a minute at all times, thirty a minute on Tuesdays from 9 to 10; one week and one day."""
    seconds = []
    for minute in range(8 * 1440):
        moment = datetime.fromtimestamp(MONDAY_S + minute * 60, tz=UTC)
        many = 30 if (moment.weekday(), moment.hour) == (1, 9) else 10
        seconds += [MONDAY_S + minute * 60 + k for k in range(many)]
    seconds[-1] += 59 - seconds[-1] % 60
    week = _summary(seconds).hour_of_week
    assert week is not None
    assert week[1][9] == 0.5
    assert {value for day in week for value in day} == {0.5, 10 / 60}
    assert _summary(seconds).over_time[0][0] == MONDAY_S


def test_hours_that_the_log_does_not_cover_are_not_known() -> None:
    week = _summary([MONDAY_S + k for k in range(3600)]).hour_of_week
    assert week is not None
    assert week[0][0] == 1.0
    assert sum(value is not None for day in week for value in day) == 1
    assert _summary([MONDAY_S + k for k in range(3600)], window_s=7).hour_of_week is None
    assert _summary(list(range(3600))).hour_of_week is None, "seconds since the log began have no weekday"


def test_a_poisson_process_has_dispersion_one() -> None:
    arrivals = np.cumsum(np.random.default_rng(7).exponential(0.5, 40_000))
    found = _summary([MONDAY_S + int(second) for second in arrivals])
    assert found.dispersion == pytest.approx(1.0, abs=0.15)
    assert found.mean_rps == pytest.approx(2.0, rel=0.02)
