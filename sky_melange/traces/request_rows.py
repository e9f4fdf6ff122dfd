"""One row a request, as Ibis expressions: what its columns say, whether that counts, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from sky_melange.domain.trace import LogColumns
from sky_melange.traces import numbers, times

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
