"""`traffic.hours` from files and logs: rates by hour of a day or week, by the clocks of a zone."""
# ruff: noqa: S311 - repeatable numbers

from __future__ import annotations

import gzip
import json
import os
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_melange.domain.hours import DAY, MOST_WINDOWS, USUAL_HEADROOM, WEEK, HourCount, Hours
from sky_melange.domain.trace import HoursReference, TraceOptions
from sky_melange.errors import InputError
from sky_melange.traces import read_hours, scan_files
from sky_melange.traces.hours import Sample, hours_of_requests, hours_of_samples, local_pieces

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe"]


def read(
    folder: Path, text: str | bytes, *, zone: str = "UTC", cycle: int | None = None, percentile: float = 99
) -> Hours:
    """The hours of a file with this content, read as a workload in its folder names it."""
    (folder / "hours").write_bytes(text.encode() if isinstance(text, str) else text)
    options = TraceOptions(hours=HourCount(time_zone=zone, cycle=cycle), rate_percentile=percentile)
    return read_hours(HoursReference(file="hours", options=options), folder)[0]


def notes(folder: Path) -> tuple[str, ...]:
    return read_hours(HoursReference(file="hours", options=TraceOptions()), folder)[1]


def mistakes(folder: Path, text: str | bytes, **options: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(folder, text, **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    return [str(mistake) for mistake in caught.value.mistakes]


def dated(rates: list[float], *, step_s: int = 3600, header: str = "time,rate", begin: datetime = MONDAY) -> str:
    times = (begin + timedelta(seconds=step_s * index) for index in range(len(rates)))
    return header + "\n" + "".join(f"{at.isoformat()},{rate}\n" for at, rate in zip(times, rates, strict=True))


def prometheus(*series: tuple[dict[str, str], list[tuple[float, str]]]) -> str:
    result = [{"metric": labels, "values": values} for labels, values in series]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def ranged(values: list[float], *, step_s: int = 3600, after_s: int = 0) -> list[tuple[float, str]]:
    return [(MONDAY.timestamp() + after_s + step_s * index, str(value)) for index, value in enumerate(values)]


@given(
    zone=st.sampled_from(ZONES),
    day=st.sampled_from([datetime(2026, 3, 2), datetime(2026, 3, 23), datetime(2026, 10, 19), datetime(2026, 7, 1)]),
    seed=st.integers(0, 2**32),
    percentile=st.sampled_from([1, 50, 100]),
)
@settings(max_examples=25, deadline=None)
def test_dated_rates_come_back_by_hour_of_the_week_over_clock_changes(
    zone: str, day: datetime, seed: int, percentile: float
) -> None:
    table = [random.Random(seed + hour).randint(1, 1000) / 8 for hour in range(WEEK)]
    samples = []
    at = int(day.replace(tzinfo=ZoneInfo(zone)).timestamp())
    for begin in range(at, at + 15 * 86_400, 900):
        local = datetime.fromtimestamp(begin, tz=UTC).astimezone(ZoneInfo(zone))
        samples.append(Sample(begin_s=begin, end_s=begin + 900, rate_rps=table[24 * local.weekday() + local.hour]))
    random.Random(seed).shuffle(samples)
    hours = hours_of_samples(samples, HourCount(time_zone=zone), percentile=percentile, source="x")
    assert list(hours.rates_rps) == table


@given(seed=st.integers(0, 2**32), zone=st.sampled_from(ZONES), percentile=st.sampled_from([50, 90, 99, 100]))
@settings(max_examples=5, deadline=None)
def test_requests_are_counted_as_by_hand(seed: int, zone: str, percentile: int) -> None:
    draw = random.Random(seed)
    begin = int(MONDAY.timestamp()) + draw.randrange(86_400)
    by_second: dict[int, int] = defaultdict(int)
    for _ in range(3000):
        by_second[begin + int(draw.triangular(0, 93_000, 40_000))] += 1
    seconds = np.array(sorted(by_second))
    requests = np.array([by_second[second] for second in seconds.tolist()])
    hours = hours_of_requests(
        seconds, requests, HourCount(time_zone=zone, cycle=DAY), window_s=60, percentile=percentile, source="x"
    )
    first, last = int(seconds[0]), int(seconds[-1])
    clock = {}
    for second in range(first // 900 * 900, last + 900, 900):
        local = datetime.fromtimestamp(second, tz=UTC).astimezone(ZoneInfo(zone))
        clock[second // 900] = (local.hour, local.date())
    windows: dict[int, list[int]] = defaultdict(list)
    inside = sum(by_second.get(first + second, 0) for second in range(60))
    for start in range(first, last - 58):
        hour = clock[start // 900]
        if hour == clock[(start + 59) // 900]:
            windows[hour[0]].append(inside)
        inside += by_second.get(start + 60, 0) - by_second.get(start, 0)
    by_hand = []
    for hour in range(DAY):
        ordered = sorted(windows[hour])
        by_hand.append(ordered[-(-percentile * len(ordered) // 100) - 1] / 60)
    assert list(hours.rates_rps) == by_hand


def test_a_short_and_a_long_day_have_the_hours_that_their_clocks_show() -> None:
    def hours_of(day: datetime) -> list[int]:
        begin = int(day.replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
        after = day + timedelta(days=1)
        end = int(after.replace(tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
        return [piece.hour % 24 for piece in local_pieces(begin, end, "Europe/Berlin")]

    assert hours_of(datetime(2026, 3, 29)) == [0, 1, *range(3, 24)]
    assert hours_of(datetime(2026, 10, 25)) == [0, 1, 2, 2, *range(3, 24)]


def test_rates_alone_are_a_day_or_a_week(tmp_path: Path) -> None:
    rates = [float(hour) for hour in range(WEEK)]
    for count in (DAY, WEEK):
        lines = "\n".join(str(rate) for rate in rates[:count])
        assert list(read(tmp_path, lines).rates_rps) == rates[:count]
        assert list(read(tmp_path, f"\ufeffRate\r\n{lines}\r\n").rates_rps) == rates[:count]
        shuffled = "".join(f"{hour};{rates[hour]}\n" for hour in reversed(range(count)))
        assert list(read(tmp_path, f"hour;rate_rps\n{shuffled}").rates_rps) == rates[:count]
        assert list(read(tmp_path, shuffled).rates_rps) == rates[:count]


def test_counts_are_divided_by_their_step(tmp_path: Path) -> None:
    text = dated([600.0 * (1 + index // 6) for index in range(144)], step_s=600, header="timestamp,requests")
    assert list(read(tmp_path, text).rates_rps) == [1.0 + hour for hour in range(DAY)]


def test_times_may_be_seconds_or_milliseconds_since_1970(tmp_path: Path) -> None:
    for scale in (1, 1000):
        rows = "".join(f"{int(MONDAY.timestamp() + 3600 * hour) * scale},{hour}\n" for hour in range(25))
        assert list(read(tmp_path, rows).rates_rps) == [24.0, *range(1, 24)]


def test_the_percentile_is_of_the_days_and_the_origin_says_so(tmp_path: Path) -> None:
    text = dated([float(day) for day in range(1, 11) for _ in range(24)])
    assert set(read(tmp_path, text, cycle=DAY).rates_rps) == {10.0}
    hours = read(tmp_path, text, cycle=DAY, percentile=50)
    assert set(hours.rates_rps) == {5.0}
    assert hours.origin == "hours: p50 of its rates of 60 min each within each hour of the day, over 10 days"


def test_a_week_is_counted_where_every_hour_is_covered(tmp_path: Path) -> None:
    assert len(read(tmp_path, dated([1.0, 2.0] * 84)).rates_rps) == WEEK
    assert len(read(tmp_path, dated([1.0, 2.0] * 80)).rates_rps) == DAY
    assert mistakes(tmp_path, dated([1.0, 2.0] * 80), cycle=WEEK) == [
        "hours: says nothing of 8 hours of the week: Sunday 16:00 to 24:00 (UTC); take more of it, or count the hours "
        "of a day, of which it covers all"
    ]


def test_hours_that_a_log_lacks_are_named(tmp_path: Path) -> None:
    assert mistakes(tmp_path, dated([1.0] * 20)) == [
        "hours: says nothing of 4 hours of the day: 20:00 to 24:00 (UTC); take more of it"
    ]
    # At half past five the first hour of Kolkata's clocks is half covered, which is enough.
    assert len(read(tmp_path, dated([1.0, 2.0] * 12), zone="Asia/Kolkata").rates_rps) == DAY


def test_gaps_are_noted(tmp_path: Path) -> None:
    rows = dated([1.0] * 72).splitlines(keepends=True)
    read(tmp_path, "".join(rows[:31] + rows[34:]))
    assert notes(tmp_path) == (
        "hours: the dated rates have gaps, for which the other days stand: 2026-06-02 06:00 to 2026-06-02 09:00 (UTC)",
    )


def test_prometheus_rates_are_of_the_step_before_and_add_up(tmp_path: Path) -> None:
    values = [float(hour) for hour in range(DAY)]
    one = ({"pod": "a", "prometheus_replica": "x"}, ranged(values, after_s=3600))
    twin = ({"pod": "a", "prometheus_replica": "y"}, ranged(values[:9], after_s=3600))
    other = ({"pod": "b"}, ranged([0.5] * DAY, after_s=3600))
    assert list(read(tmp_path, prometheus(one, twin, other)).rates_rps) == [value + 0.5 for value in values]


def test_a_prometheus_counter_counts_its_increase_over_restarts(tmp_path: Path) -> None:
    name = {"__name__": "vllm:request_success_total"}
    counted, total = [0.0], 0.0
    for hour in range(DAY):
        # The server begins anew at noon.
        total = 3600.0 * (1 + hour) + (0 if hour == 12 else total)
        counted.append(total)
    hours = read(tmp_path, prometheus((name, ranged(counted))))
    assert list(hours.rates_rps) == [1.0 + hour for hour in range(DAY)]


def test_a_server_that_begins_within_the_range_counts_from_its_start(tmp_path: Path) -> None:
    name = {"__name__": "vllm:request_success_total"}
    old = ({**name, "pod": "a"}, ranged([3600.0 * hour for hour in range(25)]))
    new = ({**name, "pod": "b"}, ranged([3600.0 * hour for hour in range(1, 14)], after_s=12 * 3600))
    hours = read(tmp_path, prometheus(old, new))
    assert list(hours.rates_rps) == [1.0] * 11 + [2.0] * 13


def test_a_request_log_is_counted(tmp_path: Path) -> None:
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens\n"]
    for minute in range(24 * 60 + 1):
        at = MONDAY + timedelta(minutes=minute)
        rows += [f"{at:%Y-%m-%d %H:%M:%S},100,10\n"] * (2 if at.hour == 9 else 1)
    hours = read(tmp_path, gzip.compress("".join(rows).encode()))
    assert list(hours.rates_rps) == [2 / 60 if hour == 9 else 1 / 60 for hour in range(DAY)]
    counted = scan_files([str(tmp_path / "hours")], TraceOptions(hours=HourCount(cycle=DAY))).rate
    assert counted is not None
    assert counted.hours == hours
    elsewhere = scan_files([str(tmp_path / "hours")], TraceOptions(hours=HourCount(time_zone="Asia/Tokyo", cycle=DAY)))
    assert "Its times name no time zone: they are taken as UTC, and counted by Asia/Tokyo." in elsewhere.notes


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "hours: is empty"),
        ("\n".join("1" * 25), "hours: want 24 rates (a day) or 168 (a week from Monday 00:00), found 25 rows"),
        ("\n".join("1" * 744), "found 744 rows; other rates need their dates"),
        ("rate\n1\n-2\nnan\n\n1e999\n" + "1\n" * 20, "hours:3: -2 is not a rate: want 0 to 1,000,000,000"),
        ("rate\n1\n-2\nnan\n\n1e999\n" + "1\n" * 20, "hours:4: 'nan' is not a rate; want a number such as 12.5"),
        ("rate\n1\n-2\nnan\n\n1e999\n" + "1\n" * 20, "hours:6: 1e999 is not a rate"),
        ("hour,rate\n" + "0,1\n" * 24, "hours:3: the hour 0 is repeated"),
        ("hour,rate\n168,1\n", "hours:2: '168' is not an hour; want 0 to 23, or 0 to 167 from Monday 00:00"),
        ("hour,rate\n" + "".join(f"{h},1\n" for h in range(1, 25)), "found the hours [1, 2, 3] … in 24 rows"),
        (
            "time,rate\nyesterday,1\n",
            "hours:2: 'yesterday' is not a time; want dates such as 2026-05-01T09:00:00+02:00",
        ),
        (
            "start_s,rate_rps\n0,1\n600,1\n",
            "hours:2: times count from the file's own start: they are in no hour of a day",
        ),
        ("time,rate\n2026-06-01T00:00Z,1\n", "hours: want dated rates of a day at least, found 1"),
        (
            dated([1.0] * 3) + dated([1.0], header="").lstrip(),
            "hours:5: the time 2026-06-01T00:00:00+00:00 is repeated (line 2)",
        ),
        (dated([1.0] * 9, step_s=86_400), "hours: its rates are 24 hours apart, and say nothing of single hours"),
        (dated([0.0] * 24), "hours: percentile 99 of its rates is 0 in every hour"),
        ("time,rate\n1950-01-01T00:00Z,1\n9999-12-31T23:59:59-10:00,1\n", "hours:2: '1950-01-01T00:00Z' is not a time"),
        ("time,rate\n1990-01-01T00:00Z,1\n2026-01-01T00:00Z,1\n", "hours: spans "),
        ('time,rate\n"2026', "hours:2: is no CSV: unexpected end of data"),
        ("name,colour\na,b\n", "hours:1: has no columns that are known: want time and rate (requests/s) or requests"),
        ('{"status": "error", "error": "query timed out"}', "hours: is an error of Prometheus: query timed out"),
        (
            '{"status": "success", "data": {"resultType": "vector", "result": []}}',
            "holds no range of samples (resultType",
        ),
        ('{"status": "success", "data": {"resultType": "matrix", "result": []}}', "its result is empty"),
        ('{"status": "success", "data": {"resultType": "matrix", "res', "is not valid JSON: Unterminated string"),
        ('{"status": "success", "data": {"resultType": "matrix", "result": [1]}}', "data.result[0] is not a series"),
        (prometheus(({}, [(1.0, "1")])), "holds single samples; ask for a range (query_range)"),
        (
            prometheus(({}, [(1.0, "-1"), (2.0, "1")])),
            "data.result[0].values holds [1.0, '-1']; want [seconds since 1970",
        ),
        (prometheus(({}, [("now", "1")])), "data.result[0].values holds ['now', '1']"),  # type: ignore[list-item]
        (prometheus(({}, [(1.0, "NaN"), (2.0, "NaN")])), "holds no sample that is a number"),
        (prometheus(({}, ranged([float(i) for i in range(30)]))), "never falls, as a counter does"),
        (
            prometheus(({"__name__": "a"}, ranged([1])), ({"__name__": "b"}, ranged([1]))),
            "holds several metrics (a, b)",
        ),
        (prometheus(({"__name__": "vllm:prompt_tokens_total"}, ranged([1, 2]))), "does not count requests"),
        (
            prometheus(({"model_name": "a"}, ranged([1])), ({"model_name": "b"}, ranged([1]))),
            "requests of 2 models (a, b)",
        ),
        (b"\x00\x01\x02\x03" * 100, "hours"),
        (gzip.compress(b"rate\n" + b"1\n" * 24)[:-9], "hours: "),
        (gzip.compress(b"1" * (80 << 20)), "hours"),
        ("[" * 100_000, "hours"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, text: str | bytes, wanted: str) -> None:
    found = [mistake.replace(f"{tmp_path}/", "") for mistake in mistakes(tmp_path, text)]
    assert any(wanted in mistake for mistake in found), found


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for file, wanted in (
        ("pipe", "is not a regular file"),
        ("none.csv", "there is no such file"),
        ("folder", "is a folder without files"),
        ("s3://bucket/hours.csv", "must be a local file"),
        ("a\0b", "there is no such file"),
    ):
        with pytest.raises(InputError, match=wanted):
            read_hours(HoursReference(file=file, options=TraceOptions()), tmp_path)


def test_rates_larger_than_the_limit_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "hours").open("wb") as stream:
        stream.write(b"time,rate\n")
        stream.truncate(65 << 20)
    options = TraceOptions(hours=HourCount())
    with pytest.raises(InputError, match="is larger than 64 MiB"):
        read_hours(HoursReference(file="hours", options=options), tmp_path)


def test_the_example_is_a_week(repository: Path) -> None:
    options = TraceOptions(hours=HourCount())
    reference = HoursReference(file="rates.csv.gz", options=options)
    hours, found = read_hours(reference, repository / "examples" / "hours")
    assert (len(hours.rates_rps), hours.peak_rps, round(hours.mean_rps, 1)) == (WEEK, 38.795, 15.5)
    assert hours.rates_rps.index(38.795) == 4 * DAY + 20
    assert found == ()


def test_dates_without_a_zone_are_utc_or_a_mistake(tmp_path: Path) -> None:
    text = dated([1.0, 2.0] * 12).replace("+00:00", "")
    assert read(tmp_path, text).rates_rps == (1.0, 2.0) * 12
    assert mistakes(tmp_path, text, zone="Europe/Berlin") == [
        "hours:2: times name no zone, and time_zone is Europe/Berlin: write them with theirs, such as "
        "2026-05-01T09:00:00+02:00, or 2026-05-01T09:00:00Z for UTC"
    ]


def test_windows_longer_than_an_hour_and_logs_without_dates_have_no_hours(tmp_path: Path) -> None:
    seconds, requests = np.array([int(MONDAY.timestamp()), int(MONDAY.timestamp()) + 90_000]), np.array([1, 1])
    with pytest.raises(InputError, match="windows of 7200 s do not fit into an hour"):
        hours_of_requests(seconds, requests, HourCount(), window_s=7200, percentile=99, source="x")
    with pytest.raises(InputError, match="they are in no hour of a day"):
        hours_of_requests(seconds - seconds[0], requests, HourCount(), window_s=60, percentile=99, source="x")


DAY_RATES = [10.0 + hour for hour in range(DAY)]


@pytest.mark.parametrize(
    ("factors", "expected", "words"),
    [
        ([1.0], USUAL_HEADROOM, "an assumption"),
        ([1.0, 1.0, 1.0], 0.0, "of each of 3 days"),
        ([1.0, 1.2], 0.2, "of each of 2 days"),
        ([1.0, 1.2, 1.1], 0.1, "of each of 3 days"),
        ([1.0, 2.5], 1.0, "differs by more"),
        ([1.0, 0.0], 1.0, "differs by more"),
    ],
)
def test_the_reserve_is_by_how_much_a_day_exceeds_the_others(
    tmp_path: Path, factors: list[float], expected: float, words: str
) -> None:
    """Of the busiest day, against the busiest of the others; a single day says nothing."""
    hours = read(tmp_path, dated([rate * factor for factor in factors for rate in DAY_RATES]), percentile=100)
    assert hours.headroom_fraction == pytest.approx(expected)
    assert words in hours.headroom_basis


def test_the_reserve_covers_the_percentile_of_the_requests(tmp_path: Path) -> None:
    """One hour in a hundred hours that doubles is beyond a reserve for 90 % of the requests, and not for all."""
    rates = [10.0] * (4 * DAY)
    rates[30], rates[5] = 18.0, 40.0
    text = dated(rates)
    assert read(tmp_path, text, cycle=DAY, percentile=90).headroom_fraction == 0.0
    assert read(tmp_path, text, cycle=DAY, percentile=100).headroom_fraction == 1.0


def test_the_reserve_goes_no_further_than_the_busiest_hour(tmp_path: Path) -> None:
    """A second day that is all at the first day's busiest rate needs no more than that."""
    hours = read(tmp_path, dated([*DAY_RATES, *[max(DAY_RATES)] * DAY]), percentile=100)
    assert max(hours.rates_rps) == max(DAY_RATES)
    assert hours.headroom_fraction == 1.0
    assert set(hours.planned_rps(None)) == {max(DAY_RATES)}


def test_windows_are_in_order_and_the_latest_of_two_weeks(tmp_path: Path) -> None:
    rates = [float(number % 97) for number in range(16 * 144)]
    windows = read(tmp_path, dated(rates, step_s=600)).windows_rps
    assert len(windows) == MOST_WINDOWS
    assert list(windows) == rates[-MOST_WINDOWS:]
    by_hour = read(tmp_path, dated(DAY_RATES)).windows_rps
    assert list(by_hour) == [rate for rate in DAY_RATES for _ in range(6)]


def test_windows_of_a_log_are_its_requests_in_whole_ten_minutes() -> None:
    begin = int(MONDAY.timestamp()) + 30
    seconds = np.arange(begin, begin + 2 * 86_400)
    requests = 1 + (seconds // 600) % 5
    hours = hours_of_requests(seconds, requests, HourCount(cycle=DAY), window_s=60, percentile=99, source="x")
    first = begin // 600 + 1
    assert list(hours.windows_rps) == [float(1 + number % 5) for number in range(first, first + 287)]
