"""`sky-melange profiles`: one file a subcommand, imported when it runs."""

from __future__ import annotations

import importlib
from typing import Final

import click

SUBCOMMANDS: Final = {
    "list": "The bundled throughput profiles, with kind and error.",
    "show": "What one replica sustains: a grid of request rates, or one operating point.",
    "estimate": "Estimate a GPU without measurements from its datasheet.",
    "import": "Turn another tool's results into a profile.",
    "measure": "Measure a running server.",
}


class _Group(click.Group):
    """Imports `sky_melange.cli.profiles_<subcommand>` when that subcommand runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in SUBCOMMANDS:
            return None
        module = importlib.import_module(f"sky_melange.cli.profiles_{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


@click.group(
    cls=_Group,
    epilog="Example: sky-melange profiles show meta-llama/Llama-3.1-70B-Instruct H100 --dtype fp8 --tpot-ms 40",
)
def command() -> None:
    """Throughput profiles: what one replica of a model sustains on a GPU, and how that is known."""
