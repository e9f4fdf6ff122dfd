"""A log held against itself: what is read wrong is said, whatever is wrong with it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import assume, example, given
from hypothesis import strategies as st

from sky_melange.cli import cli
from sky_melange.domain.hours import HourCount
from sky_melange.domain.trace import TimeUnit, TraceOptions
from sky_melange.errors import InputError
from sky_melange.traces import scan_files

HEADER = "ContextTokens,GeneratedTokens,TIMESTAMP\n"
START = datetime(2026, 5, 1, 9, tzinfo=UTC)
PER_SECOND = {TimeUnit.S: 1, TimeUnit.MS: 10**3, TimeUnit.US: 10**6, TimeUnit.NS: 10**9}


def _log(times: Sequence[str], different: int = 900) -> str:
    """Rows of so many different sizes, one after the other."""
    sizes = [f"{100 + k % different % 900},{20 + k % different % 300}" for k in range(len(times))]
    return HEADER + "".join(f"{size},{time}\n" for size, time in zip(sizes, times, strict=True))


def _dates(seconds: Sequence[float]) -> list[str]:
    return [f"{START + timedelta(seconds=second):%Y-%m-%d %H:%M:%S.%f}" for second in seconds]


def _notes(path: Path) -> str:
    return "\n".join(scan_files([str(path)], TraceOptions()).notes)


def _arrivals(seed: int, count: int, span_s: float) -> list[float]:
    draw = random.Random(seed)  # noqa: S311 - nothing is secret
    return sorted(draw.uniform(0, span_s) for _ in range(count))


def test_an_ordinary_log_raises_no_doubt(log: Callable[..., Path], extracts: Path) -> None:
    assert _notes(log("a.csv", _log(_dates(_arrivals(1, 5000, 7200))))) == ""
    shuffled = _dates(_arrivals(1, 5000, 7200))
    random.Random(2).shuffle(shuffled)  # noqa: S311 - nothing is secret
    assert _notes(log("b.csv", _log(shuffled))) == ""
    assert _notes(extracts / "azure-conversation.csv") == ""


def test_hours_whose_requests_are_larger_than_those_of_all_are_said(log: Callable[..., Path]) -> None:
    """Half as many at night, each with eight times the answer: more tokens than by day."""

    def counted(night: int, zone: str = "UTC") -> str:
        rows = [
            f"100,{night if hour < 6 else 50},2026-05-0{day} {hour:02d}:{second // 60:02d}:{second % 60:02d}"
            for day in (1, 2)
            for hour in range(24)
            for second in range(0, 3600, 10 if hour < 6 else 5)
        ]
        options = TraceOptions(hours=HourCount(time_zone=zone, cycle=24))
        path = log("a.csv", HEADER + "\n".join(rows))
        return "\n".join(note for note in scan_files([str(path)], options).notes if "sizes of all" in note)

    found = counted(400)
    # 12 · 3,600 s · 10 rows: 6 hours at 0.1/s of 400, 18 at 0.2/s of 50.
    mean = (6 * 400 + 18 * 2 * 50) / (6 + 18 * 2)
    assert (
        f"Requests of 00:00 have 100 input and 400 output tokens on average, all together 100 and {mean:.0f}" in found
    )
    assert f"may need up to {400 / mean:.1f} times what is planned for it, and 6 of 24 hours" in found
    assert "Requests of 02:00 have" in counted(400, "Europe/Berlin")
    assert counted(52) == ""
    assert "sizes of all" not in _notes(log("b.csv", _log(_dates(_arrivals(1, 5000, 7200)))))


@pytest.mark.parametrize(("step_s", "window_s"), [(1, 60), (2, 60), (10, 60), (60, 60), (3600, 60), (3600, 3600)])
def test_rounded_times_are_said(log: Callable[..., Path], step_s: int, window_s: int) -> None:
    rounded = [second // step_s * step_s for second in _arrivals(1, 50_000, 40_000)]
    path = log("a.csv", _log(_dates(rounded)))
    found = scan_files([str(path)], TraceOptions(window_s=window_s))
    assert found.rate is not None
    notes = "\n".join(found.notes)
    assert ("bursts within" in notes) == (10 not in dict(found.rate.burstiness)) == (step_s > 10)
    assert (f"Take a window of {step_s:,} s" in notes) == (step_s > window_s)


def test_bursts_that_no_cv_stands_for_are_said(log: Callable[..., Path]) -> None:
    """Thirty requests at the beginning of each minute; a minute on, a minute off."""
    draw = random.Random(1)  # noqa: S311 - nothing is secret
    cron = [60 * minute + draw.uniform(0, 4) for minute in range(200) for _ in range(30)]
    on_off = [second for second in _arrivals(1, 40_000, 20_000) if second % 120 < 60]
    for number, times in enumerate((cron, on_off)):
        assert "depends on the scale" in _notes(log(f"{number}.csv", _log(_dates(sorted(times)))))
    assert "depends on the scale" not in _notes(log("even.csv", _log(_dates(_arrivals(1, 40_000, 40_000)))))


@pytest.mark.parametrize("times", [2, 3])
def test_a_log_that_holds_every_request_more_than_once(log: Callable[..., Path], times: int) -> None:
    text = _log(_dates(_arrivals(1, 500, 900)))
    whole = log("a.csv", text + text.removeprefix(HEADER) * (times - 1))
    assert f"the log seems to hold each {times} times" in _notes(whole)


def test_a_long_silence_is_named_with_its_ends(log: Callable[..., Path]) -> None:
    """Two logs in one, or a row with a wrong clock: the percentile would count the silence."""
    arrivals = _arrivals(1, 900, 1800)
    found = _notes(log("a.csv", _log(_dates([*arrivals, *(86_400 + each for each in arrivals)]))))
    assert "There is no request from 2026-05-01 09:29:5" in found
    assert "to 2026-05-02 09:00:0" in found
    assert "choose one with --since and --until" in found
    assert "There is no request from 1980-" in _notes(log("b.csv", _log([*_dates(arrivals), "1980-01-01 00:00:00"])))


def test_units_mixed_in_one_file(log: Callable[..., Path]) -> None:
    """Since 1970 each number is told by itself; from a start, most requests seem to come at once."""
    arrivals = _arrivals(1, 1000, 3600)
    since_1970 = [START.timestamp() + each for each in arrivals]
    mixed = [f"{each:.0f}" if k % 2 else f"{each * 1000:.0f}" for k, each in enumerate(since_1970)]
    found = scan_files([str(log("a.csv", _log(mixed)))], TraceOptions())
    assert found.notes == ()
    assert found.rate is not None
    assert found.rate.mean_rps == pytest.approx(1000 / 3600, rel=0.01)
    mixed = [f"{each:.0f}" if k % 2 else f"{each * 1000:.0f}" for k, each in enumerate(arrivals)]
    path = log("b.csv", _log(mixed))
    with pytest.raises(InputError, match="the unit of 1,000 times is in doubt"):
        scan_files([str(path)], TraceOptions())
    notes = scan_files([str(path)], TraceOptions(time_unit=TimeUnit.S)).notes
    assert any(" of the requests come in a hundredth of its time, 8 s to " in note for note in notes)


@pytest.mark.parametrize("hours", [1, 2, 5.5, 9])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_two_time_zones_in_one_log(log: Callable[..., Path], hours: float, share: float) -> None:
    draw = random.Random(3)  # noqa: S311 - nothing is secret
    times = _dates([each + (hours * 3600 if draw.random() < share else 0) for each in _arrivals(1, 3000, 7200)])
    found = _notes(log("a.csv", _log(times)))
    assert f"by {int(hours)} h {int(hours % 1 * 60):02d} min" in found
    assert "two time zones" in found


def test_order_does_not_matter(log: Callable[..., Path]) -> None:
    """Files of several hours, one after the other, in whatever order."""
    times = _dates(_arrivals(1, 3000, 6 * 3600))
    blocks = [times[at : at + 500] for at in (1000, 0, 2500, 500, 2000, 1500)]
    found = scan_files([str(log("a.csv", _log([time for block in blocks for time in block])))], TraceOptions())
    assert found.notes == ()
    assert found.rate == scan_files([str(log("b.csv", _log(times)))], TraceOptions()).rate


def test_sizes_in_the_millions_and_times_in_the_future(log: Callable[..., Path]) -> None:
    rows = "".join(f"{3_000_000 + k},20,2126-05-01 09:{k // 60:02d}:{k % 60:02d}\n" for k in range(1, 300))
    path = log("a.csv", HEADER + "100,20,2126-05-01 09:00:00\n" + rows)
    assert "have over a million tokens on average" in _notes(path)
    found = CliRunner(mix_stderr=False).invoke(cli, ["workload", "from-trace", str(path), "--format", "json"])
    assert "The log goes on to 2126-05-01 09:04 UTC, in the future" in found.stderr


SPANS = {0.05: 12_000, 0.4: 5_000, 3.0: 900, 40.0: 90}


@pytest.mark.slow
@given(
    rate=st.sampled_from(list(SPANS)),
    unit=st.sampled_from(["date", *PER_SECOND]),
    offset=st.sampled_from([0.0, 0.25, 59.5, 1_777_626_000.0]),
    phase=st.floats(0, 60),
    mix=st.sampled_from(["none", "shuffled", "twice", "units", "zones", "logs", "outlier"]),
    seed=st.integers(0, 99),
)
@example(rate=3.0, unit="date", offset=0.0, phase=0.0, mix="zones", seed=0)
@example(rate=0.4, unit=TimeUnit.S, offset=0.0, phase=0.0, mix="units", seed=0)
def test_no_reading_is_wrong_without_a_message(  # noqa: PLR0917 - a dimension each
    tmp_path_factory: pytest.TempPathFactory,
    rate: float,
    unit: str,
    offset: float,
    phase: float,
    mix: str,
    seed: int,
) -> None:
    """Units × offsets × phases × mixes: the mean rate is right to 1 %, or there is a message."""
    assume(mix != "zones" or unit == "date")  # numbers are of no zone
    draw = random.Random(seed)  # noqa: S311 - nothing is secret
    span_s = SPANS[rate]
    seconds = [offset + phase + each for each in _arrivals(seed, round(rate * span_s), span_s)]
    wanted = len(seconds) / (int(seconds[-1]) - int(seconds[0]) + 1)
    if mix == "shuffled":
        draw.shuffle(seconds)
    elif mix == "twice":
        seconds += seconds
    elif mix == "zones":
        seconds = [second + draw.choice([0, 7200]) for second in seconds]
    elif mix == "logs":
        seconds += [second + 40 * span_s for second in seconds]
    elif mix == "outlier":
        seconds.append(seconds[-1] + 100 * span_s)
    if unit == "date":
        times = _dates([second - START.timestamp() if offset > 1e9 else second for second in seconds])
    else:
        scale = PER_SECOND[TimeUnit(unit)]
        scales = [scale * (1000 if mix == "units" and k % 2 else 1) for k in range(len(seconds))]
        times = [str(int(second * each)) for second, each in zip(seconds, scales, strict=True)]
    path = tmp_path_factory.mktemp("doubts") / "log.csv"
    path.write_text(_log(times, different=len(times) // 2 if mix == "twice" else 900))
    try:
        found = scan_files([str(path)], TraceOptions())
    except InputError as error:
        assert "--time-unit" in str(error)  # noqa: PT017 - an error is one of the right answers
        return
    assert found.rate is not None
    is_right = found.rate.mean_rps == pytest.approx(wanted, rel=0.01)
    assert is_right or found.notes or found.time_reading


def test_zones_of_a_log_by_hours_are_no_doubt(log: Callable[..., Path]) -> None:
    """Days of office hours, each in order: long nights, but no two clocks."""
    seconds = [day * 86_400 + each for day in range(5) for each in _arrivals(day, 600, 9 * 3600)]
    assert "two time zones" not in _notes(log("a.csv", _log(_dates(seconds))))
