"""What runs an expression: DuckDB inside this process, or a database that Ibis connects to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import LogColumns

Progress = Callable[[float], None]
"""Told the share of a scan that is done, 0..1."""

Row = dict[str, int]


class LogTables(Protocol):
    """A log as tables, and the means to count them. `source` says in words where it comes from."""

    @property
    def source(self) -> str:
        """For reports."""
        ...

    @property
    def columns(self) -> list[LogColumns]:
        """Of each table: they may differ in name but not in meaning."""
        ...

    def rows(self, grid: TokenGrid, window_s: int | None, *, with_largest: bool = False) -> list[Row]:
        """The rows of `expression.counts`.

        Raises InputError for what the log or the connection does wrong, every column of a wrong type named.
        """
        ...

    def size_sums(self) -> dict[str, float]:
        """The row of `expression.size_sums`; the log has a column of bytes."""
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
