"""Typed Parquet is counted by a filter and look-ups; the answer is that of the plain way, row for row."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import TimeUnit, TraceOptions
from sky_melange.errors import InputError
from sky_melange.render import trace_report
from sky_melange.traces import bucket_index, duckdb_files, duckdb_sql, scan_files
from sky_melange.traces.duckdb_sql import View
from sky_melange.traces.edges import MAX_TOKENS

SIZES = (
    "(NULL), (-2147483648), (-1), (0), (1), (25), (26), (16000), (16001), (131072), (131073), (100000000), (100000001)"
)
MOMENTS = (
    "(NULL), ('-infinity'), ('1969-12-31 23:59:59.999999'), ('1970-01-01 00:00:00'), ('2025-03-03 11:07:59.999999'), "
    "('2025-03-03 11:08:00'), ('9999-12-31 23:59:59.999999'), ('10000-01-01 00:00:00'), ('infinity')"
)
NUMBERS = (
    "(NULL), (-1), (0), (99999999), (100000000), (1740999999), (1740999999999), (1740999999999999), "
    "(1740999999999999999), (253402300799), (253402300800), (253402300799999), (253402300800000), (9223372036854775807)"
)
TIMES = {
    "TIMESTAMP": MOMENTS,
    "TIMESTAMP WITH TIME ZONE": MOMENTS,
    "TIMESTAMP_MS": MOMENTS,
    "TIMESTAMP_S": MOMENTS,
    "BIGINT": NUMBERS,
    "INTEGER": "(NULL), (-1), (0), (99999999), (100000000), (2147483647)",
}
MANY = ",".join(str(edge * 500) for edge in range(1, 201))
BUCKETS = ["melange", "extend", "auto:30", "25,131072x131073", "131073x1,200000", "1x100000000", f"{MANY}x{MANY}"]

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes what a query says as Parquet."""
    import duckdb

    numbers = itertools.count()

    def write(query: str) -> str:
        path = tmp_path / f"log-{next(numbers)}.parquet"
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")
        return str(path)

    return write


def _report(paths: Sequence[str], options: TraceOptions) -> str:
    """The report, or the mistakes."""
    try:
        return trace_report.to_json(scan_files(paths, options))
    except InputError as error:
        return str(error)


def _same_in_the_plain_way(monkeypatch: pytest.MonkeyPatch, paths: Sequence[str], options: TraceOptions) -> str:
    by_column = _report(paths, options)
    with monkeypatch.context() as patch:
        patch.setattr(View, "is_by_column", False)
        patch.setattr(duckdb_sql, "prepared_sql", lambda *_: None)
        assert _report(paths, options) == by_column
    return by_column


def _every(count: str, time: str | None) -> str:
    """Every pair of sizes with every time."""
    size = f"TRY_CAST(i AS {count})"
    of_time = "" if time is None else f', CAST(t AS {time}) AS "TIMESTAMP"'
    times = "" if time is None else f", (VALUES {TIMES[time]}) AS times(t)"
    return (
        f'SELECT {size} AS "ContextTokens", TRY_CAST(o AS {count}) AS "GeneratedTokens"{of_time} '
        f"FROM (VALUES {SIZES}) AS inputs(i), (VALUES {SIZES}) AS outputs(o){times}"
    )


@pytest.mark.parametrize("count", ["INTEGER", "BIGINT", "SMALLINT", "UINTEGER", "UTINYINT"])
@pytest.mark.parametrize("time", [*TIMES, None])
def test_every_combination_of_edge_cases(
    write: Write, monkeypatch: pytest.MonkeyPatch, count: str, time: str | None
) -> None:
    log = write(_every(count, time))
    unit = TimeUnit.S if time in ("BIGINT", "INTEGER") else TimeUnit.AUTO
    # Times run over 8,000 years: few windows, or there would be too many to report.
    report = _same_in_the_plain_way(monkeypatch, [log], TraceOptions(time_unit=unit, window_s=604_800))
    assert json.loads(report)["rejected"]["input_missing"] >= 13


@pytest.mark.parametrize("unit", [*TimeUnit])
def test_every_unit_of_whole_numbers(write: Write, monkeypatch: pytest.MonkeyPatch, unit: TimeUnit) -> None:
    options = TraceOptions(time_unit=unit, window_s=604_800)
    report = _same_in_the_plain_way(monkeypatch, [write(_every("INTEGER", "BIGINT"))], options)
    assert ("unit cannot be told" in report) == (unit is TimeUnit.AUTO)


@pytest.mark.parametrize("buckets", BUCKETS)
@pytest.mark.parametrize("window_s", [1, 60, 90, 3600, 86_400, 604_800])
def test_every_grid_and_window(write: Write, monkeypatch: pytest.MonkeyPatch, buckets: str, window_s: int) -> None:
    log = write(
        "SELECT TIMESTAMP '2025-03-03 11:07:09.25' + to_seconds(n * 7919 % 500000) AS \"TIMESTAMP\", "
        '(n * n) % 300000 AS "ContextTokens", (n * 31) % 140000 AS "GeneratedTokens" FROM range(3000) AS rows(n)'
    )
    _same_in_the_plain_way(monkeypatch, [log], TraceOptions(buckets=buckets, window_s=window_s))


