"""The expressions that count a log, in Ibis: the same answer on every engine, and the reason for each row left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import LogColumns, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.traces import numbers, times
from sky_melange.traces.engine import width

if TYPE_CHECKING:
    import ibis.expr.types as ir

if TYPE_CHECKING:
    import ibis.expr.types as ir


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A table and which of its columns are what. `is_utc`: its timestamps without a zone had one before. `respells`: as
    in `times.with_seconds`, `tries_casts`: as in `numbers.number`.
    """

    table: ir.Table
    columns: LogColumns
    is_utc: bool = False
    respells: bool = True
    tries_casts: bool = True

    @property
    def times(self) -> Any:
        """The column of times; None where there is none."""
        return None if self.columns.time is None else self.table[self.columns.time]

    @property
    def is_zoneless(self) -> bool | None:
        """Whether the dates name no zone; None where each has its own."""
        if self.times is None or self.is_utc:
            return False
        return times.is_zoneless(self.times)


MAX_BODY_BYTES: Final = 1_000_000_000
"""Larger requests are no text."""

AXES: Final = ("input", "output", "time")
_FEW_EDGES: Final = 24
"""Up to here a plain list of comparisons is quicker than a tree."""


def keyed_rows(logs: Sequence[Log], grid: TokenGrid) -> ir.Table:
    """One row a request: its `key` (see KeyCount), `second`, `input`, `output`, `no_zone`."""
    return reduce(lambda left, right: left.union(right), [_keyed(log, grid) for log in logs])


def by_key(rows: ir.Table) -> ir.Table:
    """The counts of `keyed_rows` by key."""
    return rows.group_by("key").aggregate(
        requests=rows.count(),
        input_tokens=rows.input.sum(),
        output_tokens=rows.output.sum(),
        zoneless=rows.no_zone.sum(),
    )


def by_second(rows: ir.Table) -> ir.Table:
    """The counts of valid `keyed_rows` by second."""
    rows = rows.filter(rows.key >= 0)
    return rows.group_by("second").aggregate(
        requests=rows.count(), input_tokens=rows.input.sum(), output_tokens=rows.output.sum()
    )


def by_value(rows: ir.Table, column: str) -> ir.Table:
    """How many valid `keyed_rows` have each `value` of a column."""
    rows = rows.filter(rows.key >= 0)
    return rows.group_by(value=rows[column]).aggregate(requests=rows.count())


def size_sums(logs: Sequence[Log]) -> ir.Table:
    """One row: the sums over requests of y bytes and t tokens that a fit of y to t, weighted by 1 ÷ t, needs."""

    def ratios(log: Log) -> ir.Table:
        table = log.table.select(raw_tokens=log.table[log.columns.input], raw_bytes=log.table[log.columns.bytes])
        rows = table.select(tokens=numbers.number(table.raw_tokens), size=numbers.number(table.raw_bytes))
        rows = rows.filter(numbers.is_count(rows.tokens) & rows["size"].between(1, MAX_BODY_BYTES))
        return rows.select(t=rows.tokens.cast("float64"), y=rows["size"].cast("float64"))

    rows = reduce(lambda left, right: left.union(right), [ratios(log) for log in logs])
    return rows.aggregate(
        requests=rows.count(),
        tokens=rows.t.sum(),
        bytes=rows.y.sum(),
        inverses=(1 / rows.t).sum(),
        ratios=(rows.y / rows.t).sum(),
        squares=(rows.y * rows.y / rows.t).sum(),
    )


def check_types(source: str, logs: Sequence[Log], names: Sequence[LogColumns]) -> None:
    """Raises InputError for every column that can hold no token counts or times; `names` are the log's own."""
    mistakes = [
        Mistake(source=source, message=f"the column {own!r} holds {log.table[name].type()}, want {wanted}")
        for log, known in zip(logs, names, strict=True)
        for name, own, is_readable, wanted in (
            (log.columns.input, known.input, numbers.is_readable, "token counts"),
            (log.columns.output, known.output, numbers.is_readable, "token counts"),
            (log.columns.time, known.time, times.is_readable, "times"),
        )
        if name is not None and not is_readable(log.table[name])
    ]
    if mistakes:
        raise InputError(mistakes)


