"""The expressions that count a log, in Ibis: rows in, a few thousand whole numbers out, on every engine alike."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import LogColumns
from sky_melange.errors import InputError, Mistake
from sky_melange.traces import numbers, times

if TYPE_CHECKING:
    import ibis.expr.types as ir

_FEW_EDGES: Final = 24
"""Up to here a plain list of comparisons is quicker than a tree."""

_NARROW_BYTES: Final = 4
"""A sum of 64 bits holds two thousand million of the largest such integers."""

CELL: Final = 0
WINDOW: Final = 1
COLUMNS: Final = (
    "kind", "status", "i", "j", "window", "requests", "input_tokens", "output_tokens",
    "largest_input", "largest_output", "first_s", "last_s", "zoneless",
)  # fmt: skip
"""Columns of a result, all whole numbers. `kind` CELL: one row per (status, bucket); WINDOW: one per window."""


def counts(
    tables: Sequence[tuple[ir.Table, LogColumns]], grid: TokenGrid, window_s: int | None, *, with_largest: bool = False
) -> tuple[ir.Table, ...]:
    """Counts by bucket with the sums (and on request the largest) of the tokens; and counts by window of time.

    Without `window_s`, and for a log without times, there is only the first. Bucket indices run to the number of
    edges: that last one holds what lies beyond; those of rejected rows (status not 0) mean nothing. Both tables
    aggregate the same rows; an engine that can feed two aggregates from one scan is given their union.
    """
    classified = [_classified(*each, grid) for each in tables]
    if len(classified) > 1:
        # Files that differ in the width of their integers still are one log.
        classified = [
            rows.mutate(input=rows.input.cast("int64"), output=rows.output.cast("int64")) for rows in classified
        ]
    rows = reduce(lambda left, right: left.union(right), classified)
    # One key for both indices: engines group by few and narrow columns the quickest.
    cells = rows.group_by(["status", "cell"]).aggregate(
        requests=rows.count(),
        input_tokens=rows.input.sum(),
        output_tokens=rows.output.sum(),
        first_s=rows.second.min(),
        last_s=rows.second.max(),
        zoneless=rows.no_zone.sum(),
        **({"largest_input": rows.input.max(), "largest_output": rows.output.max()} if with_largest else {}),
    )
    cells = cells.mutate(j=cells.cell % _width(grid))
    # Exact division only: engines differ in how they round a quotient.
    cells = cells.mutate(i=((cells.cell - cells.j) / _width(grid)).cast("int64"))
    if window_s is None or tables[0][1].time is None:
        return (_shaped(cells, CELL),)
    accepted = rows.filter(rows.status == 0)
    accepted = accepted.select(window=(accepted.second // window_s).cast("int64"))
    windows = accepted.group_by("window").aggregate(requests=accepted.count())
    return _shaped(cells, CELL), _shaped(windows, WINDOW)


def check_types(source: str, tables: Sequence[tuple[ir.Table, LogColumns]], names: Sequence[LogColumns]) -> None:
    """Raises InputError for every column that can hold no token counts or times; `names` are the log's own."""
    mistakes = [
        Mistake(source=source, message=f"the column {own!r} holds {table[name].type()}, want {wanted}")
        for (table, columns), known in zip(tables, names, strict=True)
        for name, own, is_readable, wanted in (
            (columns.input, known.input, numbers.is_readable, "token counts"),
            (columns.output, known.output, numbers.is_readable, "token counts"),
            (columns.time, known.time, times.is_readable, "times"),
        )
        if name is not None and not is_readable(table[name])
    ]
    if mistakes:
        raise InputError(mistakes)


def _classified(table: ir.Table, columns: LogColumns, grid: TokenGrid) -> ir.Table:
    """One row a request: status (0: accepted), bucket, second, and what is summed; 0 where rejected."""
    import ibis

    # Names of our own, so that no column of the log can stand in for a step of the computation.
    raw = {"raw_input": table[columns.input], "raw_output": table[columns.output]}
    if columns.time is not None:
        raw["raw_time"] = table[columns.time]
    rows = table.select(**raw)
    rows = rows.mutate(input=numbers.number(rows.raw_input), output=numbers.number(rows.raw_output))
    if columns.time is not None:
        rows = times.with_seconds(rows, "raw_time", columns.time_unit)
    else:
        rows = rows.mutate(second=ibis.literal(0, "int64"), no_zone=ibis.literal(0, "int8"))
    rows = rows.mutate(status=_status(rows, has_times=columns.time is not None))
    good = rows.status == 0
    return rows.select(
        "status",
        "second",
        "no_zone",
        cell=_index(rows.input, grid.input_edges) * _width(grid) + _index(rows.output, grid.output_edges),
        input=_guarded(good, rows.input),
        output=_guarded(good, rows.output),
    )


def _width(grid: TokenGrid) -> int:
    """Cells of one input index: an output index each, and one for what lies beyond."""
    return len(grid.output_edges) + 1


def _guarded(good: Any, value: Any) -> Any:
    """The number, whole; 0 in rejected rows where sums of what they hold could overflow."""
    kind = value.type()
    if kind.is_integer() and kind.nbytes <= _NARROW_BYTES:
        return value
    guarded = good.ifelse(value, 0)
    return guarded if kind.is_integer() else guarded.cast("int64")


def _status(rows: ir.Table, *, has_times: bool) -> Any:
    """0, or the code of the first fault. Good rows are told first: for them no engine looks for the fault."""
    import ibis

    is_good = numbers.is_count(rows.input) & numbers.is_count(rows.output)
    input_fault = numbers.fault(rows.raw_input, rows.input, "input")
    output_fault = numbers.fault(rows.raw_output, rows.output, "output")
    time_fault = ibis.literal(0, "int8")
    if has_times:
        is_good &= times.is_time(rows.second)
        time_fault = times.fault(rows.raw_time, rows.second)
    return ibis.cases(
        (is_good, ibis.literal(0, "int8")),
        (input_fault != 0, input_fault),
        (output_fault != 0, output_fault),
        else_=time_fault,
    )


def _index(value: Any, edges: Sequence[int]) -> Any:
    """The first edge at or above `value`, len(edges) beyond the last; a tree of comparisons when there are many."""
    import ibis

    if len(edges) <= _FEW_EDGES:
        branches = [(value <= edge, ibis.literal(index, "int16")) for index, edge in enumerate(edges)]
        return ibis.cases(*branches, else_=ibis.literal(len(edges), "int16"))

    def search(low: int, high: int) -> Any:
        if low == high:
            return ibis.literal(low, "int16")
        middle = (low + high) // 2
        return (value <= edges[middle]).ifelse(search(low, middle), search(middle + 1, high))

    return search(0, len(edges))


def _shaped(table: ir.Table, kind: int) -> ir.Table:
    """The columns of COLUMNS in their order; those that the table lacks are 0."""
    import ibis

    have = set(table.columns)
    values = {name: table[name] if name in have else ibis.literal(0, "int64") for name in COLUMNS[1:]}
    shaped = {name: value.fill_null(0).cast("int64") for name, value in values.items()}
    return table.select(kind=ibis.literal(kind, "int64"), **shaped)
