"""Times in every spelling mean the same second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_examples import examples

from sky_melange.domain.trace import LogColumns, TimeUnit, TraceOptions
from sky_melange.errors import InputError
from sky_melange.traces import read_requests, scan_files

COLUMNS = LogColumns(input="i", output="o", time="t")
SECOND = 1_741_000_029
"""2025-03-03 11:07:09 UTC."""

SAME = [
    "2025-03-03 11:07:09",
    "2025-03-03T11:07:09",
    "2025-03-03T11:07:09Z",
    "2025-03-03 11:07:09.9799600",
    "2025-03-03T11:07:09,5Z",
    "2025-03-03 11:07:09.000000000 UTC",
    "2025-03-03 13:07:09+02",
    "2025-03-03 13:07:09.25 +0200",
    "2025-03-03T16:52:09.999+05:45",
    "2025-03-03T01:37:09-09:30",
    "2025-03-02T23:07:09-12",
    "1741000029",
    "1741000029.75",
    "1741000029750",
    "1741000029750000",
    "1741000029750000000",
    "1.741000029e9",
    "03/Mar/2025:11:07:09 +0000",
    "[03/Mar/2025:13:07:09 +0200]",
    "Mon, 03 Mar 2025 11:07:09 GMT",
    "Mon, 3 Mar 2025 06:07:09 -0500",
    "3 Mar 2025 11:07:09 +0000",
    "03/03/2025 11:07:09 AM",
    "3/3/2025, 11:07:09 am",
    "2025/03/03 11:07:09",
]
ZONELESS = 6


def _only_second(path: Path, unit: TimeUnit | None = None) -> int:
    found = scan_files([str(path)], TraceOptions(columns=COLUMNS, time_unit=unit))
    assert found.rate is not None
    assert not found.rejected
    assert found.rate.first_s == found.rate.last_s
    return found.rate.first_s


@pytest.mark.parametrize("text", SAME)
def test_one_second_in_many_spellings(log: Callable[..., Path], text: str) -> None:
    assert _only_second(log("a.csv", f'i,o,t\n5,5,"{text}"\n')) == SECOND


@pytest.mark.parametrize(
    ("text", "second"),
    [
        ("2025-03-03 11:07", SECOND - 9),
        ("2025-03-03T16:52+05:45", SECOND - 9),
        ("2025/03/03 11:07Z", SECOND - 9),
        ("Mon, 03 Mar 2025 11:07 +0000", SECOND - 9),
        ("03/03/2025 11:07 AM", SECOND - 9),
        ("03/03/2025 12:07:09 AM", SECOND - 11 * 3600),
        ("03/03/2025 12:07:09 PM", SECOND + 3600),
        ("03/03/2025 01:07:09 PM", SECOND + 2 * 3600),
    ],
)
def test_no_seconds_and_halves_of_the_day(log: Callable[..., Path], text: str, second: int) -> None:
    assert _only_second(log("a.csv", f'i,o,t\n5,5,"{text}"\n')) == second


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "05/01/2026 09:00:00",
        "31/Feb/2026:09:00:00 +0000",
        "13/01/2026 09:00:00 AM",
        "05/01/2026 13:00:00 PM",
        "Fri, 01 May 2026 09:00:00 EST",
        "01/Mai/2026:09:00:00 +0000",
        "2026-05-01",
        "Fri",
    ],
)
def test_an_unreadable_time_is_shown_with_its_line_and_what_is_expected(log: Callable[..., Path], text: str) -> None:
    path = log("a.csv", f'i,o,t\n5,5,2025-03-03 11:07:09\n5,5,"a\nb"\n5,5,"{text}"\n'.replace("a\nb", text))
    (note,) = (note for note in scan_files([str(path)], TraceOptions(columns=COLUMNS)).notes if "unreadable" in note)
    assert f"(time_unreadable), such as '{text}' in a.csv:3; want 2026-05-01T09:00:00.25Z (ISO 8601" in note


def test_lines_are_those_of_the_file_whatever_fields_hold(log: Callable[..., Path]) -> None:
    path = log("a.csv", 'q,i,o,t\n"x\ny, ""z""",5,5,2025-03-03 11:07:09\n,5,many,2025-03-03 11:07:09\n')
    notes = scan_files([str(path)], TraceOptions(columns=COLUMNS)).notes
    assert any("(output_not_a_number), such as 'many' in a.csv:4." in note for note in notes)
    path = log("a.jsonl", '{"i": 5, "o": 5}\n\n{"i": 5, "o": "many"}\n')
    notes = scan_files([str(path)], TraceOptions(columns=LogColumns(input="i", output="o"))).notes
    assert any("(output_not_a_number), such as 'many' in a.jsonl:3." in note for note in notes)


