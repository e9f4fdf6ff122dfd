"""`sky-melange validate`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import click

from sky_melange.cli.fleet import MACHINES, of_each_plan
from sky_melange.cli.options import format_option, use_color
from sky_melange.cli.price_book import price_site, utc_now
from sky_melange.domain.offer import Offer
from sky_melange.domain.workload import PricePolicy
from sky_melange.errors import CheckFailedError
from sky_melange.plan_file import PlanDocument, read_plan
from sky_melange.plan_file.fleet import read_fleet_plan, read_member_plans
from sky_melange.prices import current_book, discounted
from sky_melange.render.text import verdict_table
from sky_melange.skypilot.validate import validate_machines, validate_plan
from sky_melange.skypilot.verdict import GroupVerdict


@click.command(name="validate", epilog="Example: sky-melange validate plan")
@click.argument("folder", type=click.Path(path_type=Path))
@format_option
@of_each_plan(
    "folder",
    only=lambda document: bool(document.plan.whole_groups),
    before={MACHINES: lambda folder, given: _validate_machines(folder, given["output_format"])},
)
def command(folder: Path, output_format: str) -> None:
    """Check FOLDER (written by `plan`) with SkyPilot's own parser, service check and optimizer.

    SkyPilot runs offline in a temporary home, its catalogs seeded with the same offers. It must pick exactly the
    planned machine and region at the planned price for every group; otherwise the exit code is 3.
    """
    document = read_plan(folder)
    click.echo("Asking SkyPilot what it would launch (takes a few seconds) …", err=True)
    _judged(validate_plan(document, _offers(document)), output_format)


def _validate_machines(folder: Path, output_format: str) -> None:
    """The launch files of machines that the workloads of a fleet share."""
    document = read_fleet_plan(folder)
    plans = read_member_plans(document)
    _judged(validate_machines(document, plans, _offers(plans[0])), output_format)


def _offers(document: PlanDocument) -> tuple[Offer, ...]:
    policy = document.workload.prices
    # The prices that the plan was made on are the last good copies now, or the embedded ones.
    book = current_book(PricePolicy(), site=price_site(), now=utc_now(), offline=True)
    # Quarantined prices too: whether to trust one was decided when the plan was made.
    names = {offer.name for offer in book.offers}
    doubted = (item.offer for item in book.quarantined if item.offer.name not in names)
    return tuple(discounted(offer, policy.discounts) for offer in (*book.offers, *doubted))


def _judged(verdicts: Sequence[GroupVerdict], output_format: str) -> None:
    if output_format == "json":
        click.echo(json.dumps([dataclasses.asdict(verdict) for verdict in verdicts], indent=2, ensure_ascii=False))
    else:
        rows = [
            (verdict.group, check.name, check.passed, check.detail) for verdict in verdicts for check in verdict.checks
        ]
        click.echo(verdict_table(rows, color=use_color()), nl=False)
    failed = [(verdict, check) for verdict in verdicts for check in verdict.checks if not check.passed]
    if failed:
        listed = "\n".join(f"  {verdict.file}: {check.name}: {check.detail}" for verdict, check in failed)
        raise CheckFailedError(f"SkyPilot would not launch what was planned:\n{listed}")
    click.echo(f"SkyPilot would launch exactly what was planned: {len(verdicts)} of {len(verdicts)} groups.", err=True)
