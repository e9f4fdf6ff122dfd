"""Usual rows are counted by SQL of their own; the answer is that of the thorough way, row for row."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from property_examples import mostly_slow, some

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import LogColumns, TimeUnit, TraceOptions
from sky_melange.errors import InputError
from sky_melange.render import trace_report
from sky_melange.traces import duckdb_files, duckdb_sql, expression, scan_files
from sky_melange.traces.engine import unfused
from sky_melange.traces.expression import Log

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


def _thorough(monkeypatch: pytest.MonkeyPatch, paths: Sequence[str], options: TraceOptions) -> str:
    with monkeypatch.context() as patch:
        patch.setattr(duckdb_files, "plain_rows", lambda *_: None)
        return _report(paths, options)


def _same_both_ways(monkeypatch: pytest.MonkeyPatch, paths: Sequence[str], options: TraceOptions) -> str:
    report = _report(paths, options)
    assert _thorough(monkeypatch, paths, options) == report
    return report


def _ways(monkeypatch: pytest.MonkeyPatch, paths: Sequence[str], options: TraceOptions) -> list[str]:
    """Which ways a log was counted."""
    ran: list[str] = []
    original = duckdb_files.DuckDbFiles._run

    def spy(self: duckdb_files.DuckDbFiles, rows: str, groups: str) -> object:
        ran.append("quick" if "IS NOT TRUE THEN" in rows else "thorough")
        return original(self, rows, groups)

    with monkeypatch.context() as patch:
        patch.setattr(duckdb_files.DuckDbFiles, "_run", spy)
        _report(paths, options)
    return ran


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
@pytest.mark.parametrize("time", some([*TIMES, None]))
def test_every_combination_of_edge_cases(
    write: Write, monkeypatch: pytest.MonkeyPatch, count: str, time: str | None
) -> None:
    log = write(_every(count, time))
    unit = TimeUnit.S if time in ("BIGINT", "INTEGER") else TimeUnit.AUTO
    # Times run over 8,000 years: few windows, or there would be too many to report.
    report = _same_both_ways(monkeypatch, [log], TraceOptions(time_unit=unit, window_s=604_800))
    assert json.loads(report)["rejected"]["input_missing"] >= 13


@pytest.mark.parametrize("unit", [*TimeUnit])
def test_every_unit_of_whole_numbers(write: Write, monkeypatch: pytest.MonkeyPatch, unit: TimeUnit) -> None:
    options = TraceOptions(time_unit=unit, window_s=604_800)
    report = _same_both_ways(monkeypatch, [write(_every("INTEGER", "BIGINT"))], options)
    assert ("unit cannot be told" in report) == (unit is TimeUnit.AUTO)


@pytest.mark.parametrize("buckets", BUCKETS)
@pytest.mark.parametrize("window_s", [1, 604_800])
def test_every_grid_and_window(write: Write, monkeypatch: pytest.MonkeyPatch, buckets: str, window_s: int) -> None:
    log = write(
        "SELECT TIMESTAMP '2025-03-03 11:07:09.25' + to_seconds(n * 7919 % 500000) AS \"TIMESTAMP\", "
        '(n * n) % 300000 AS "ContextTokens", (n * 31) % 140000 AS "GeneratedTokens" FROM range(3000) AS rows(n)'
    )
    _same_both_ways(monkeypatch, [log], TraceOptions(buckets=buckets, window_s=window_s))


def test_files_of_different_types_are_one_log(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = [
        write(_every("INTEGER", "TIMESTAMP")),
        write(_every("BIGINT", "TIMESTAMP WITH TIME ZONE")),
        write(_every("SMALLINT", "BIGINT")),
    ]
    options = TraceOptions(time_unit=TimeUnit.MS, window_s=604_800)
    _same_both_ways(monkeypatch, logs, options)
    found, plain, zoned = (scan_files(each, options) for each in (logs, logs[:1], logs[1:]))
    assert found.zoneless == plain.requests == plain.zoneless
    assert zoned.zoneless == 0
    assert found.requests == plain.requests + zoned.requests


def test_typed_and_text_say_the_same(tmp_path: Path, write: Write) -> None:
    """The same rows as CSV."""
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


BLOCK = """
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
class Block(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.split(".")[0] in ("ibis", "sqlglot") else None
    def create_module(self, spec):
        raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Block())
