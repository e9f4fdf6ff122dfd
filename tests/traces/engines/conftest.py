"""A real PostgreSQL, started here as an ordinary user, and Spark in this process's own Java.

Both are skipped where they are not installed; with SKY_MELANGE_REQUIRE_ENGINES=1, as CI sets it, that is a failure.
"""

from __future__ import annotations

import csv
import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres_server import missing, running_postgres

MESSY = [
    ("2025-03-03 11:05:00", "5", "5"),
    ("2025-03-03T12:06:00+01:00", "30", "6"),
    ("2025-03-03 11:07:09.9799600", "100", "50"),
    ("2025-03-03T12:07:10+01:00", "101", "7"),
    ("2025-03-03 11:07:59 UTC", " 25 ", "25.0"),
    ("1741000081", "26", "26"),
    ("1741000081999", "3e2", "2000"),
    ("2025-03-03 11:09:00", "16001", "5"),
    ("2025-03-03 11:09:00", "5", "2001"),
    ("2025-03-03 11:09:00", "", "5"),
    ("2025-03-03 11:09:00", "abc", "5"),
    ("2025-03-03 11:09:00", "NaN", "5"),
    ("2025-03-03 11:09:00", "-4", "5"),
    ("2025-03-03 11:09:00", "100000001", "5"),
    ("2025-03-03 11:09:00", "2.5", "5"),
    ("2025-03-03 11:09:00", "0", "5"),
    ("2025-03-03 11:09:00", "5", "0"),
    ("2025-03-03 11:09:00", "5", "-Infinity"),
    ("2025-02-30 11:09:00", "5", "5"),
    ("", "5", "5"),
    ("soon", "5", "5"),
    ("31/Feb/2025:11:10:09 +0000", "5", "5"),
    ("1900-01-01 00:00:00", "5", "5"),
    ("-7", "5", "5"),
]
"""Every reason for rejection that text can give."""

SPELLED = [
    ("03/Mar/2025:11:10:09 +0000", "5", "5"),
    ("[03/Mar/2025:13:10:09 +0200]", "5", "5"),
    ("Mon, 3 Mar 2025 11:10:09 GMT", "5", "5"),
    ("3/3/2025 1:10:09 PM", "5", "5"),
    ("03/03/2025, 12:10 am", "5", "5"),
    ("2025-03-03 11:10", "5", "5"),
    ("2025/03/03 11:10+00:00", "5", "5"),
]
"""Times in other spellings than ISO 8601."""


@pytest.fixture(scope="session")
def messy_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """And `spelled.csv` beside it, with `SPELLED` too."""
    folder = tmp_path_factory.mktemp("messy")
    for name, rows in (("messy", MESSY), ("spelled", [*MESSY, *SPELLED])):
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("TIMESTAMP", "ContextTokens", "GeneratedTokens"), *rows])
    return folder / "messy.csv"


def _need_module(name: str, extra: str) -> None:
    if importlib.util.find_spec(name) is None:
        missing(f"{name} is not installed: pip install '.[{extra}]'")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A fresh server on a Unix socket only; stopped and removed at the end."""
    _need_module("psycopg", "postgres")
    with running_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def load_postgres(postgres_url: str) -> Callable[[str, Path], None]:
    """Loads a CSV file into a table of text columns, and into `<table>_typed` where `types` are given."""
    import psycopg

    def load(table: str, path: Path, types: tuple[str, ...] = ()) -> None:
        with path.open(newline="") as stream, psycopg.connect(postgres_url, autocommit=True) as connection:
            header = next(csv.reader(stream))
            columns = ", ".join(f'"{name}" text' for name in header)
            connection.execute(f'CREATE TABLE "{table}" ({columns})')
            with connection.cursor().copy(
                f'COPY "{table}" FROM STDIN WITH (FORMAT csv, FORCE_NULL *)'.replace(
                    "FORCE_NULL *", "FORCE_NOT_NULL (" + ", ".join(f'"{name}"' for name in header) + ")"
                )
            ) as copy:
                for line in stream:
                    copy.write(line)
            if types:
                cast = ", ".join(f'"{name}"::{kind} AS "{name}"' for name, kind in zip(header, types, strict=True))
                connection.execute(f'CREATE TABLE "{table}_typed" AS SELECT {cast} FROM "{table}"')

    return load


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """One session for all, in a time zone far from UTC."""
    if shutil.which("java") is None:
        missing("Java is not installed (Debian: openjdk-17-jre-headless)")
    _need_module("pyspark", "spark")
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.session.timeZone", "America/New_York")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
