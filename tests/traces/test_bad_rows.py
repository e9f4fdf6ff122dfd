"""Rows that are no requests: counted by name, excluded, never in the histogram."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from property_examples import some

from sky_melange.domain.trace import LogColumns, Rejection, TimeUnit, TraceOptions, TraceSummary
from sky_melange.errors import InputError
from sky_melange.traces import scan_files

LogWriter = Callable[..., Path]
COLUMNS = LogColumns(input="i", output="o", time="t")

TOKENS = {
    "": "missing",
    "  ": "missing",
    "abc": "not_a_number",
    "1,5": "not_a_number",
    "0x10": "not_a_number",
    "1__000": "not_a_number",
    "12 34": "not_a_number",
    "null": "not_a_number",
    "٣": "not_a_number",
    "9" * 400: "not_a_number",
    "true": "not_a_number",
    "NaN": "not_finite",
    "nan": "not_finite",
    "inf": "not_finite",
    "-Infinity": "not_finite",
    "-1": "negative",
    "-0.5": "negative",
    "100000001": "too_large",
    "1e99": "too_large",
    "12.5": "not_whole",
    "0": "zero",
    "-0": "zero",
    "0.0": "zero",
}
FINE = {
    "7": 7,
    " 7 ": 7,
    "\t7": 7,
    "+7": 7,
    "7.0": 7,
    "7.": 7,
    "0" * 20 + "7": 7,
    "7e2": 700,
    ".5e3": 500,
    "1_000": 1000,
    "100000000": 100_000_000,
}

TIMES = {
    "": "time_missing",
    "yesterday": "time_unreadable",
    "NaN": "time_unreadable",
    "2025-02-30 10:00:00": "time_unreadable",
    "2025-02-29 10:00:00": "time_unreadable",
    "1900-02-29 10:00:00": "time_unreadable",
    "2025-13-01 10:00:00": "time_unreadable",
    "2025-04-31 10:00:00": "time_unreadable",
    "2025-01-01 24:00:00": "time_unreadable",
    "2025-01-01 10:61:00": "time_unreadable",
    "2025-01-01 1:00": "time_unreadable",
    "2025-01-01": "time_unreadable",
    "01/02/2025 10:00:00": "time_unreadable",
    "2025-01-01 10:00:00+99": "time_unreadable",
    "2025-01-01 10:00:00 CET": "time_unreadable",
    "1969-12-31 23:59:59": "time_out_of_range",
    "0000-01-01 00:00:00": "time_out_of_range",
    "-5": "time_out_of_range",
}


def _csv(rows: list[tuple[str, str, str]]) -> str:
    quoted = (",".join(f'"{value}"' for value in row) for row in rows)
    return "i,o,t\n" + "\n".join(quoted) + "\n"


def _rejected(summary: TraceSummary) -> dict[str, int]:
    return {str(name): count for name, count in summary.rejected.items()}


@pytest.mark.parametrize("axis", ["input", "output"])
@pytest.mark.parametrize("text", some(TOKENS))
def test_bad_token_counts_are_named(log: LogWriter, axis: str, text: str) -> None:
    bad = (text, "5", "1700000000") if axis == "input" else ("5", text, "1700000000")
    path = log("a.csv", _csv([("5", "5", "1700000000"), bad]))
    found = scan_files([str(path)], TraceOptions(columns=COLUMNS))
    assert _rejected(found) == {f"{axis}_{TOKENS[text]}": 1}
    assert found.requests == 1
    assert any(f"{axis}_{TOKENS[text]}" in note for note in found.notes)


@pytest.mark.parametrize("text", FINE)
def test_odd_spellings_of_numbers_count(log: LogWriter, text: str) -> None:
    path = log("a.csv", _csv([(text, "5", "1700000000")]))
    found = scan_files([str(path)], TraceOptions(columns=COLUMNS, buckets="100000000x2000"))
    assert [cell.input_tokens for cell in found.cells] == [FINE[text]]


@pytest.mark.parametrize("text", some(TIMES))
def test_bad_times_are_named(log: LogWriter, text: str) -> None:
    path = log("a.csv", _csv([("5", "5", "2025-01-01 10:00:00"), ("5", "5", text)]))
    found = scan_files([str(path)], TraceOptions(columns=COLUMNS))
    assert _rejected(found) == {TIMES[text]: 1}
    assert found.rate is not None
    assert found.rate.windows == 1


def test_a_row_has_one_reason_the_first(log: LogWriter) -> None:
    path = log("a.csv", _csv([("5", "5", "1700000000"), ("x", "0", "never"), ("5", "0", "never")]))
    found = scan_files([str(path)], TraceOptions(columns=COLUMNS))
    assert _rejected(found) == {"input_not_a_number": 1, "output_zero": 1}


def test_json_values_of_every_type(log: LogWriter) -> None:
    bad = [None, "x", True, [1], {"a": 1}, -3, 2.5, 0, 10**30, "NaN"]
    lines = [json.dumps({"i": value, "o": 5, "t": 1_700_000_000}) for value in bad]
    lines += [
        '{"o": 5, "t": 1700000000}',
        '{"i": NaN, "o": 5, "t": 1700000000}',
        "",
        '{"i": "8", "o": 5, "t": 1700000000.25}',
    ]
    found = scan_files([str(log("a.jsonl", "\n".join(lines)))], TraceOptions(columns=COLUMNS))
    assert found.requests == 1
    assert _rejected(found) == {
        "input_missing": 2,
        "input_not_a_number": 4,
        "input_too_large": 1,
        "input_not_finite": 2,
        "input_negative": 1,
        "input_not_whole": 1,
        "input_zero": 1,
    }


def test_parquet_columns_of_every_type(tmp_path: Path) -> None:
    rows = "(VALUES (5), (NULL), (-1), (0), (200000000)) AS v(x)"
    for kind in ("INTEGER", "BIGINT", "HUGEINT", "DOUBLE", "FLOAT", "DECIMAL(18, 2)", "VARCHAR"):
        path = tmp_path / f"{kind}.parquet"
        duckdb.sql(f"COPY (SELECT x::{kind} AS i, 7::UTINYINT AS o, 1700000000 AS t FROM {rows}) TO '{path}'")
        found = scan_files([str(path)], TraceOptions(columns=COLUMNS))
        wanted = {"input_missing": 1, "input_negative": 1, "input_too_large": 1, "input_zero": 1}
        assert (_rejected(found), found.requests) == (wanted, 1), kind


def test_unsigned_and_broken_floats(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = "(18446744073709551615::UBIGINT, 'nan'::DOUBLE), (9::UBIGINT, 'inf'::DOUBLE), (9::UBIGINT, 4.5), (9, 4)"
    duckdb.sql(f"COPY (SELECT * FROM (VALUES {values}) AS v(i, o)) TO '{path}'")
    found = scan_files([str(path)], TraceOptions(columns=LogColumns(input="i", output="o")))
    assert _rejected(found) == {"input_too_large": 1, "output_not_finite": 1, "output_not_whole": 1}


@pytest.mark.parametrize("kind", ["BOOLEAN", "DATE", "INTEGER[]", "STRUCT(a INTEGER)"])
def test_columns_that_cannot_hold_tokens(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql(f"COPY (SELECT NULL::{kind} AS i, 1 AS o) TO '{path}'")
    with pytest.raises(InputError, match=r"a\.parquet: .*column 'i' holds .*, want token counts"):
        scan_files([str(path)], TraceOptions(columns=LogColumns(input="i", output="o")))


def test_columns_that_cannot_hold_times(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    duckdb.sql(f"COPY (SELECT 1 AS i, 1 AS o, true AS t) TO '{path}'")
    with pytest.raises(InputError, match="column 't' holds boolean, want times"):
        scan_files([str(path)], TraceOptions(columns=COLUMNS))


def test_infinite_and_ancient_timestamps(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    times = "('infinity'::TIMESTAMP), ('1969-12-31'::TIMESTAMP), (NULL), ('2025-01-01 10:00:59.999'::TIMESTAMP)"
    duckdb.sql(f"COPY (SELECT 1 AS i, 1 AS o, t FROM (VALUES {times}) AS v(t)) TO '{path}'")
    found = scan_files([str(path)], TraceOptions(columns=COLUMNS))
    assert _rejected(found) == {"time_missing": 1, "time_out_of_range": 2}
    assert found.rate is not None
    assert found.rate.last_s % 60 == 59


def test_a_log_of_nothing_but_failures_is_an_error(log: LogWriter) -> None:
    path = log("a.csv", _csv([("5", "0", "1"), ("5", "0", "2")]))
    with pytest.raises(
        InputError, match=r"holds no valid request \(2 rows: 0 output tokens: a failed request \(output_zero\)\)"
    ):
        scan_files([str(path)], TraceOptions(columns=COLUMNS))


@pytest.mark.parametrize("content", ["i,o,t\n", "i,o,t", gzip.compress(b"i,o,t\n", mtime=0)])
def test_a_log_without_rows_is_an_error(log: LogWriter, content: str | bytes) -> None:
    with pytest.raises(InputError, match=r"holds no valid request \(it has no rows\)"):
        scan_files([str(log("a.csv", content))], TraceOptions(columns=COLUMNS))


def test_small_times_without_a_unit_are_an_error(log: LogWriter) -> None:
    path = log("a.csv", _csv([("5", "5", "0"), ("5", "5", "90000")]))
    with pytest.raises(
        InputError,
        match=r"unit of 2 times is in doubt. They may be seconds: 2.22e-05 requests/s over 9e\+04 s.* --time-unit",
    ):
        scan_files([str(path)], TraceOptions(columns=COLUMNS))
    seconds = scan_files([str(path)], TraceOptions(columns=COLUMNS, time_unit=TimeUnit.S)).rate
    milliseconds = scan_files([str(path)], TraceOptions(columns=COLUMNS, time_unit=TimeUnit.MS)).rate
    assert seconds is not None
    assert milliseconds is not None
    assert (seconds.last_s, milliseconds.last_s) == (90_000, 90)


def test_every_rejection_has_a_case() -> None:
    tested = {f"{axis}_{problem}" for axis in ("input", "output") for problem in TOKENS.values()} | set(TIMES.values())
    of_gateways = {"failed", "from_cache", "no_generation", "not_a_request", "repeated", "outside_period"}
    assert tested | of_gateways | {"time_unit_unknown"} == {str(name) for name in Rejection}
