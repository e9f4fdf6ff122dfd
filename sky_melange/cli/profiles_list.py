"""`sky-melange profiles list`."""

from __future__ import annotations

import click

from sky_melange.cli.options import format_option, use_color
from sky_melange.domain.profile import ProfileKind
from sky_melange.errors import MissingDataError
from sky_melange.profiles import bundled
from sky_melange.profiles.lookup import Wanted, matching
from sky_melange.render import profile_table


@click.command(name="list", epilog="Example: sky-melange profiles list --model openai/gpt-oss-120b --kind fitted")
@click.option("--model", "-m", metavar="ID", help="Only this model.")
@click.option("--accelerator", "-a", metavar="GPU", help="Only this accelerator, such as H100.")
@click.option("--engine", metavar="NAME", help="Only this engine: vllm, sglang or trtllm.")
@click.option("--dtype", metavar="NAME", help="Only this precision of the weights.")
@click.option("--kind", type=click.Choice([kind.value for kind in ProfileKind]), help="Only this kind.")
@format_option
def command(
    *,
    model: str | None,
    accelerator: str | None,
    engine: str | None,
    dtype: str | None,
    kind: str | None,
    output_format: str,
) -> None:
    """List the bundled profiles, each with its kind and its error."""
    wanted = Wanted(model=model, accelerator=accelerator, engine=engine, dtype=dtype, kind=kind)
    entries = sorted(matching(wanted))
    if not entries:
        raise MissingDataError("no bundled profile is of that kind; sky-melange profiles list shows all of them")
    found = [bundled.read(entry) for entry in entries]
    if output_format == "json":
        click.echo(profile_table.list_json(found), nl=False)
    else:
        click.echo(profile_table.list_table(found, color=use_color()), nl=False)
        click.echo(f"{len(found)} profiles.", err=True)
