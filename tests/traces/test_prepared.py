"""Queries that are compiled before the release: those that would be compiled now, and Ibis is not needed for them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sky_melange.domain.trace import TraceOptions
from sky_melange.render import trace_report
from sky_melange.traces import duckdb_sql, scan_files

BLOCK = """
import sys
from importlib.abc import MetaPathFinder
class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ibis", "sqlglot"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Block())
from sky_melange.__main__ import main
main()
"""
ROWS = [("2025-03-03 11:07:09", 30, 4), ("2025-03-03 11:07:59", 9000, 4000), ("2025-03-03 11:09:00", 17000, 0)]


def test_prepared_queries_are_up_to_date(repository: Path) -> None:
    """After a change of the expression, of Ibis or of SQLGlot: `python scripts/build_trace_sql.py`."""
    code = "import build_trace_sql as b; print(b.prepared_text() == b.TARGET.read_text(encoding='utf-8'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository / "scripts", capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    "name", ["azure-conversation.csv", "burstgpt.csv", "litellm.jsonl", "mooncake.jsonl", "vidur-code.csv"]
)
def test_usual_logs_are_counted_without_ibis(extracts: Path, name: str) -> None:
    command = ["workload", "from-trace", str(extracts / name), "--format", "json"]
    blocked = subprocess.run([sys.executable, "-c", BLOCK, *command], capture_output=True, text=True, check=False)
    assert blocked.returncode == 0, blocked.stderr
    assert json.loads(blocked.stdout)["histogram"]["counts"]


@pytest.mark.parametrize("count", ["INTEGER", "BIGINT", "SMALLINT"])
@pytest.mark.parametrize("time", ["TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS", "VARCHAR", "BIGINT", None])
def test_prepared_and_compiled_queries_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: str, time: str | None
) -> None:
    """SMALLINT and times in BIGINT are not prepared; the same log as text is, and all have the same answer."""
    import duckdb

    log = tmp_path / "log.parquet"
    rows = ", ".join(f"(TIMESTAMP '{at}', {inputs}, {outputs})" for at, inputs, outputs in ROWS)
    of_time = "" if time is None else f', {_as(time)} AS "TIMESTAMP"'
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f'COPY (SELECT i::{count} AS "ContextTokens", o::{count} AS "GeneratedTokens"{of_time} '
            f"FROM (VALUES {rows}) AS v(t, i, o)) TO '{log}' (FORMAT parquet)"
        )
    options = TraceOptions()
    prepared = trace_report.to_json(scan_files([str(log)], options))
    monkeypatch.setattr(duckdb_sql, "prepared_sql", lambda *_: None)
    assert trace_report.to_json(scan_files([str(log)], options)) == prepared
    document = json.loads(prepared)
    assert sum(map(sum, document["histogram"]["counts"])) == 1
    assert document["rejected"] == {"output_zero": 1}


def _as(time: str) -> str:
    return "epoch(t)::BIGINT" if time == "BIGINT" else f"t::{time}"


def test_what_is_not_usual_is_compiled(extracts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []

    def spy(*arguments: object, **options: object) -> str:
        compiled.append(arguments)
        return original(*arguments, **options)  # type: ignore[arg-type]

    original: Callable[..., str] = duckdb_sql.compiled
    monkeypatch.setattr(duckdb_sql, "compiled", spy)
    log = [str(extracts / "azure-conversation.csv")]
    scan_files(log, TraceOptions())
    assert compiled == []
    for number, options in enumerate((TraceOptions(buckets="25,100x25,50"), TraceOptions(window_s=10)), start=1):
        scan_files(log, options)
        assert len(compiled) == number
