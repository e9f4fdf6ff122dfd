"""The same expression gives the same counts in DuckDB, in PostgreSQL and in Spark."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sky_melange.domain.trace import LogColumns, Rejection, TimeUnit, TraceOptions, TraceSummary
from sky_melange.errors import InputError
from sky_melange.render import trace_report
from sky_melange.traces import scan_files, scan_table

pytestmark = [
    pytest.mark.engines,
    # Ibis, PySpark and pandas warn about each other; none of it is ours to change.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OPTIONS = [
    TraceOptions(),
    TraceOptions(buckets="extend", window_s=1, rate_percentile=50),
    TraceOptions(buckets="auto:12"),
    TraceOptions(buckets="100,101x7,50", window_s=3600),
    TraceOptions(since_s=1_700_158_600, until_s=1_740_999_990),
]


def _report(summary: TraceSummary) -> str:
    """Tables have no lines."""
    text = trace_report.to_json(summary).replace(f'"{summary.source}"', '"log"')
    return re.sub(r" in [\w.-]+\.csv:\d+", "", text)


@pytest.fixture(scope="session")
def postgres(load_postgres: Callable[..., None], postgres_url: str, extracts: Path, messy_csv: Path) -> str:
    load_postgres("conv", extracts / "azure-conversation.csv", ("timestamp", "integer", "bigint"))
    for name in ("messy", "spelled"):
        load_postgres(name, messy_csv.with_stem(name))
    load_postgres("vidur", extracts / "vidur-code.csv", ("double precision", "smallint", "numeric"))
    return postgres_url


@pytest.fixture(scope="session")
def spark_url(spark: Any, extracts: Path, messy_csv: Path) -> str:
    messy = [(name, messy_csv.with_stem(name)) for name in ("messy", "spelled")]
    for name, path in (("conv", extracts / "azure-conversation.csv"), *messy):
        spark.read.csv(str(path), header=True, emptyValue="").createOrReplaceTempView(name)
    spark.read.csv(str(extracts / "vidur-code.csv"), header=True).createOrReplaceTempView("vidur")
    zone = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    typed = "TIMESTAMP::timestamp_ntz, ContextTokens::int, GeneratedTokens::bigint"
    spark.sql(f"CREATE OR REPLACE TEMP VIEW conv_typed AS SELECT {typed} FROM conv")
    typed = "arrived_at::double, num_prefill_tokens::smallint, num_decode_tokens::decimal(12, 0)"
    spark.sql(f"CREATE OR REPLACE TEMP VIEW vidur_typed AS SELECT {typed} FROM vidur")
    spark.conf.set("spark.sql.session.timeZone", zone)
    return "pyspark://"


@pytest.fixture(params=["postgres", "spark_url"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.buckets)
@pytest.mark.parametrize("table", ["conv", "conv_typed"])
def test_a_real_trace(url: str, extracts: Path, table: str, options: TraceOptions) -> None:
    wanted = scan_files([str(extracts / "azure-conversation.csv")], options)
    assert wanted.requests == 400 - wanted.rejected.get(Rejection.OUTSIDE_PERIOD, 0)
    assert _report(scan_table(url, table, options)) == _report(wanted)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.buckets)
def test_a_real_trace_as_typed_parquet(url: str, extracts: Path, tmp_path: Path, options: TraceOptions) -> None:
    """Which is counted by an expression of its own."""
    import duckdb

    log = tmp_path / "log.parquet"
    duckdb.read_csv(str(extracts / "azure-conversation.csv")).write_parquet(str(log))
    assert [str(kind) for kind in duckdb.read_parquet(str(log)).types] == ["TIMESTAMP", "BIGINT", "BIGINT"]
    wanted = scan_files([str(log)], options)
    assert wanted.requests == 400 - wanted.rejected.get(Rejection.OUTSIDE_PERIOD, 0)
    assert _report(scan_table(url, "conv_typed", options)) == _report(wanted)


@pytest.mark.parametrize("table", ["vidur", "vidur_typed"])
def test_relative_times_and_decimals(url: str, extracts: Path, table: str) -> None:
    wanted = scan_files([str(extracts / "vidur-code.csv")], TraceOptions())
    assert _report(scan_table(url, table, TraceOptions())) == _report(wanted)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.buckets)
def test_rows_that_are_no_requests(url: str, messy_csv: Path, options: TraceOptions) -> None:
    wanted = scan_files([str(messy_csv)], options)
    assert wanted.rows_rejected >= 15
    assert _report(scan_table(url, "messy", options)) == _report(wanted)


def test_spellings_of_times(url: str, messy_csv: Path) -> None:
    """Spark, which would plan them for minutes, rejects them by name."""
    wanted = scan_files([str(messy_csv.with_stem("spelled"))], TraceOptions())
    found = scan_table(url, "spelled", TraceOptions())
    if url != "pyspark://":
        assert _report(found) == _report(wanted)
        return
    unread = {name: found.rejected[name] - wanted.rejected.get(name, 0) for name in found.rejected}
    assert {name: count for name, count in unread.items() if count} == {Rejection.TIME_UNREADABLE: 7}


def test_whole_traces(postgres: str, load_postgres: Callable[..., None], shared_traces: Path, tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "whole.csv"
    path.write_bytes(gzip.decompress((shared_traces / "azure-llm-2023-conv.csv.gz").read_bytes()))
    load_postgres("whole", path)
    wanted = scan_files([str(path)], TraceOptions())
    assert wanted.requests == 19_366
    assert _report(scan_table(postgres, "whole", TraceOptions())) == _report(wanted)


def test_names_that_a_database_changed(postgres: str) -> None:
    """PostgreSQL folds unquoted names to small letters; a schema may stand before the table."""
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA logs")
        connection.execute(
            'CREATE TABLE logs.folded AS SELECT "ContextTokens" ContextTokens, "GeneratedTokens" '
            'GeneratedTokens, "TIMESTAMP" Timestamp FROM conv'
        )
    found = scan_table(postgres, "logs.folded", TraceOptions())
    assert found.columns == LogColumns(
        input="contexttokens",
        output="generatedtokens",
        time="timestamp",
        time_unit=TimeUnit.AUTO,
        layout="Azure LLM inference trace",
    )


def test_errors_of_a_database_are_exit_2(postgres: str) -> None:
    for url, table, words in (
        (postgres, "absent", "absent"),
        (postgres, "conv; DROP TABLE conv", "DROP TABLE"),
        ("postgres://postgres:secret-word@127.0.0.1:9/x", "conv", "refused"),
    ):
        with pytest.raises(InputError) as caught:
            scan_table(url, table, TraceOptions())
        assert words in str(caught.value)
        assert "secret-word" not in str(caught.value)
    assert scan_table(postgres, "conv", TraceOptions()).requests == 400
