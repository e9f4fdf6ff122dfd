"""Gets the price book for a command: a progress bar while fetching, and loud words where prices are old."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

import click

from sky_melange.domain.offer import PriceBook
from sky_melange.domain.workload import PricePolicy
from sky_melange.prices import current_book, warnings_of
from sky_melange.prices.site import price_site, utc_now

__all__ = ["price_site", "utc_now"]

refresh_option = click.option(
    "--refresh/--offline",
    "refresh",
    default=True,
    show_default=True,
    help="Ask for today's prices first, or use no network: the last good copies, else those embedded in this release.",
)


def price_book(
    policy: PricePolicy,
    *,
    refresh: bool,
    clouds: Collection[str] | None = None,
    needed: Collection[str] | None = None,
    now: datetime | None = None,
) -> PriceBook:
    """See `prices.current_book`. Warnings about the age of prices go to stderr, limited to the clouds that matter."""
    now = now or utc_now()
    with _progress(refresh) as on_progress:
        book = current_book(
            policy,
            site=price_site(),
            now=now,
            offline=not refresh,
            clouds=clouds,
            needed=needed,
            on_progress=on_progress,
        )
    for warning in warnings_of(book, now, clouds if needed is None else needed):
        click.echo(f"Warning: {warning}", err=True)
    return book


@contextmanager
def _progress(refresh: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on a terminal, nothing elsewhere. It is taken away when all is fetched."""
    if not refresh or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("Fetching prices"), BarColumn(), MofNCompleteColumn(), TextColumn("catalogs"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("fetch", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
