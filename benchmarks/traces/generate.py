"""Writes a made-up request log of any size as Parquet and CSV, in constant memory.

python benchmarks/traces/generate.py FOLDER ROWS
"""

from __future__ import annotations

import sys
from pathlib import Path


def generate(folder: Path, rows: int) -> None:
    """`requests.parquet` and `requests.csv`: a week of requests, log-normal sizes, 1 % failed, a daily rhythm."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    # hash() is a fixed function, so every run writes the same rows whatever the number of threads.
    query = f"""
        WITH uniform AS (
            SELECT i, (hash(i) % 1000003 + 1) / 1000004.0 AS a, (hash(i + 7) % 1000003 + 1) / 1000004.0 AS b,
                   (hash(i + 13) % 1000003 + 1) / 1000004.0 AS c
            FROM range({rows}) AS numbers(i)
        )
        SELECT TIMESTAMP '2025-03-03 00:00:00' + to_microseconds(
                   CAST(604800e6 * (i + 0.5) / {rows} + 3600e6 * sin(14 * pi() * i / {rows}) AS BIGINT)) AS "TIMESTAMP",
               CAST(least(16000, greatest(1, exp(6.2 + 1.2 * sqrt(-2 * ln(a)) * cos(2 * pi() * b)))) AS INTEGER)
                   AS "ContextTokens",
               CASE WHEN c < 0.01 THEN 0
                    ELSE CAST(least(2000, greatest(1, exp(4.8 + 0.9 * sqrt(-2 * ln(a)) * sin(2 * pi() * b))))
                         AS INTEGER)
               END AS "GeneratedTokens"
        FROM uniform
    """  # noqa: S608 - a whole number
    for name, options in (("requests.parquet", "FORMAT parquet"), ("requests.csv", "FORMAT csv, HEADER")):
        connection.execute(f"COPY ({query}) TO '{folder / name}' ({options})")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    generate(Path(sys.argv[1]), int(sys.argv[2]))
