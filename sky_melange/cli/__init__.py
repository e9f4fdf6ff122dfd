"""The command line: one file a command; parse, call, print, exit.

Commands are imported when they are called, so that `--help` and completion stay quick.
"""

from __future__ import annotations

import errno
import gc
import importlib
import os
import sys
import traceback
from typing import Any, Final

import click

from sky_melange import __version__
from sky_melange.errors import SkyMelangeError

COMMANDS: Final = {
    "plan": "Find the cheapest GPU mix for a workload and write the files to launch it.",
    "init": "Write a workload.yaml from a few answers.",
    "explain": "Say why a plan is what it is: what binds, and what would change it.",
    "simulate": "Replay requests through a plan: the share of them that meets every target.",
    "report": "Write a plan as one HTML page for whoever signs the bill.",
    "solve": "Solve the released Mélange solver's JSON, exactly; same answer format.",
    "prices": "List GPU prices: the cheapest offers by accelerator, and what is quarantined.",
    "profiles": "Throughput profiles: list, show, estimate, import, measure.",
    "check": "Check a committed plan against today's prices, a budget, its workload and its files.",
    "diff": "Say what changed between two plans: groups, cost by cause, routing, inputs.",
    "validate": "Check a plan folder with SkyPilot's own parser and optimizer, offline.",
    "up": "Launch a plan folder through SkyPilot: every replica group, then the router.",
    "status": "Show what runs of a plan folder, and where it answers.",
    "scale": "Bring what runs of a plan with hours to the instances of the hour.",
    "down": "End what `up` started from a plan folder.",
    "workload": "Count request logs into a workload.yaml: sizes, rate, report.",
    "mcp": "Serve plan, check, prices and explain to assistants (Model Context Protocol).",
    "schema": "Print the JSON Schema of workload.yaml or budgets.yaml for editors.",
}

EXIT_CODES: Final = """\b
Exit codes:
  0  done, and every check holds
  1  a bug
  2  bad usage or an invalid input file
  3  a check failed (over budget, file edited by hand)
  4  infeasible: no plan serves the traffic
  5  a price or profile is missing
  6  no price source could be reached
  7  not proven optimal, with --require-optimal
"""


class LazyGroup(click.Group):
    """Imports `sky_melange.cli.<command>` when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of COMMANDS: as one would use them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None when there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"sky_melange.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; an error of ours becomes its message and exit code."""
        try:
            return super().invoke(ctx)
        except SkyMelangeError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            else:
                click.echo(f"Error: {error}", err=True)
            ctx.exit(error.exit_code)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="sky-melange")
@click.option("--debug", is_flag=True, help="Show a traceback on errors.")
def cli(debug: bool) -> None:
    """Which GPUs, on which clouds, how many of each, serve this traffic within its latency targets for the least money?

    \b
    Examples:
      sky-melange plan workload.yaml              the cheapest mix, and a folder `plan` to launch
      sky-melange validate plan                   would SkyPilot launch exactly that, at that price?
      sky-melange prices --accelerator H100       what an H100 costs, and which prices are not believed
    """


def _keep_stdout_for_answers() -> None:
    """From here on `sys.stdout` alone leads to stdout; descriptor 1, to which C libraries print, leads nowhere."""
    own = sys.stdout
    if own is None or not hasattr(own, "buffer") or own.fileno() != 1:
        return
    own.flush()
    line_buffering = own.isatty()
    sys.stdout = os.fdopen(
        os.dup(1), "w", buffering=1 if line_buffering else -1, encoding=own.encoding, errors=own.errors
    )
    _lead_nowhere(1)


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def main() -> None:
    """Entry point of the console script. A bug is reported in one line unless --debug is given."""
    # A command makes some 100,000 lasting objects; looking for cycles among them at each 700 took 5 % of `plan`.
    gc.set_threshold(50_000, 50, 50)
    _keep_stdout_for_answers()
    debug = "--debug" in sys.argv[1:]
    try:
        cli(prog_name="sky-melange")
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            # Of stdout, mostly: `> FILE` on a full disk is no bug.
            click.echo("Error: the disk is full, so that not everything could be written", err=True)
            # What is still buffered is written once more at exit, where it may not fail again.
            _lead_nowhere(sys.stdout.fileno())
            sys.exit(2)
        kind = type(error).__name__
        click.echo(f"Error: a bug in sky-melange: {kind}: {error}\nRun again with --debug to see where.", err=True)
        sys.exit(1)
