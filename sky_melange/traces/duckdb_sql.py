"""DuckDB's SQL for the expressions: prepared where it may be, compiled by Ibis otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import LogColumns
from sky_melange.traces.bucket_index import lookup_steps
from sky_melange.traces.engine import unfused
from sky_melange.traces.prepared import BYTES, INPUT, OUTPUT, TIME, ColumnTypes, prepared_sql

if TYPE_CHECKING:
    import ibis.expr.types as ir

    from sky_melange.traces.request_rows import Log

WITH_ZONE: Final = "TIMESTAMP WITH TIME ZONE"
"""Views have such times as UTC without a zone: calendars with zones make DuckDB ten times as slow."""

_WHOLE: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_TIMES: Final = _WHOLE | {None, "TIMESTAMP", WITH_ZONE, "TIMESTAMP_S", "TIMESTAMP_MS"}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Files that are alike, as a view `name` of columns INPUT, OUTPUT and, where there are times, TIME.

    `columns` are those of the log, in its own names. `is_remote`: a second scan would be a second download.
    """

    name: str
    columns: LogColumns
    types: ColumnTypes
    bytes_type: str | None = None
    is_remote: bool = False

    @property
    def is_by_column(self) -> bool:
        """Whether `expression.counts_by_column` is for it; text is read once, as is what comes over a network."""
        *counts, time = self.types
        return not self.is_remote and all(kind in _WHOLE for kind in counts) and time in _TIMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """SQL: the counts; and where those leave rows out, a query for each column that names what is wrong with them.

    These counts need the tables of `lookups`.
    """

    counting: str
    naming: tuple[str, ...] = ()


def lookups(grid: TokenGrid) -> str:
    """The statements that make the tables of `bucket_index`. Joins are quick as DuckDB knows the range of a table."""
    statements = []
    for name, steps in lookup_steps(grid).items():
        rows = ", ".join(str(step) for step in steps)
        statements.append(
            f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT unnest(range(low, high)) AS size, "  # noqa: S608
            f"CAST(cell AS INTEGER) AS cell FROM (VALUES {rows}) AS steps(cell, low, high);"
        )
    return "".join(statements)


def queries_of(
    source: str, views: Sequence[View], grid: TokenGrid, window_s: int | None, *, with_largest: bool = False
) -> Queries:
    """Raises InputError where a column's type is of no use."""
    view = views[0]
    prepared = None
    if len(views) == 1 and not with_largest and not view.is_remote:
        prepared = prepared_sql(view.types, view.columns.time_unit, grid, window_s)
    if prepared is not None:
        return Queries(counting=prepared[0], naming=tuple(prepared[1:]))
    return compiled(source, views, grid, window_s, with_largest=with_largest)


def size_query(views: Sequence[View]) -> str:
    """SQL of `expression.size_sums`."""
    import ibis
    from ibis.backends.sql.datatypes import DuckDBType

    from sky_melange.traces import expression
    from sky_melange.traces.request_rows import Log

    logs = []
    for view in views:
        types = {INPUT: view.types[0], BYTES: view.bytes_type or "VARCHAR"}
        schema = {name: DuckDBType.from_string(kind) for name, kind in types.items()}
        columns = LogColumns(input=INPUT, output=OUTPUT, bytes=BYTES)
        logs.append(Log(table=ibis.table(schema, name=view.name), columns=columns))
    with unfused():
        return str(ibis.duckdb.compile(expression.size_sums(logs)))


def compiled(
    source: str, views: Sequence[View], grid: TokenGrid, window_s: int | None, *, with_largest: bool = False
) -> Queries:
    """The same, by Ibis in any case."""
    import ibis

    from sky_melange.traces import expression

    logs = _logs(source, views)
    if all(view.is_by_column for view in views):
        parts = expression.counts_by_column(logs, grid, window_s, with_largest=with_largest)
        rejections = expression.rejections(logs)
    else:
        parts = expression.counts(logs, grid, window_s, with_largest=with_largest)
        rejections = ()
    # One query for all that reads the same rows: DuckDB feeds both from one scan.
    together = reduce(lambda left, right: left.union(right), parts)
    with unfused():
        return Queries(
            counting=str(ibis.duckdb.compile(together)),
            naming=tuple(str(ibis.duckdb.compile(part)) for part in rejections),
        )


def requests_query(source: str, views: Sequence[View], most: int) -> str:
    """SQL for at most `most` valid requests, with the columns of `request_log`. Raises as `compiled` does."""
    import ibis

    from sky_melange.traces import request_rows

    def valid(log: request_rows.Log) -> ir.Table:
        rows = request_rows.read(log)
        rows = rows.mutate(status=request_rows.status(rows))
        raw = rows.raw_time.cast("string") if log.times is not None else ibis.literal("")
        return rows.filter(rows.status == 0).select(
            input=rows.input.cast("int64"),
            output=rows.output.cast("int64"),
            second=rows.second,
            fraction=raw.re_extract(":[0-9]{2}[.,]([0-9]{1,9})", 1),
            raw=raw,
        )

    together = reduce(lambda left, right: left.union(right), (valid(log) for log in _logs(source, views)))
    with unfused():
        return str(ibis.duckdb.compile(together.limit(most)))


def _logs(source: str, views: Sequence[View]) -> list[Log]:
    """Raises InputError where a column's type is of no use."""
    import ibis
    from ibis.backends.sql.datatypes import DuckDBType

    from sky_melange.traces import expression
    from sky_melange.traces.request_rows import Log

    logs = []
    for view in views:
        is_utc = view.types[2] == WITH_ZONE
        types = dict(zip((INPUT, OUTPUT, TIME), view.types, strict=True)) | ({TIME: "TIMESTAMP"} if is_utc else {})
        schema = {name: DuckDBType.from_string(kind) for name, kind in types.items() if kind is not None}
        time = None if view.types[2] is None else TIME
        columns = LogColumns(input=INPUT, output=OUTPUT, time=time, time_unit=view.columns.time_unit)
        logs.append(Log(table=ibis.table(schema, name=view.name), columns=columns, is_utc=is_utc))
    expression.check_types(source, logs, [view.columns for view in views])
    return logs