def test_files_of_different_types_are_one_log(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = [
        write(_every("INTEGER", "TIMESTAMP")),
        write(_every("BIGINT", "TIMESTAMP WITH TIME ZONE")),
        write(_every("SMALLINT", "BIGINT")),
    ]
    options = TraceOptions(time_unit=TimeUnit.MS, window_s=604_800)
    _same_in_the_plain_way(monkeypatch, logs, options)
    found, plain, zoned = (scan_files(each, options) for each in (logs, logs[:1], logs[1:]))
    assert found.zoneless == plain.requests == plain.zoneless
    assert zoned.zoneless == 0
    assert found.requests == plain.requests + zoned.requests


def test_typed_and_text_say_the_same(tmp_path: Path, write: Write) -> None:
    """The same rows as CSV, which are read in one scan, field by field."""
    import duckdb

    rows = _every("INTEGER", "TIMESTAMP")
    for not_a_date_in_text in ("('-infinity'), ", ", ('10000-01-01 00:00:00')", ", ('infinity')"):
        rows = rows.replace(not_a_date_in_text, "")
    text = tmp_path / "log.csv"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({rows}) TO '{text}' (FORMAT csv, HEADER)")
    options = TraceOptions(window_s=604_800)
    typed, untyped = (json.loads(_report([path], options)) for path in (write(rows), str(text)))
    assert typed["rejected"] == untyped["rejected"]
    assert typed["histogram"] == untyped["histogram"]
    assert typed["rate"] == untyped["rate"]


def _log_of_each(faults: Sequence[str]) -> str:
    good = "(TIMESTAMP '2025-03-03 11:07:09', 30, 4)"
    rows = ", ".join([good, *faults])
    return f'SELECT * FROM (VALUES {rows}) AS log("TIMESTAMP", "ContextTokens", "GeneratedTokens")'


@pytest.mark.parametrize(
    ("faults", "scans"),
    [
        ([], 0),
        # Failed requests are counted with the others.
        (["(TIMESTAMP '2025-03-03 11:07:09', 0, 4)", "(TIMESTAMP '2025-03-03 11:07:09', 30, 0)"], 0),
        (["(NULL, -1, 0)"], 1),
        (["(NULL, 0, -1)"], 2),
        (["(NULL, 30, 0)"], 3),
        (["(NULL, 30, 4)", "(NULL, NULL, NULL)"], 3),
    ],
)
def test_columns_are_read_again_only_for_what_is_missing(
    write: Write, monkeypatch: pytest.MonkeyPatch, faults: Sequence[str], scans: int
) -> None:
    ran: list[str] = []
    original = duckdb_files.DuckDbFiles._run
    monkeypatch.setattr(
        duckdb_files.DuckDbFiles, "_run", lambda self, query: (ran.append(query), original(self, query))[1]
    )
    found = scan_files([write(_log_of_each(faults))], TraceOptions())
    assert (found.requests, found.rows_rejected) == (1, len(faults))
    assert len(ran) - 2 == scans


def test_a_file_that_changes_between_two_scans_is_not_counted(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another file takes its place once the good rows are counted; its row would be in no count."""
    log = Path(write(_log_of_each(["(NULL, 30, 4)"])))
    later = Path(write(_log_of_each([])))
    original = duckdb_files.DuckDbFiles._rows_in_files

    def replaced(self: duckdb_files.DuckDbFiles) -> int:
        found = original(self)
        later.replace(log)
        return found

    monkeypatch.setattr(duckdb_files.DuckDbFiles, "_rows_in_files", replaced)
    with pytest.raises(InputError, match=r"log-0\.parquet: changed while it was read, 1 rows differ; try again"):
        scan_files([str(log)], TraceOptions())


sorted_edges = st.lists(st.integers(1, MAX_TOKENS), min_size=1, max_size=30, unique=True).map(sorted).map(tuple)


@given(sorted_edges, sorted_edges)
def test_lookups_hold_every_size_once(inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    """Each in the bucket whose upper edge is the first at or above it; the last stands for all beyond, 0 is apart."""
    grid = TokenGrid(input_edges=inputs, output_edges=outputs)
    for (_, steps), edges, stride in zip(
        bucket_index.lookup_steps(grid).items(), (inputs, outputs), (len(outputs) + 1, 1), strict=True
    ):
        (zero, *is_zero), *others = steps
        assert is_zero == [0, 1]
        assert zero < 0
        after = 1
        for number, (cell, low, high) in enumerate(others):
            assert low == after < high
            assert cell == stride * next((index for index, edge in enumerate(edges) if low <= edge), len(edges))
            assert number == len(others) - 1 or edges[number] == high - 1
            after = high
        assert others[-1][2] - others[-1][1] == 1


@given(sorted_edges, sorted_edges)
def test_cells_of_zeros_are_apart(inputs: tuple[int, ...], outputs: tuple[int, ...]) -> None:
    """A sum of two shares tells which of them was of a 0: of the input, of the output alone, or of neither."""
    of_input, of_output = bucket_index.lookup_steps(TokenGrid(input_edges=inputs, output_edges=outputs)).values()
    most = len(inputs) * (len(outputs) + 1)
    cells = (len(inputs) + 1) * (len(outputs) + 1)
    for largest in (0, most):
        assert 0 <= largest + len(outputs) < cells
        for share in (0, len(outputs)):
            assert -cells <= of_output[0][0] + largest < 0
            assert of_input[0][0] + share < -cells
            assert of_input[0][0] + of_output[0][0] + share < -cells
