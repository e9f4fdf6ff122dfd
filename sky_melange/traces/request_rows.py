"""One row a request, as Ibis expressions: what its columns say, whether that counts, and if not, why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sky_melange.domain.trace import LogColumns
from sky_melange.traces import numbers, times

if TYPE_CHECKING:
    import ibis.expr.types as ir

_NARROW_BYTES: Final = 4
"""A sum of 64 bits holds two thousand million of the largest such integers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A table and which of its columns are what. `is_utc`: its timestamps without a zone had one before."""

    table: ir.Table
    columns: LogColumns
    is_utc: bool = False

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
    rows = log.table.select(**raw)
    rows = rows.mutate(input=numbers.number(rows.raw_input), output=numbers.number(rows.raw_output))
    if log.times is not None:
        rows = times.with_seconds(rows, "raw_time", log.columns.time_unit)
    else:
        rows = rows.mutate(second=ibis.literal(0, "int64"))
    if log.is_zoneless is not None:
        rows = rows.mutate(no_zone=ibis.literal(int(log.is_zoneless), "int8"))
    return rows


def status(rows: ir.Table) -> Any:
    """0, or the code of the first fault. Good rows are told first: for them no engine looks for the fault."""
    import ibis

    checks = _checks(rows)
    is_good = _all([check.is_right for check in checks])
    return ibis.cases((is_good, ibis.literal(0, "int8")), *_cases(checks[:-1]), else_=checks[-1].fault)


def in_range(rows: ir.Table) -> ir.Table:
    """Rows whose times are times, and whose numbers are counts or 0. Files know by a column's range that all are."""
    return rows.filter(_all([check.is_in_range for check in _checks(rows)]))


def faults(rows: ir.Table) -> list[ir.Table]:
    """A table of `status` for each column: of the rows that are not in range, those that are not because of it."""
    import ibis

    checks = _checks(rows)
    found = []
    for number, check in enumerate(checks):
        fault = ibis.cases(*_cases(checks[:number]), else_=check.fault) if number else check.fault
        found.append(rows.filter(~check.is_in_range.fill_null(False)).select(status=fault))
        rows = rows.filter(check.is_in_range)
    return found


class _Check(NamedTuple):
    """Of a column: whether a row is right in it, whether it is or has a 0 there (null is no), the code of its fault."""

    is_right: Any
    is_in_range: Any
    fault: Any


def _checks(rows: ir.Table) -> list[_Check]:
    """In the order of their importance."""
    checks = [
        _Check(numbers.is_count(number), numbers.is_in_range(number), numbers.fault(raw, number, axis))
        for raw, number, axis in ((rows.raw_input, rows.input, "input"), (rows.raw_output, rows.output, "output"))
    ]
    if "raw_time" in rows.columns:
        checks.append(_Check(rows.is_time, rows.is_time, times.fault(rows.raw_time, rows.second)))
    return checks


def _cases(checks: Sequence[_Check]) -> list[tuple[Any, Any]]:
    return [(check.fault != 0, check.fault) for check in checks]


def _all(conditions: Sequence[Any]) -> Any:
    return reduce(lambda left, right: left & right, conditions)


def summable(value: Any, good: Any) -> Any:
    """The number, whole; 0 in rejected rows where sums of what they hold could overflow."""
    kind = value.type()
    if kind.is_integer() and kind.nbytes <= _NARROW_BYTES:
        return value
    guarded = good.ifelse(value, 0)
    return guarded if kind.is_integer() else guarded.cast("int64")
