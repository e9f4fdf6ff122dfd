"""`sky-melange down`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sky_melange.cli.fleet import MACHINES, ROUTER, of_each_plan
from sky_melange.cli.launch_folder import confirm, connect, read_launch, say
from sky_melange.cli.options import format_option
from sky_melange.cli.plan_folder import held
from sky_melange.cli.shared_machines import down_machines, down_router
from sky_melange.domain.launch_files import ENDPOINTS_FILE


@click.command(name="down", epilog="Example: sky-melange down plan --dry-run")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print what would end; ask SkyPilot nothing, end nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@format_option
@of_each_plan("folder", before={ROUTER: down_router}, after={MACHINES: down_machines})
def command(*, folder: Path, dry_run: bool, yes: bool, output_format: str) -> None:
    """End what `up` started from FOLDER: the router first, then every replica group.

    Only what launch.json lists is taken down. The SkyServe controller is SkyPilot's and may serve others: it stays
    until `sky down` ends it, and the last line says so.
    """
    from sky_melange.skypilot.launch.launch import remove
    from sky_melange.skypilot.launch.report import steps_json
    from sky_melange.skypilot.launch.steps import steps_down
    from sky_melange.skypilot.launch.units import UnitKind

    with held(folder, is_needed=not dry_run):
        launch = read_launch(folder)
        steps = steps_down(launch.record.started)
        if not steps and not launch.units():
            say(f"{folder}: its engines run on machines that its fleet shares.")
        elif not steps:
            say(f"{folder}: nothing was started from here.")
        elif dry_run:
            for step in steps if output_format != "json" else ():
                click.echo(f"{step.action.value:7} {step.kind.value:8} {step.name}")
        else:
            for step in steps:
                say(f"{step.action.value:7} {step.kind.value:8} {step.name}")
            confirm("End all of these?", yes=yes)
            remove(launch.record, connect(), steps, say)
            (folder / ENDPOINTS_FILE).unlink(missing_ok=True)
            say("All of it is down.")
    leaves_controller = any(step.kind is UnitKind.SERVICE for step in steps)
    if leaves_controller:
        still = "would still run, and cost" if dry_run else "still runs, and costs"
        say(f"The SkyServe controller {still}; `sky status` names it, `sky down` ends it.")
    if output_format == "json":
        done = {"steps": steps_json(steps), "controller_still_runs": leaves_controller, "dry_run": dry_run}
        click.echo(json.dumps(done, indent=2))
