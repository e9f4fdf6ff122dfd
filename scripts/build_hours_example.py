"""Builds examples/hours/rates.csv.gz from ServeGen's public rates of one pool: `… pool-rate-per-window.csv.gz`.

The source counts seconds from its start and has no dates; here it starts on a Monday at 00:00 UTC. Rates are divided
by 100: a service of usual size instead of one of the largest.
"""

from __future__ import annotations

import csv
import gzip
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

POOL: Final = "m-small"
DIVISOR: Final = 100
BEGIN: Final = datetime(2026, 6, 1, tzinfo=UTC)
TARGET: Final = Path(__file__).resolve().parent.parent / "examples" / "hours" / "rates.csv.gz"


def text(source: Path) -> str:
    """The rows `time,rate` of the pool."""
    with gzip.open(source, "rt", encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["pool"] == POOL]
    lines = (
        f"{(BEGIN + timedelta(seconds=int(row['start_s']))):%Y-%m-%dT%H:%MZ},{float(row['rate_rps']) / DIVISOR:.4f}\n"
        for row in rows
    )
    return "time,rate\n" + "".join(lines)


if __name__ == "__main__":
    TARGET.write_bytes(gzip.compress(text(Path(sys.argv[1])).encode("ascii"), compresslevel=9, mtime=0))
