"""`sky-melange prices`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from sky_melange.cli.options import use_color
from sky_melange.cli.price_book import price_book, price_site, refresh_option, utc_now
from sky_melange.domain.ages import iso_utc
from sky_melange.domain.price_record import PriceChange
from sky_melange.domain.workload import PricePolicy
from sky_melange.errors import InputError
from sky_melange.prices import PriceHistory
from sky_melange.prices.names import check_filters
from sky_melange.prices.records import load_commitments, price_points
from sky_melange.render import price_history, price_table


@click.command(name="prices", epilog="Example: sky-melange prices --accelerator H100 --cloud gcp --quarantined")
@click.option("--accelerator", "-a", help="Only this accelerator, such as H100 or A100-80GB.")
@click.option("--cloud", "-c", help="Only this cloud, such as aws.")
@click.option("--region", help="Only this region, exactly as the cloud names it.")
@click.option("--spot/--on-demand", "spot", default=None, help="Only spot or only on-demand offers.")
@click.option("--all", "everything", is_flag=True, help="Every offer, not only the cheapest of each cloud.")
@click.option("--quarantined", is_flag=True, help="The offers that are not used, each with its reason.")
@click.option("--history", is_flag=True, help="What prices did between the refreshes on this machine, newest first.")
@click.option("--plot", is_flag=True, help="With --history and --accelerator: its price over time, by cloud and kind.")
@click.option("--commitments", is_flag=True, help="Prices for 1 and 3 years, and the share of hours at which they pay.")
@refresh_option
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="Table for people, JSON or CSV for programs.",
)
def command(
    *,
    accelerator: str | None,
    cloud: str | None,
    region: str | None,
    spot: bool | None,
    everything: bool,
    quarantined: bool,
    history: bool,
    plot: bool,
    commitments: bool,
    refresh: bool,
    output_format: str,
) -> None:
    """List GPU prices: USD per hour for the whole instance, cheapest first, with the date and age of each price.

    Offers that fail a plausibility rule are never used in a plan unless prices.trust in the workload names them;
    --quarantined lists them with the reason.
    """
    check_filters(accelerator=accelerator, cloud=cloud, prefix="--")
    if sum((history, quarantined, commitments)) > 1:
        raise InputError("--history, --quarantined and --commitments are different lists; choose one")
    if plot and (not history or accelerator is None):
        raise InputError("--plot draws one accelerator's history; give --history and --accelerator, such as H100")
    if commitments:
        _print_commitments(accelerator, cloud, region, output_format)
        return
    now = utc_now()
    book = price_book(PricePolicy(), refresh=refresh, clouds=None if cloud is None else (cloud,), now=now)
    wanted = {"accelerator": accelerator, "cloud": cloud, "region": region}
    if plot and accelerator is not None:
        changes = price_history.select(PriceHistory(price_site().cache_folder).read(), **wanted, spot=spot)
        part = price_table.select(book, **wanted, spot=spot)
        points = price_points(accelerator, part.offers, changes, iso_utc(now))
        points = tuple(point for point in points if cloud is None or point.cloud == cloud)
        formats = {"json": price_table.points_json, "csv": price_table.points_csv}
        drawn = price_table.plot(accelerator, points, color=use_color())
        click.echo(formats[output_format](points) if output_format in formats else drawn, nl=False)
        return
    if history:
        changes = price_history.select(PriceHistory(price_site().cache_folder).read(), **wanted, spot=spot)
        _print_history(changes, output_format)
        return
    part = price_table.select(book, **wanted, spot=spot)
    offers = [] if quarantined else price_table.cheapest(part.offers, everything=everything)
    items = part.quarantined if quarantined else ()
    if output_format == "json":
        click.echo(price_table.to_json(offers, items, part, now), nl=False)
    elif output_format == "csv":
        click.echo(price_table.to_csv(offers, items, now), nl=False)
    elif quarantined:
        _print_table(items, price_table.quarantine_table(items, color=use_color()))
        click.echo(f"{len(items)} offers are quarantined.", err=True)
    else:
        _print_table(offers, price_table.table(offers, now, color=use_color(), unconfirmed=book.unconfirmed))
        hidden = len(part.offers) - len(offers)
        more = f" {hidden} dearer ones are not shown (--all)." if hidden else ""
        click.echo(f"{len(offers)} offers.{more} {len(part.quarantined)} are quarantined (--quarantined).", err=True)


def _print_commitments(accelerator: str | None, cloud: str | None, region: str | None, output_format: str) -> None:
    """Cheapest per accelerator first."""
    found = [
        item
        for item in load_commitments()
        if accelerator in (None, item.accelerator) and cloud in (None, item.cloud) and region in (None, item.region)
    ]
    found.sort(key=lambda item: (item.accelerator, item.price_usd_per_hour / item.accelerators_per_instance))
    if output_format == "json":
        click.echo(price_table.commitments_json(found), nl=False)
    elif output_format == "csv":
        click.echo(price_table.commitments_csv(found), nl=False)
    else:
        _print_table(found, price_table.commitments_table(found, color=use_color()))
        click.echo(f"{len(found)} prices for a term, paid for every hour of it. No plan uses them.", err=True)


def _print_history(changes: Sequence[PriceChange], output_format: str) -> None:
    if output_format == "json":
        click.echo(price_history.to_json(changes), nl=False)
    elif output_format == "csv":
        click.echo(price_history.to_csv(changes), nl=False)
    else:
        _print_table(changes, price_history.table(changes, color=use_color()))
        click.echo(f"{len(changes)} changes seen on this machine.", err=True)


def _print_table(rows: Sequence[object], table: str) -> None:
    """A head without rows says nothing; the line after the table says that there are none."""
    if rows:
        click.echo(table, nl=False)