def test_spellings_may_be_mixed_in_one_log(log: Callable[..., Path]) -> None:
    rows = "\n".join(f'5,5,"{text}"' for text in SAME)
    path = log("a.csv", f"i,o,t\n{rows}\n")
    assert _only_second(path) == SECOND
    found = scan_files([str(path)], TraceOptions(columns=COLUMNS))
    assert found.zoneless == ZONELESS
    assert any(note.startswith(f"{ZONELESS} times name no time zone") for note in found.notes)


@pytest.mark.parametrize(
    ("expression", "unit"),
    [
        ("TIMESTAMP '2025-03-03 11:07:09.999999'", None),
        ("TIMESTAMPTZ '2025-03-03 13:07:09.5+02'", None),
        ("TIMESTAMP_NS '2025-03-03 11:07:09.999999999'", None),
        ("TIMESTAMPTZ_NS '2025-03-03 13:07:09.999999999+02'", None),
        ("TIMESTAMP_MS '2025-03-03 11:07:09.999'", None),
        ("TIMESTAMP_S '2025-03-03 11:07:09'", None),
        ("1741000029::BIGINT", None),
        ("1741000029::INTEGER", None),
        ("1741000029.999::DOUBLE", None),
        ("1741000029999::BIGINT", None),
        ("1741000029999::DOUBLE", TimeUnit.MS),
        ("1741000029999999999::BIGINT", None),
        ("1741000029999999999::BIGINT", TimeUnit.NS),
        ("1741000029.25::DECIMAL(18, 2)", None),
    ],
)
def test_one_second_in_many_types(tmp_path: Path, expression: str, unit: TimeUnit | None) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql(f"COPY (SELECT 5 AS i, 5 AS o, {expression} AS t) TO '{path}'")
    assert _only_second(path, unit) == SECOND


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_times_as_pandas_writes_them(tmp_path: Path, unit: str, zone: str | None) -> None:
    # The newest pyarrow does not go with the oldest NumPy, with which the other tests of this file run too.
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = pa.array([SECOND * 10**9 + 123], pa.timestamp("ns", zone)).cast(pa.timestamp(unit, zone), safe=False)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"i": [5], "o": [5], "t": times}), path)
    assert _only_second(path) == SECOND
    found = read_requests([str(path)], TraceOptions(columns=COLUMNS))
    assert found.times_s is not None
    assert int(found.times_s[0]) == SECOND


def test_the_zone_of_the_machine_does_not_matter(log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert _only_second(log("a.csv", "i,o,t\n5,5,2025-03-03 11:07:09\n")) == SECOND


def test_milliseconds_and_seconds_give_the_same_rate(log: Callable[..., Path]) -> None:
    seconds = [1_741_000_000 + 7 * k for k in range(200)]
    in_s = log("s.csv", "i,o,t\n" + "".join(f"5,5,{second}\n" for second in seconds))
    in_ms = log("ms.csv", "i,o,t\n" + "".join(f"5,5,{second}{second % 10}55\n" for second in seconds))
    found = [scan_files([str(path)], TraceOptions(columns=COLUMNS)).rate for path in (in_s, in_ms)]
    assert found[0] == found[1]


def test_random_dates_equal_datetime(tmp_path: Path) -> None:
    """Every first and last day of a month over centuries, leap days among them, in random zones."""
    moments = [
        datetime(year, month, 1, 0, 30, 59, tzinfo=UTC) for year in range(1971, 2400, 3) for month in range(1, 13)
    ]
    moments += [moment - timedelta(hours=1) for moment in moments]
    zones = [timezone(timedelta(minutes=15 * (k % 113) - 12 * 60)) for k in range(len(moments))]
    rows = [moment.astimezone(zone).isoformat() for moment, zone in zip(moments, zones, strict=True)]
    path = tmp_path / "a.csv"
    path.write_text("i,o,t\n" + "".join(f"5,5,{row}\n" for row in rows))
    found = scan_files([str(path)], TraceOptions(columns=COLUMNS, window_s=1))
    assert not found.rejected
    assert found.rate is not None
    stamps = [int(moment.timestamp()) for moment in moments]
    assert (found.rate.first_s, found.rate.last_s) == (min(stamps), max(stamps))
    assert found.rate.empty == found.rate.windows - len(set(stamps))


@pytest.mark.slow
@given(st.lists(st.text(max_size=40), min_size=1, max_size=20))
@examples(20)
def test_no_text_is_a_crash(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    rows = [text.replace('"', '""').replace("\0", "").encode("utf-8", "ignore").decode() for text in texts]
    path = tmp_path_factory.mktemp("texts") / "a.csv"
    lines = ["i,o,t", "5,5,1741000029", *(f'"{row}","{row}","{row}"' for row in rows)]
    path.write_bytes("\n".join(lines).encode())
    try:
        found = scan_files([str(path)], TraceOptions(columns=COLUMNS))
    except InputError as error:
        # A number may be in one unit or another.
        assert "--time-unit" in str(error)  # noqa: PT017 - most texts are counted
        return
    assert found.requests + found.rows_rejected == 1 + len(rows)