def least_rejected(logs: Sequence[Log]) -> ir.Table:
    """Of each status that is no request, the least of the texts that it was read from, an axis each."""

    def faulty(log: Log) -> ir.Table:
        rows = read(log)
        rows = rows.mutate(status=status(rows))
        rows = rows.filter(rows.status != 0)
        axes = {axis: rows[f"raw_{axis}"].cast("string") for axis in AXES if f"raw_{axis}" in rows.columns}
        return rows.select(status=rows.status, **axes)

    rows = reduce(lambda left, right: left.union(right), [faulty(log) for log in logs])
    return rows.group_by("status").aggregate(**{axis: rows[axis].min() for axis in AXES if axis in rows.columns})


def read(log: Log) -> ir.Table:
    """`input` and `output` (numbers), `second`, `is_time` and `no_zone` (1 for a date taken as UTC).

    Beside them, `raw_input`, `raw_output` and `raw_time` are what they were read from; without times, there is none.
    """
    import ibis

    # Names of our own, so that no column of the log can stand in for a step of the computation.
    raw = {"raw_input": log.table[log.columns.input], "raw_output": log.table[log.columns.output]}
    if log.times is not None:
        raw["raw_time"] = log.times
    if log.columns.blocks is not None:
        raw["log_blocks"] = log.table[log.columns.blocks]
    rows = log.table.select(**raw)
    rows = rows.mutate(
        input=numbers.number(rows.raw_input, takes_thousands=True, tries_casts=log.tries_casts),
        output=numbers.number(rows.raw_output, takes_thousands=True, tries_casts=log.tries_casts),
    )
    if log.times is not None:
        rows = times.with_seconds(rows, "raw_time", log.columns.time_unit, respells=log.respells)
    else:
        rows = rows.mutate(second=ibis.literal(0, "int64"))
    if log.is_zoneless is not None:
        rows = rows.mutate(no_zone=ibis.literal(int(log.is_zoneless), "int8"))
    return rows


def status(rows: ir.Table) -> Any:
    """0, or the code of the first fault. Good rows are told first: for them no engine looks for the fault."""
    import ibis

    checks = [
        (numbers.is_count(number), numbers.fault(raw, number, axis))
        for raw, number, axis in ((rows.raw_input, rows.input, "input"), (rows.raw_output, rows.output, "output"))
    ]
    if "raw_time" in rows.columns:
        checks.append((rows.is_time, times.fault(rows.raw_time, rows.second)))
    is_good = reduce(lambda left, right: left & right, [is_right for is_right, _ in checks])
    faults = [(fault != 0, fault) for _, fault in checks[:-1]]
    return ibis.cases((is_good, ibis.literal(0, "int8")), *faults, else_=checks[-1][1])


def _keyed(log: Log, grid: TokenGrid) -> ir.Table:
    import ibis

    rows = read(log)
    rows = rows.mutate(status=status(rows))
    good = rows.status == 0
    cell = _index(rows.input, grid.input_edges) * width(grid) + _index(rows.output, grid.output_edges)
    nothing = ibis.literal(0, "int64")
    return rows.select(
        key=good.ifelse(cell.cast("int64"), nothing - rows.status.cast("int64")),
        second=rows.second,
        # Rejected rows have no part in the sums, which what they hold could overflow.
        input=good.ifelse(rows.input, 0).cast("int64"),
        output=good.ifelse(rows.output, 0).cast("int64"),
        no_zone=rows.no_zone,
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


def within(second: Any, options: TraceOptions) -> Any:
    """Whether a second is in the period that is asked for."""
    import ibis

    found = ibis.literal(True) if options.since_s is None else second >= options.since_s
    return found if options.until_s is None else found & (second < options.until_s)


def valid_requests(logs: Sequence[Log], options: TraceOptions, most: int) -> ir.Table:
    """At most `most` valid requests one by one, with the columns of `request_log`."""
    import ibis

    def valid(log: Log) -> ir.Table:
        rows = read(log)
        rows = rows.mutate(status=status(rows))
        raw = rows.raw_time.cast("string") if log.times is not None else ibis.literal("")
        blocks = {} if log.columns.blocks is None else {"log_blocks": rows.log_blocks}
        return rows.filter((rows.status == 0) & within(rows.second, options)).select(
            input=rows.input.cast("int64"),
            output=rows.output.cast("int64"),
            second=rows.second,
            fraction=raw.re_extract(":[0-9]{2}[.,]([0-9]{1,9})", 1),
            raw=raw,
            **blocks,
        )

    return reduce(lambda left, right: left.union(right), (valid(log) for log in logs)).limit(most)
