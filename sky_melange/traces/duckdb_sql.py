"""DuckDB's SQL for the expression: prepared where it may be, compiled by Ibis otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import LogColumns
from sky_melange.traces.engine import unfused
from sky_melange.traces.prepared import INPUT, OUTPUT, TIME, ColumnTypes, prepared_sql


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Files that are alike, as a view `name` of columns INPUT, OUTPUT and, where there are times, TIME.

    `columns` are those of the log, in its own names.
    """

    name: str
    columns: LogColumns
    types: ColumnTypes


def query_of(
    source: str, views: Sequence[View], grid: TokenGrid, window_s: int | None, *, with_largest: bool = False
) -> str:
    """One query for all parts of `expression.counts`. Raises InputError where a column's type is of no use."""
    prepared = None
    if len(views) == 1 and not with_largest:
        prepared = prepared_sql(views[0].types, views[0].columns.time_unit, grid, window_s)
    if prepared is not None:
        return prepared
    return compiled(source, views, grid, window_s, with_largest=with_largest)


def compiled(
    source: str, views: Sequence[View], grid: TokenGrid, window_s: int | None, *, with_largest: bool = False
) -> str:
    """The same, by Ibis in any case."""
    import ibis
    from ibis.backends.sql.datatypes import DuckDBType

    from sky_melange.traces import expression

    tables = []
    for view in views:
        types = {name: kind for name, kind in zip((INPUT, OUTPUT, TIME), view.types, strict=True) if kind is not None}
        table = ibis.table({name: DuckDBType.from_string(kind) for name, kind in types.items()}, name=view.name)
        time = None if view.types[2] is None else TIME
        tables.append((table, LogColumns(input=INPUT, output=OUTPUT, time=time, time_unit=view.columns.time_unit)))
    expression.check_types(source, tables, [view.columns for view in views])
    parts = expression.counts(tables, grid, window_s, with_largest=with_largest)
    with unfused():
        return str(ibis.duckdb.compile(reduce(lambda left, right: left.union(right), parts)))
