"""The expressions that count a log, in Ibis: rows in, a few thousand whole numbers out, on every engine alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import LogColumns
from sky_melange.errors import InputError, Mistake
from sky_melange.traces import bucket_index, numbers, request_rows, times
from sky_melange.traces.request_rows import Log

if TYPE_CHECKING:
    import ibis.expr.types as ir

MAX_BODY_BYTES: Final = 1_000_000_000
"""Larger requests are no text."""

CELL: Final = 0
WINDOW: Final = 1
COLUMNS: Final = (
    "kind", "status", "i", "j", "window", "requests", "input_tokens", "output_tokens",
    "largest_input", "largest_output", "first_s", "last_s", "zoneless",
)  # fmt: skip
"""Columns of a result, all whole numbers. `kind` CELL: one row per (status, bucket); WINDOW: one per window, whose
first and last second are those of requests. Status 0 is accepted; the buckets of other rows mean nothing."""


def counts(
    logs: Sequence[Log], grid: TokenGrid, window_s: int | None, *, with_largest: bool = False
) -> tuple[ir.Table, ...]:
    """Counts by bucket with the sums (and on request the largest) of the tokens; and counts by window of time.

    Without `window_s`, and for a log without times, there is only the first. Bucket indices run to the number of
    edges: that last one holds what lies beyond. Both tables aggregate the same rows; an engine that can feed two
    aggregates from one scan is given their union.
    """

    def classified(log: Log) -> ir.Table:
        rows = request_rows.read(log)
        rows = rows.mutate(status=request_rows.status(rows))
        good = rows.status == 0
        return rows.select(
            "status",
            "no_zone",
            moment=rows.second,
            cell=bucket_index.compared(rows, grid),
            input=request_rows.summable(rows.input, good),
            output=request_rows.summable(rows.output, good),
        )

    rows = _union(logs, classified)
    # One key for both indices: engines group by few and narrow columns the quickest.
    cells = _cells(rows, ["status", "cell"], logs, grid, with_largest=with_largest)
    if window_s is None or not _have_times(logs):
        return (cells,)
    return cells, _windows(rows.filter(rows.status == 0), window_s)


def size_sums(logs: Sequence[Log]) -> ir.Table:
    """One row: the sums over requests of y bytes and t tokens that a fit of y to t, weighted by 1 ÷ t, needs."""

    def ratios(log: Log) -> ir.Table:
        table = log.table.select(raw_tokens=log.table[log.columns.input], raw_bytes=log.table[log.columns.bytes])
        rows = table.select(tokens=numbers.number(table.raw_tokens), size=numbers.number(table.raw_bytes))
        rows = rows.filter(numbers.is_count(rows.tokens) & rows["size"].between(1, MAX_BODY_BYTES))
        return rows.select(t=rows.tokens.cast("float64"), y=rows["size"].cast("float64"))

    rows = _union(logs, ratios)
    return rows.aggregate(
        requests=rows.count(),
        tokens=rows.t.sum(),
        bytes=rows.y.sum(),
        inverses=(1 / rows.t).sum(),
        ratios=(rows.y / rows.t).sum(),
        squares=(rows.y * rows.y / rows.t).sum(),
    )


def counts_by_column(
    logs: Sequence[Log], grid: TokenGrid, window_s: int | None, *, with_largest: bool = False
) -> tuple[ir.Table, ...]:
    """The same, for whole numbers in files that are stored by column, but of rows that are in range; see `rejections`.

    Failed requests (0 tokens) are in range, so most logs are read once and nothing is asked of a row but where it lies.
    Sizes are looked up: the engine has tables as `bucket_index` names them for this grid.
    """
    moment = "raw_time" if window_s is not None and _have_steps(logs, window_s) else "second"

    def in_range(log: Log) -> ir.Table:
        rows = request_rows.in_range(request_rows.read(log))
        return rows.select("input", "output", "no_zone", moment=rows[moment])

    rows = bucket_index.looked_up(_union(logs, in_range), grid)
    cells = _cells(rows, ["cell"], logs, grid, with_largest=with_largest)
    if window_s is None or not _have_times(logs):
        return (cells,)
    return cells, _windows(rows.filter(rows.cell >= 0), window_s)


def rejections(logs: Sequence[Log]) -> tuple[ir.Table, ...]:
    """What `counts` says of the rows that `counts_by_column` leaves out, but not by bucket: one table for each column.

    Each is a query of its own that reads no further than that column.
    """
    found = []
    for faults in zip(*(request_rows.faults(request_rows.read(log)) for log in logs), strict=True):
        rows = reduce(lambda left, right: left.union(right), faults)
        found.append(_shaped(rows.group_by("status").aggregate(requests=rows.count()), CELL))
    return tuple(found)


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


def _union(logs: Sequence[Log], rows_of: Callable[[Log], ir.Table]) -> ir.Table:
    parts = [rows_of(log) for log in logs]
    if len(parts) > 1:
        # Files that differ in the width of their integers still are one log.
        parts = [part.mutate(input=part.input.cast("int64"), output=part.output.cast("int64")) for part in parts]
    return reduce(lambda left, right: left.union(right), parts)


def _have_times(logs: Sequence[Log]) -> bool:
    return logs[0].times is not None


def _cells(
    rows: ir.Table, keys: Sequence[str], logs: Sequence[Log], grid: TokenGrid, *, with_largest: bool
) -> ir.Table:
    requests = rows.count()
    zoneless = {log.is_zoneless for log in logs}
    is_known = len(zoneless) == 1 and None not in zoneless
    cells = rows.group_by(keys).aggregate(
        requests=requests,
        input_tokens=rows.input.sum(),
        output_tokens=rows.output.sum(),
        zoneless=requests * int(True in zoneless) if is_known else rows.no_zone.sum(),
        **({"largest_input": rows.input.max(), "largest_output": rows.output.max()} if with_largest else {}),
    )
    if "status" not in keys:
        cells = cells.mutate(status=bucket_index.status(cells.cell, grid))
    width = bucket_index.width(grid)
    cells = cells.mutate(j=cells.cell % width)
    # Exact division only: engines differ in how they round a quotient.
    return _shaped(cells.mutate(i=((cells.cell - cells.j) / width).cast("int64")), CELL)


def _have_steps(logs: Sequence[Log], window_s: int) -> bool:
    """Whether all times are timestamps without a zone, and windows of whole minutes."""
    are_plain = all(log.times is not None and times.is_plain(log.times) for log in logs)
    return are_plain and window_s % times.STEPS[-1][0] == 0


def _windows(rows: ir.Table, window_s: int) -> ir.Table:
    """Of `moment`: seconds; or timestamps, which are counted by day, hour or minute first, the quickest to tell."""
    if rows.moment.type().is_timestamp():
        unit = next(unit for seconds, unit in times.STEPS if window_s % seconds == 0)
        steps = rows.group_by(step=rows.moment.truncate(unit)).aggregate(
            requests=rows.count(), first=rows.moment.min(), last=rows.moment.max()
        )
        steps = steps.select("requests", **{name: times.seconds(steps[name]) for name in ("step", "first", "last")})
    else:
        steps = rows.select(step=rows.moment, first=rows.moment, last=rows.moment)
    steps = steps.mutate(window=(steps.step // window_s).cast("int64"))
    windows = steps.group_by("window").aggregate(
        requests=steps.requests.sum() if "requests" in steps.columns else steps.count(),
        first_s=steps["first"].min(),
        last_s=steps["last"].max(),
    )
    return _shaped(windows, WINDOW)


def _shaped(table: ir.Table, kind: int) -> ir.Table:
    """The columns of COLUMNS in their order; those that the table lacks are 0."""
    import ibis

    have = set(table.columns)
    values = {name: table[name] if name in have else ibis.literal(0, "int64") for name in COLUMNS[1:]}
    shaped = {name: value.fill_null(0).cast("int64") for name, value in values.items()}
    return table.select(kind=ibis.literal(kind, "int64"), **shaped)
