"""SQL that is compiled before the release, for the logs that most people have.

Importing Ibis and compiling its expression takes as long as reading ten million rows. `scripts/build_trace_sql.py`
compiles `expression.counts` for the default buckets and windows and the usual types of columns into
`prepared_sql.json`; any other log is compiled when it is read. A test compiles all of them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import TimeUnit, TraceOptions
from sky_melange.resources import package_text
from sky_melange.traces.edges import MELANGE

VIEW: Final = "log_0"
INPUT: Final = "log_input"
OUTPUT: Final = "log_output"
TIME: Final = "log_time"
BYTES: Final = "log_bytes"
"""The names of the view and of its columns, whatever those of the log are."""

ColumnTypes = tuple[str, str, str | None]
"""Of input, output and time, as DuckDB names them; no time: None."""

_TEXT: Final = "VARCHAR"
_FILE: Final = "prepared_sql.json"


def usual() -> Iterator[tuple[ColumnTypes, TimeUnit]]:
    """What is prepared: CSV and JSONL, which are read as text, and the usual Parquet; both counts of one type."""
    for count in ("INTEGER", "BIGINT", _TEXT):
        yield (count, count, None), TimeUnit.AUTO
        for unit in (TimeUnit.AUTO, TimeUnit.S, TimeUnit.MS):
            yield (count, count, _TEXT), unit
    for count in ("INTEGER", "BIGINT"):
        for time in ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_NS", "BIGINT"):
            yield (count, count, time), TimeUnit.AUTO


def key(types: ColumnTypes, unit: TimeUnit) -> str:
    """The name of an entry. The unit matters where times are numbers, or text, which may hold some."""
    *counts, time = types
    of_time = "no time" if time is None else time if time.startswith("TIMESTAMP") else f"{time} ({unit})"
    return ", ".join([*counts, of_time])


def prepared_sql(types: ColumnTypes, unit: TimeUnit, grid: TokenGrid, window_s: int | None) -> list[str] | None:
    """The queries for such a log, a view VIEW of columns INPUT, OUTPUT, TIME: the counting one and those that name.

    None where none were prepared.
    """
    if grid != MELANGE or window_s != TraceOptions().window_s:
        return None
    return _prepared().get(key(types, unit))


@cache
def _prepared() -> dict[str, list[str]]:
    queries: dict[str, list[str]] = json.loads(package_text("traces", _FILE))
    return queries
