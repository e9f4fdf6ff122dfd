"""The quick way to count files: SQL for rows that hold nothing unusual, which is all rows of most logs.

It takes what DuckDB casts to a number, and times in the spelling of the log's first row, and gives the same key and
second as `expression.keyed_rows`; any other row gets the key UNUSUAL, and its log is then counted by that expression,
which names what is wrong. So this need not know every spelling, but that expression must read all that this reads.

SQL is put together from numbers and from formats that a pattern has found, never from what a log says.
"""
# ruff: noqa: S608

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import CALENDAR_FROM_S, Rejection, TimeUnit
from sky_melange.traces.edges import MAX_TOKENS
from sky_melange.traces.engine import width
from sky_melange.traces.numbers import CODES
from sky_melange.traces.times import LAST_S, PER_SECOND

INPUT: Final = "log_input"
OUTPUT: Final = "log_output"
TIME: Final = "log_time"
BYTES: Final = "log_bytes"
BLOCKS: Final = "log_blocks"
"""The names of a view's columns, whatever those of the log are."""

UNUSUAL: Final = -1000
TEXT: Final = "VARCHAR"
DOUBLE: Final = "DOUBLE"
WITH_ZONE: Final = "TIMESTAMP WITH TIME ZONE"
"""Views have such times as UTC without a zone: calendars with zones make DuckDB ten times as slow."""

WITH_ZONE_NS: Final = "TIMESTAMPTZ_NS"
"""As pandas writes them; views have them as those of WITH_ZONE, cut to microseconds."""

_WHOLE: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_FLOATS: Final = frozenset({"FLOAT", DOUBLE})
_STAMPS: Final = frozenset({"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", WITH_ZONE})
_SPELLING: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?P<between>[T ])[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?P<zone>Z| UTC|\+00(?::?00)?)?"
)
_DIGITS: Final = re.compile(r"[0-9]{1,18}")


def plain_rows(
    view: str, types: tuple[str, str, str | None], unit: TimeUnit, first_time: str | None, grid: TokenGrid
) -> str | None:
    """SQL of `key`, `second`, `input`, `output`, `no_zone` for a view of INPUT, OUTPUT and, where `types` has it, TIME.

    `first_time` is one of the times where they are text. None where no row of such a log is plain.
    """
    counts = [_count(column, kind) for column, kind in zip((INPUT, OUTPUT), types[:2], strict=True)]
    time = ("0", "true", 0) if types[2] is None else _time(types[2], unit, first_time)
    if time is None or None in counts:
        return None
    (inputs, input_is_plain), (outputs, output_is_plain) = (count for count in counts if count is not None)
    second, time_is_plain, no_zone = time
    # Steps of their own: DuckDB then computes each value once.
    read = f"SELECT {inputs} AS input, {outputs} AS output, {second} AS second, * FROM {view}"
    is_plain = f"{input_is_plain} AND {output_is_plain} AND {time_is_plain}"
    key = f"{_index('input', grid.input_edges, width(grid))} + {_index('output', grid.output_edges, 1)}"
    return (
        f"SELECT CASE WHEN ({is_plain}) IS NOT TRUE THEN {UNUSUAL} WHEN input = 0 THEN -{CODES[Rejection.INPUT_ZERO]} "
        f"WHEN output = 0 THEN -{CODES[Rejection.OUTPUT_ZERO]} ELSE {key} END AS key, "
        f"second, input, output, {no_zone} AS no_zone FROM ({read})"
    )


def _count(column: str, kind: str) -> tuple[str, str] | None:
    """(the number, whether it is a count or 0)."""
    name = "input" if column == INPUT else "output"
    in_range = f"{name} BETWEEN 0 AND {MAX_TOKENS}"
    if kind in _WHOLE:
        return column, in_range
    if kind not in _FLOATS and kind != TEXT:
        return None
    # A cast of 2.5 to a whole number would round it.
    number = column if kind in _FLOATS else f"TRY_CAST({column} AS DOUBLE)"
    return f"TRY_CAST({number} AS INTEGER)", f"{in_range} AND {name} = {number}"


def _time(kind: str, unit: TimeUnit, first: str | None) -> tuple[str, str, int] | None:
    """(the second, whether it is plain, whether the date names no zone)."""
    if kind in _STAMPS:
        in_range = f"{TIME} BETWEEN TIMESTAMP '1970-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'"
        return f"epoch_us({TIME}) // 1000000", in_range, int(kind != WITH_ZONE)
    if kind in _WHOLE:
        return _of_number(TIME, unit)
    spelling = None if first is None else _SPELLING.fullmatch(first)
    if kind == TEXT and spelling is not None:
        between, zone = spelling["between"], spelling["zone"] or ""
        date = f"%Y-%m-%d{between}%H:%M:%S"
        moment = f"try_strptime({TIME}, ['{date}.%n{zone}', '{date}{zone}'])"
        # What is left of a second before 1970 is 0.
        return f"epoch_us({moment}) // 1000000", f"second BETWEEN 1 AND {LAST_S}", int(not zone)
    if kind == TEXT and first is not None and _DIGITS.fullmatch(first):
        number = f"TRY_CAST({TIME} AS BIGINT)"
        second, is_plain, no_zone = _of_number(number, unit)
        return second, f"{is_plain} AND {number} < {9 * 10**18} AND CAST({number} AS VARCHAR) = {TIME}", no_zone
    return None


def _of_number(number: str, unit: TimeUnit) -> tuple[str, str, int]:
    if unit is not TimeUnit.AUTO:
        second = f"CAST({number} AS BIGINT) // {PER_SECOND[unit]}"
        return second, f"{number} >= 0 AND second <= {LAST_S}", 0
    scales = "".join(f"WHEN {number} < {CALENDAR_FROM_S * 1000 * scale} THEN {scale} " for scale in (1, 10**3, 10**6))
    second = f"CAST({number} AS BIGINT) // CASE {scales}ELSE 1000000000 END"
    return second, f"{number} >= {CALENDAR_FROM_S} AND second <= {LAST_S}", 0


def _index(value: str, edges: Sequence[int], stride: int) -> str:
    """The first edge at or above `value`, times `stride`."""
    branches = "".join(f"WHEN {value} <= {edge} THEN {index * stride} " for index, edge in enumerate(edges))
    return f"CASE {branches}ELSE {len(edges) * stride} END"