from sky_melange.__main__ import main
main()
"""


@pytest.mark.parametrize("name", ["azure-conversation.csv", "burstgpt.csv", "mooncake.jsonl", "vidur-arxiv.csv"])
def test_usual_logs_are_counted_without_ibis(extracts: Path, name: str) -> None:
    command = ["workload", "from-trace", str(extracts / name), "--format", "json", "--where", "TRUE"]
    blocked = subprocess.run([sys.executable, "-c", BLOCK, *command], capture_output=True, text=True, check=False)
    assert blocked.returncode == 0, blocked.stderr
    assert json.loads(blocked.stdout)["histogram"]["counts"]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
@pytest.mark.parametrize("count", ["INTEGER", "BIGINT", "VARCHAR", "DOUBLE"])
@pytest.mark.parametrize(
    "time",
    some(
        (
            "t",
            "t::TIMESTAMPTZ",
            "t::TIMESTAMP_MS",
            "epoch_ms(t)",
            "strftime(t, '%Y-%m-%dT%H:%M:%S.%fZ')",
            "NULL::INTEGER",
        )
    ),
)
def test_logs_of_plain_rows_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, count: str, time: str
) -> None:
    """Failed requests, with 0 tokens, among them."""
    log = tmp_path / f"log.{kind}"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f'COPY (SELECT ((n * n) % 30000)::{count} AS "ContextTokens", ((n * 31) % 1400)::{count} '
            f'AS "GeneratedTokens", {time} AS "TIMESTAMP" FROM (SELECT n, '
            "TIMESTAMP '2025-03-03 11:07:09.25' + to_milliseconds(n * 791911 % 500000) AS t FROM range(3000) AS r(n))) "
            f"TO '{log}' (FORMAT {kind})"
        )
    if time.startswith("NULL"):
        assert _ways(monkeypatch, [str(log)], TraceOptions())[-1] == "thorough"
        return
    assert _ways(monkeypatch, [str(log)], TraceOptions()) == ["quick"]
    assert json.loads(_same_both_ways(monkeypatch, [str(log)], TraceOptions()))["rejected"]["output_zero"] > 1


COUNTS = [
    *("7", "07", "+7", " 7", "7 ", "7.", "7.0", "7.5", "7e2", "1e2", "9e5", "70e1", "5e-1", ".5e3", "1.5e1", "0", "-0"),
    *("00", "0x10", "0x989680", "0xFFFFFF", "0xF4240", "0b11", "1_0", "1_000", "\t7", "7\n", "٣", "NaN", "inf", "true"),
    *(
        "",
        " ",
        "999999",
        "1000000",
        "99999999",
        "100000000",
        "100000001",
        "9999999999",
        "9" * 30,
        "-7",
        "1,5",
        "7\u00a0",
    ),
]
STAMPS = [
    *(
        "2025-01-01 10:00:00",
        "2025-01-01 10:00:00.5",
        "2025-01-01 10:00:00.123456789",
        "2025-01-01 10:00:00.1234567890",
    ),
    *("2025-01-01T10:00:00", "2025-01-01T10:00:00.25Z", "2025-01-01 10:00:00Z", "2025-01-01 10:00:00.5 UTC"),
    *("2025-01-01 10:00:00+00:00", "2025-01-01 10:00:00.5+0000", "2025-01-01 10:00:00+00", "2025-01-01 10:00:00+02"),
    *(
        "2025-01-01 10:00:00-05:30",
        "2025-01-01 10:00:00 GMT0",
        "2025-01-01 10:00:00.5 Etc/GMT+1",
        "2025-01-01 10:00:00z",
    ),
    *(
        "2025-01-01 10:00:00,5",
        "2025-1-1 10:00:00",
        "2025- 1-01 10:00:00",
        "2025-01- 1 10:00:00",
        "2025-01-01  1:00:00",
    ),
    *(
        "2025-01-01 10: 0:00",
        "2025-01-01 10:00: 0",
        " 2025-01-01 10:00:00",
        "2025-01-01 10:00:00 ",
        "2025-01-01\t10:00:00",
    ),
    *(
        "2025-01-01 24:00:00",
        "2025-01-01 10:60:00",
        "2025-01-01 10:00:60",
        "2025-02-29 10:00:00",
        "2024-02-29 10:00:00",
    ),
    *(
        "1970-01-01 00:00:00",
        "1970-01-01 00:00:01",
        "1969-12-31 23:59:59.5",
        "2263-01-01 00:00:00.5",
        "9999-12-31 23:59:59",
    ),
    *(
        "0025-01-01 10:00:00",
        "+025-01-01 10:00:00",
        "-025-01-01 10:00:00",
        "2025-01-01 10:00:00.",
        "2025-01-01 10:00:00.-5",
    ),
    *("2025-1-1 9:5:7", "2025-01-01 \t1:00:00", "2025-1-1T9:05:07.25", "2025-01-01 10:00:00.5\t"),
    *("2025-01-01", "2025-01-01 10:00", "infinity", "epoch", "now", "1741000029", "1741000029.5", "1741000029750"),
    *(
        "01741000029",
        "1741000029750000000",
        "9223372036854775807",
        "253402300800",
        "-1",
        "0",
        "1.741000029e9",
        "5e8",
        "",
    ),
]
GOOD = [
    *("2025-01-01 10:00:00.5", "2025-01-01 10:00:00 UTC"),
    "2025-01-01T10:00:00Z",
    "2025-01-01 10:00:00+00:00",
    "1741000029",
    "1741000029750",
]


MUTATIONS = "0159-+:.,TZ eEx_\t\n\v\u00a0"


def _mutated(values: Sequence[str], seed: int) -> list[str]:
    """Each with a character replaced, removed or put in at every place."""
    picks = random.Random(seed)  # noqa: S311 - no secret
    changed = []
    for value in values:
        for place in range(len(value) + 1):
            other = picks.choice(MUTATIONS)
            changed += [value[:place] + other + value[place:], value[:place] + other + value[place + 1 :]]
            changed.append(value[:place] + value[place + 1 :])
    return [*values, *changed]


def _rows_both_ways(rows: Sequence[tuple[str, str, str]], first: str, unit: TimeUnit) -> Iterator[tuple[Any, Any, Any]]:
    """(row, what the quick way says of it, what the thorough way says)."""
    import ibis

    grid = TokenGrid(input_edges=(10, 10_000, 1_000_000), output_edges=(10, 10_000, 1_000_000))
    types = (duckdb_sql.TEXT,) * 3
    quick = duckdb_sql.plain_rows("log", types, unit, first, grid)
    assert quick is not None
    names = (duckdb_sql.INPUT, duckdb_sql.OUTPUT, duckdb_sql.TIME)
    columns = LogColumns(input=names[0], output=names[1], time=names[2], time_unit=unit)
    table = ibis.table(dict.fromkeys(names, "string"), name="log")
    with unfused():
        thorough = str(ibis.duckdb.compile(expression.keyed_rows([Log(table=table, columns=columns)], grid)))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
        connection.execute(f"CREATE TABLE log ({', '.join(f'{name} VARCHAR' for name in names)})")
        connection.execute("INSERT INTO log SELECT unnest(?), unnest(?), unnest(?)", list(zip(*rows, strict=True)))
        wanted = "key, CASE WHEN key >= 0 THEN second END, CASE WHEN key >= 0 THEN [input, output, no_zone] END"
        found = [connection.execute(f"SELECT {wanted} FROM ({query})").fetchall() for query in (quick, thorough)]
    yield from zip(rows, *found, strict=True)


@pytest.mark.parametrize("axis", [0, 1])
def test_no_spelling_of_a_number_is_read_differently(axis: int) -> None:
    time = "2025-01-01 10:00:00"
    counts = [value for value in _mutated(COUNTS, 3) if "\0" not in value]
    rows = [(count, "5", time) if axis == 0 else ("5", count, time) for count in counts]
    found = [each for each in _rows_both_ways(rows, time, TimeUnit.AUTO) if each[1][0] != duckdb_sql.UNUSUAL]
    assert [each for each in found if each[1] != each[2]] == []
    assert len(found) > 20


@pytest.mark.parametrize("first", some(GOOD))
@pytest.mark.parametrize("unit", [TimeUnit.AUTO, TimeUnit.MS])
def test_no_spelling_of_a_time_is_read_differently(first: str, unit: TimeUnit) -> None:
    """After a first row of one spelling."""
    rows = [("5", "5", time) for time in _mutated([*STAMPS, *GOOD], 5)]
    found = [each for each in _rows_both_ways(rows, first, unit) if each[1][0] != duckdb_sql.UNUSUAL]
    assert [each for each in found if each[1] != each[2]] == []
    assert len(found) > 5


SIZES_AS_NUMBERS = "columns = {'c0': 'DOUBLE', 'c1': 'DOUBLE', 'c2': 'VARCHAR'}"


@pytest.mark.parametrize("bad", mostly_slow(["", "x", "2.5", "true", "1__0", "0x10"], "x"))
@pytest.mark.parametrize("column", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_size_that_is_no_number_far_down_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str, column: int
) -> None:
    rows = [["7", "5", "2025-01-01 10:00:00"] for _ in range(5000)]
    rows[4321][column] = bad
    log = tmp_path / "log.csv"
    log.write_text("ContextTokens,GeneratedTokens,TIMESTAMP\n" + "".join(f"{','.join(row)}\n" for row in rows))
    (name, count), *others = json.loads(_same_both_ways(monkeypatch, [str(log)], TraceOptions()))["rejected"].items()
    assert (name.split("_")[0], count, others) == (["input", "output"][column], 1, [])
    assert _ways(monkeypatch, [str(log)], TraceOptions()) == ["quick", "thorough"]


@pytest.mark.parametrize("where", ["ContextTokens = '7'", "GeneratedTokens LIKE '5%' AND ContextTokens > 3", None])
def test_a_size_that_where_reads_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str | None) -> None:
    log = tmp_path / "log.csv"
    rows = "7,5,1741000029\n07,5,1741000030\n7.0,50,1741000031\n" * 20
    log.write_text(f"ContextTokens,GeneratedTokens,TIMESTAMP\n{rows}")
    seen: list[str] = []
    original = duckdb_files.DuckDbFiles._sql
    spy = lambda self, query, path="": seen.append(query) or original(self, query, path)  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(duckdb_files.DuckDbFiles, "_sql", spy)
        scan_files([str(log)], TraceOptions(where=where))
    assert any(SIZES_AS_NUMBERS in query for query in seen) == (where is None)
    found = json.loads(_same_both_ways(monkeypatch, [str(log)], TraceOptions(where=where)))
    assert sum(map(sum, found["histogram"]["counts"])) == {"ContextTokens = '7'": 20}.get(str(where), 60)


def test_one_column_for_both_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log.csv"
    log.write_text("n,t\n" + "8,1741000029\n" * 50)
    options = TraceOptions(columns=LogColumns(input="n", output="n", time="t"))
    assert _report([str(log)], options) == _thorough(monkeypatch, [str(log)], options)
