"""`sky-melange status`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from sky_melange.cli.fleet import MACHINES, ROUTER, of_each_plan
from sky_melange.cli.launch_folder import connect, read_launch, say
from sky_melange.cli.options import format_option
from sky_melange.cli.shared_machines import status_machines, status_router
from sky_melange.errors import CheckFailedError


@click.command(name="status", epilog="Example: sky-melange status plan --format json")
@click.argument("folder", type=click.Path(path_type=Path))
@format_option
@of_each_plan("folder", before={MACHINES: status_machines, ROUTER: status_router})
def command(*, folder: Path, output_format: str) -> None:
    """Show what runs of the plan in FOLDER: what `up` started, what SkyPilot says of it, and where it answers.

    Where the plan has hours, also whether as many run as its schedule wants now.

    Exit code 3 when not everything that was started runs.
    """
    from sky_melange.skypilot.launch.report import UnitStatus, unit_statuses

    launch = read_launch(folder)
    statuses: tuple[UnitStatus, ...] = ()
    if launch.record.started:
        statuses = unit_statuses(launch, connect(), datetime.now(UTC))
    if output_format == "json":
        click.echo(json.dumps([status.as_json() for status in statuses], indent=2))
    else:
        for status in statuses:
            click.echo(status.line())
    if not statuses and not launch.units():
        say(f"{folder}: its engines run on machines that its fleet shares.")
    elif not statuses:
        say(f"{folder}: nothing was started from here; `sky-melange up {folder}` launches it.")
    missing = [status.name for status in statuses if not status.is_ready]
    if missing:
        raise CheckFailedError(f"not ready: {', '.join(missing)}; `sky-melange up` brings the plan up")
