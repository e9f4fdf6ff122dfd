"""How fast it could be at most: DuckDB reads the three columns of a log with their types and adds them up. Prints JSON.

    python benchmarks/traces/with_bare_scan.py LOG

Nothing is bucketed, checked or counted by time, so this is no way to the answer; it is what reading alone takes.
"""

from __future__ import annotations

import json
import sys

import duckdb


def main() -> None:
    """One query."""
    types = {"TIMESTAMP": "TIMESTAMP", "ContextTokens": "INTEGER", "GeneratedTokens": "INTEGER"}
    path = sys.argv[1]
    log = duckdb.read_parquet(path) if path.endswith(".parquet") else duckdb.read_csv(path, dtype=types)
    sums = log.aggregate('sum("ContextTokens"), sum("GeneratedTokens"), sum(epoch_us("TIMESTAMP"))').fetchall()
    print(json.dumps({"sums": [int(value) for value in sums[0]]}))


if __name__ == "__main__":
    main()
