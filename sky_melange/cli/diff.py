"""`sky-melange diff`."""

from __future__ import annotations

from pathlib import Path

import click

from sky_melange.cli.atomic_file import write_atomically
from sky_melange.cli.check import write_targets
from sky_melange.cli.options import use_color
from sky_melange.extensions import DIFF_FORMATS


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
    """Say what changed from the plan OLD to the plan NEW, each a plan.json or its folder.

    Groups added, removed and resized, what of the cost is due to prices and what to counts, shares of the traffic that
    moved, and what changed in the workload and the profiles. Prices are those in the files. A difference is no failure.
    """
    from sky_melange.api import diff
    from sky_melange.render.diff_report import table

    targets = write_targets(writes, DIFF_FORMATS)
    changes = diff(old, new)
    if output_format == "table":
        click.echo(table.render(changes, color=use_color()), nl=False)
    else:
        click.echo(DIFF_FORMATS[output_format](changes), nl=False)
    for kind, path in targets:
        write_atomically(path, DIFF_FORMATS[kind](changes))
