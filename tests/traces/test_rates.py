"""Rates from windows, against a plain list of every window."""

from __future__ import annotations

import dataclasses
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.domain.trace import RateSummary
from sky_melange.traces.rates import resolution_s, summarize

MONDAY_S = 1_740_960_000
"""2025-03-03 00:00 UTC."""


def _summary(seconds: list[int], window_s: int = 60, percentile: float = 99.0) -> RateSummary:
    values, requests = np.unique(np.array(seconds, dtype=np.int64), return_counts=True)
    return summarize(values, requests, window_s=window_s, percentile=percentile)


@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=60),
    st.sampled_from([1, 7, 60, 900]),
    st.sampled_from([1, 50, 90, 99, 99.9, 100]),
)
def test_equals_a_plain_list_of_every_window(seconds: list[int], window_s: int, percentile: float) -> None:
    found = _summary(seconds, window_s, percentile)
    by_second = np.bincount(np.array(seconds) - min(seconds))
    windows = np.convolve(by_second, np.ones(window_s, dtype=int), mode="valid")
    if len(by_second) < window_s:
        windows = np.array([len(seconds)])
    ranked = sorted(windows)[max(0, -(-round(percentile * 10) * len(windows) // 1000) - 1)]
    assert found.planned_rps == ranked / window_s
    assert found.peak_rps == windows.max() / window_s
    assert (found.windows, found.empty) == (len(windows), int((windows == 0).sum()))
    assert found.complete == (len(windows) if len(by_second) >= window_s else 0)
    assert found.mean_rps == pytest.approx(len(seconds) / max(len(by_second), window_s))
    if len(windows) > 1 and windows.sum():
        assert found.dispersion == pytest.approx(windows.var() / windows.mean())
    else:
        assert found.dispersion is None
    assert sum(rate * window_s for _, rate in found.over_time) > 0


@pytest.mark.parametrize("seed", range(3))
def test_the_phase_of_the_clock_does_not_matter(seed: int) -> None:
    """Bursts and lulls of an hour, shifted by 50 random times with fractions: the same rate to 1 %."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(0.1, 36_000) * np.repeat(random.lognormal(0, 0.5, 360), 100)
    times = np.cumsum(gaps)
    rates = [_summary([int(t) for t in times + shift]).planned_rps for shift in random.uniform(0, 3600, 50)]
    assert max(rates) / min(rates) < 1.01


def test_the_phase_does_not_matter_to_real_traces(shared_traces: Path) -> None:
    import gzip

    for name in ("azure-llm-2023-code.csv.gz", "azure-llm-2023-conv.csv.gz"):
        lines = gzip.decompress((shared_traces / name).read_bytes()).decode().splitlines()[1:]
        times = np.array([datetime.fromisoformat(line.split(",")[0][:26]).timestamp() for line in lines])
        shifts = np.random.default_rng(0).uniform(0, 60, 50)
        rates = [_summary(np.floor(times + shift).astype(int).tolist()).planned_rps for shift in shifts]
        assert max(rates) / min(rates) < 1.01, name


def test_idle_time_counts() -> None:
    found = _summary([0, 59, 60, 119, 6000, 6059], percentile=50)
    assert (found.windows, found.planned_rps) == (6001, 0.0)
    assert found.empty == 6001 - 120 - 60
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
    assert _summary(list(range(3600))).hour_of_week is None, "seconds since the log began have no weekday"


def test_a_poisson_process_has_dispersion_one() -> None:
    arrivals = np.cumsum(np.random.default_rng(7).exponential(0.5, 40_000))
    found = _summary([MONDAY_S + int(second) for second in arrivals])
    assert found.dispersion == pytest.approx(1.0, abs=0.15)
    assert found.mean_rps == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("step_s", [1, 2, 5, 10, 15, 30, 60, 300, 900, 3600])
@pytest.mark.parametrize("cv", [0.5, 1.0, 3.0])
def test_rounded_times_say_only_what_they_can(step_s: int, cv: float) -> None:
    """Whatever the step, each figure that is given is that of the same log in whole seconds."""
    gaps = np.random.default_rng(7).gamma(cv**-2, cv**2 / 4, 8 * 86_400)
    times = np.concatenate([[0], np.cumsum(gaps)]).astype(np.int64)
    whole, rounded = (
        dict(summarize(*np.unique(each, return_counts=True), window_s=60, percentile=99).burstiness)
        for each in (times, times // step_s * step_s)
    )
    assert rounded.keys() == {scale_s for scale_s in (1, 10, 60) if scale_s % step_s == 0}
    assert resolution_s(np.unique(times // step_s * step_s)) == step_s
    for scale_s, factor in rounded.items():
        assert factor == pytest.approx(whole[scale_s], rel=0.01)


@pytest.mark.parametrize("rate_rps", [0.005, 0.02, 0.1, 1.0, 20.0])
@pytest.mark.parametrize("cv", [0.5, 1.0, 2.0])
def test_burstiness_is_that_of_the_gaps_at_any_rate(rate_rps: float, cv: float) -> None:
    """In windows with hardly a request, all gaps look like Poisson's."""
    gaps = np.random.default_rng(7).gamma(cv**-2, cv**2 / rate_rps, 40_000)
    seconds, requests = np.unique(np.cumsum(gaps).astype(np.int64), return_counts=True)
    found = summarize(seconds, requests, window_s=60, percentile=99)
    assert found.burst_scale_s is not None
    assert math.sqrt(dict(found.burstiness)[found.burst_scale_s]) == pytest.approx(cv, rel=0.25)


def test_nearly_all_rounded_is_rounded() -> None:
    seconds = np.unique(np.concatenate([np.arange(0, 86_400, 60), np.arange(7, 86_400, 3000)]))
    assert resolution_s(seconds) == 60
    assert resolution_s(np.arange(0, 300, 10)[:10]) == 10
    assert resolution_s(np.array([7])) == 1


@pytest.mark.parametrize("gap", [0, 1000])
def test_burstiness_is_the_allan_factor_of_an_independent_count(gap: int) -> None:
    """Poisson gives 1; batches of n requests give n; silence is counted as it is."""
    chance = np.random.default_rng(7)
    times = np.concatenate([chance.uniform(0, 3000, 12_000), chance.uniform(3000 + gap, 6000 + gap, 12_000)])
    for batch in (1, 5):
        seconds, requests = np.unique(np.sort(times).astype(np.int64), return_counts=True)
        found = dict(summarize(seconds, requests * batch, window_s=60, percentile=99).burstiness)
        for scale_s, factor in found.items():
            counts = np.bincount((np.repeat(seconds, requests) - seconds[0]) // scale_s) * float(batch)
            counts = counts[: int(seconds[-1] - seconds[0] + 1) // scale_s]
            assert factor == pytest.approx(np.mean(np.diff(counts) ** 2) / (2 * counts.mean()))
        if not gap:
            assert found[1] == pytest.approx(batch, rel=0.05)
            assert found[10] == pytest.approx(batch, rel=0.2)


@pytest.mark.parametrize(
    ("factors", "cv"),
    [
        # Azure's code trace: bursts of all lengths.
        ({1: 3.22, 10: 39.6, 60: 138.0}, 4.14),
        # Gamma gaps: the factor stays.
        ({1: 3.3, 10: 3.9, 60: 4.1}, 1.97),
        ({10: 4.0}, 2.0),
        ({1: 5.0, 10: 1.0, 60: 3.0}, 1.0),
        ({1: 1.0}, None),
    ],
)
def test_drawn_arrivals_are_as_spread_as_the_log_asks_for(factors: dict[int, float], cv: float | None) -> None:
    found = summarize(np.arange(600), np.full(600, 3), window_s=60, percentile=99)
    found = dataclasses.replace(found, burstiness=tuple(factors.items()), mean_rps=3.0)
    assert found.gap_cv == (None if cv is None else pytest.approx(cv, abs=0.01))
