"""What runs an expression: DuckDB inside this process, or a database that Ibis connects to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from sky_melange.domain.trace import LogColumns

if TYPE_CHECKING:
    import ibis.expr.types as ir

Progress = Callable[[float], None]
"""Told the share of a scan that is done, 0..1."""

Row = dict[str, int]


class LogTables(Protocol):
    """A log as tables, and the means to evaluate expressions on them. `source` says in words where it comes from."""

    @property
    def source(self) -> str:
        """For reports."""
        ...

    @property
    def tables(self) -> list[tuple[ir.Table, LogColumns]]:
        """The tables with their columns, which may differ in name but not in meaning."""
        ...

    def rows(self, parts: Sequence[ir.Table]) -> list[Row]:
        """The rows of all parts together, which have the same columns.

        Raises InputError for what the log or the connection does wrong.
        """
        ...


@contextmanager
def unfused() -> Iterator[None]:
    """Compile each step as a subquery of its own: Ibis would inline them into each other, megabytes of SQL."""
    import ibis

    before = ibis.options.sql.fuse_selects
    ibis.options.sql.fuse_selects = False
    try:
        yield
    finally:
        ibis.options.sql.fuse_selects = before
