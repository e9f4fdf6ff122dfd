"""`sky-melange diff`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sky_melange.cli.atomic_file import write_atomically
from sky_melange.cli.check import write_targets
from sky_melange.cli.options import use_color
from sky_melange.errors import InputError, Mistake
from sky_melange.extensions import DIFF_FORMATS
from sky_melange.untrusted import parse_json


@click.command(
    name="diff", epilog="Example: sky-melange diff <(git show main:plan/plan.json) plan/plan.json --format markdown"
)
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--format", "output_format", type=click.Choice(list(DIFF_FORMATS)), default="table", show_default=True)
@click.option(
    "--write", "writes", multiple=True, metavar="FORMAT=FILE", help="Also write the answer there; repeatable."
)
def command(*, old: Path, new: Path, output_format: str, writes: tuple[str, ...]) -> None:
    """Say what changed from the plan OLD to the plan NEW, each a plan.json or its folder; or from a fleet to a fleet.

    Groups added, removed and resized, what of the cost is due to prices and what to counts, shares of the traffic that
    moved, and what changed in the workload and the profiles. Prices are those in the files. A difference is no failure.
    """
    from sky_melange.api import diff
    from sky_melange.plan_file.fleet import is_fleet_folder
    from sky_melange.render.diff_report import render_table

    targets = write_targets(writes, DIFF_FORMATS)
    if is_fleet_folder(old) or is_fleet_folder(new):
        _of_fleets(old, new, output_format, is_written=bool(targets))
        return
    changes = diff(old, new)
    if output_format == "table":
        click.echo(render_table(changes, color=use_color()), nl=False)
    else:
        click.echo(DIFF_FORMATS[output_format](changes), nl=False)
    for kind, path in targets:
        write_atomically(path, DIFF_FORMATS[kind](changes))


def _of_fleets(old: Path, new: Path, output_format: str, *, is_written: bool) -> None:
    """The plans that both have, one after the other; those that only one has, by name."""
    from sky_melange.api import diff
    from sky_melange.plan_file.fleet import is_fleet_folder, read_fleet_plan, read_member_plans
    from sky_melange.render.diff_report import render_table
    from sky_melange.render.money import dollars

    if not (is_fleet_folder(old) and is_fleet_folder(new)):
        plan, fleet = (old, new) if is_fleet_folder(new) else (new, old)
        message = f"is one plan, and {fleet} a fleet: name the folder of one of its plans"
        raise InputError([Mistake(source=str(plan), message=message)])
    if is_written or output_format not in {"table", "json"}:
        raise InputError(
            [Mistake(source="--format", message="of a fleet there are table and json; take one plan's folder")]
        )
    before, after = read_fleet_plan(old), read_fleet_plan(new)
    for document in (before, after):
        read_member_plans(document)
    folders = [dict(zip((each.name for each in one.plan.members), one.folders, strict=True)) for one in (before, after)]
    both = {name: diff(folders[0][name], folder) for name, folder in folders[1].items() if name in folders[0]}
    added, removed = ([name for name in folders[a] if name not in folders[b]] for a, b in ((1, 0), (0, 1)))
    costs = {"old_usd_per_hour": before.plan.usd_per_hour, "new_usd_per_hour": after.plan.usd_per_hour}
    if output_format == "json":
        plans = {name: parse_json(DIFF_FORMATS["json"](changes), name) for name, changes in both.items()}
        click.echo(json.dumps({**costs, "added": added, "removed": removed, "plans": plans}, indent=2))
        return
    total = f"USD {dollars(before.plan.usd_per_hour)} -> {dollars(after.plan.usd_per_hour)} per hour"
    click.echo(f"{before.plan.name} -> {after.plan.name}: {total}, controller once")
    for what, names in (("Added", added), ("Removed", removed)):
        if names:
            click.echo(f"{what}: {', '.join(names)}")
    for changes in both.values():
        click.echo("")
        click.echo(render_table(changes, color=use_color()), nl=False)
