"""`sky-melange plan`."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from sky_melange import pipeline
from sky_melange.cli.atomic_file import write_new
from sky_melange.cli.bill_options import parse_period, period_option, require_period_format
from sky_melange.cli.options import say_readings, terminal_width, use_color
from sky_melange.cli.plan_folder import check_replaceable, write_plan_folder
from sky_melange.cli.price_book import price_book, refresh_option
from sky_melange.cli.sketch import given_options, sketch, sketch_options
from sky_melange.domain.fleet import FLEET_FILE, charged_once
from sky_melange.domain.workload import Formulation, Objective
from sky_melange.errors import InputError, Mistake, NotOptimalError
from sky_melange.prices.clouds import enabled_clouds
from sky_melange.prices.records import load_commitments
from sky_melange.render import explain_table, focus_csv, launch_steps, plan_json, plan_table, render_files
from sky_melange.render.plan_sentences import unasked_sentence
from sky_melange.render.text import to_text

if TYPE_CHECKING:
    from sky_melange.domain.plan import Answered
    from sky_melange.domain.simulation import Simulation
    from sky_melange.domain.workload import Slo
    from sky_melange.pipeline import Planned
    from sky_melange.pipeline.reading import ConfigOf
    from sky_melange.pipeline.simulator import Simulator
    from sky_melange.simulation import Fleet, Scenario

_QUIET_S: Final = 1.0
_PROGRESS_S: Final = 10.0

_EXAMPLES: Final = """\b
Examples:
  sky-melange plan workload.yaml --out plan --format json
  sky-melange plan --model Qwen/Qwen3-32B --rate 5 --input 1000 --output 300 --ttft 2s --tpot 50ms
"""


@click.command(name="plan", epilog=_EXAMPLES)
@click.argument("workload", type=click.Path(path_type=Path), required=False)
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("plan"),
    show_default=True,
    help="Folder for plan.json and the launch files; replaced as a whole.",
)
@click.option("--no-files", is_flag=True, help="Print the plan only, write nothing.")
@refresh_option
@click.option("--formulation", type=click.Choice(["exact", "sliced"]), help="Overrides solver.formulation.")
@click.option(
    "--objective", type=click.Choice(["least_cost", "most_traffic"]), help="Overrides objective of the workload."
)
@click.option("--no-simulate", is_flag=True, help="Plan by means alone, for sweeps: slo.attainment is not looked at.")
@click.option("--fetch-config", is_flag=True, help="Ask huggingface.co for the model's config.json: sizes and dtype.")
@click.option("--explain", is_flag=True, help="Say why: what binds, and at which prices and rates the plan changes.")
@click.option("--verbose", "-v", is_flag=True, help="The whole plan: every group, warning and assumption.")
@click.option("--require-optimal", is_flag=True, help="Exit with 7 unless the plan is proven cheapest.")
@click.option("--save", type=click.Path(path_type=Path), help="Write what the options say as a workload.yaml.")
@sketch_options
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "markdown", "focus-csv"]),
    default="table",
    show_default=True,
    help="Table for people, JSON for programs, Markdown for pull requests, FOCUS for FinOps.",
)
@period_option
def command(
    *,
    workload: Path | None,
    out: Path,
    no_files: bool,
    refresh: bool,
    formulation: str | None,
    objective: str | None,
    no_simulate: bool,
    fetch_config: bool,
    explain: bool,
    verbose: bool,
    require_optimal: bool,
    save: Path | None,
    output_format: str,
    period: str | None,
    **sketched: Any,
) -> None:
    """Find the cheapest GPU mix for WORKLOAD (a workload.yaml) and write the files to launch it.

    Without WORKLOAD, --model, --rate, --input, --output, --ttft and --tpot say what to plan for. Nothing is written
    then, but with --save, which writes WORKLOAD and the files.

    Where the workload sets slo.attainment, requests are simulated, and the plan is the cheapest found that holds.
    Prices are refreshed first; without a network the last good ones are used, and their dates are said aloud.
    Writes plan.json and one SkyPilot YAML for each replica group into --out. A plan that costs more than
    budget.usd_per_hour, or budget.usd_per_month by its hours, is printed, nothing is written, and the exit code is 3.

    Where the workload has traffic.hours, instances follow the clock where that saves money; launch.scaling decides.
    """
    from sky_melange.profiles import hub

    require_period_format(period, output_format)
    charged = parse_period(period)
    if workload is not None and (fleet := _fleet_text(workload)) is not None:
        _refuse_of_one(formulation, objective, explain=explain, save=save, sketched=sketched)
        _plan_fleet(
            workload,
            fleet,
            out=None if no_files else out,
            refresh=refresh,
            simulator=None if no_simulate else _simulator(),
            config_of=hub.fetched_config if fetch_config else hub.cached_config,
            is_verbose=verbose,
            is_required=require_optimal,
            output_format=output_format,
            charged=charged,
        )
        return
    is_found_again = workload is not None or save is not None
    is_written = is_found_again and not no_files
    if not is_found_again and _is_said("out") and not no_files:
        message = "takes --save workload.yaml too where no file is given, since a plan keeps the workload that it is of"
        raise InputError([Mistake(source="--out", message=message)])
    with _workload_file(workload, save, sketched) as path:
        if is_written:
            check_replaceable(out)
        planned = pipeline.plan_file(
            path,
            formulation=Formulation(formulation) if formulation else None,
            objective=Objective(objective) if objective else None,
            is_explained=explain,
            book_of=lambda read: price_book(read.prices, refresh=refresh, needed=read.candidates.clouds),
            folder=out if is_found_again else None,
            simulator=None if no_simulate else _simulator(),
            config_of=hub.fetched_config if fetch_config else hub.cached_config,
            tell=say_readings,
            enabled=_enabled(),
        )
    plan = planned.plan
    if require_optimal:
        _require_optimal(plan, "plan")
    _print(planned, output_format, charged, is_verbose=verbose)
    pipeline.check_budget(planned)
    if is_written:
        write_plan_folder(out, plan.name, render_files(plan, planned.workload))
        click.echo(launch_steps(plan, planned.workload, folder=str(out)), err=True)
    if not is_found_again:
        click.echo("Nothing was written. To launch it, the same with: --save workload.yaml", err=True)


def _require_optimal(found: Answered, what: str) -> None:
    if found.status != "optimal":
        gap = "no bound is known" if found.mip_gap is None else f"it is within {found.mip_gap:.2%} of the optimum"
        raise NotOptimalError(f"the {what} is not proven cheapest ({gap}); raise solver.time_limit_s")


def _fleet_text(path: Path) -> str | None:
    """The text of a fleet's file; None for a workload's, and for a pipe, which can be read once."""
    from sky_melange.workload_file import file_text, is_fleet

    if not path.is_file():
        return None
    text = file_text(path)
    return text if is_fleet(path, text) else None


def _refuse_of_one(
    formulation: str | None, objective: str | None, *, explain: bool, save: Path | None, sketched: dict[str, Any]
) -> None:
    given = {"--formulation": formulation, "--objective": objective, "--explain": explain, "--save": save}
    said = [name for name, value in given.items() if value] + given_options(sketched)
    if said:
        message = f"{', '.join(said)}: of one workload; give that, or leave it out for a fleet"
        raise InputError([Mistake(source="WORKLOAD", message=message)])


def _plan_fleet(
    path: Path,
    text: str,
    *,
    out: Path | None,
    refresh: bool,
    simulator: Simulator | None,
    config_of: ConfigOf,
    is_verbose: bool,
    is_required: bool,
    output_format: str,
    charged: tuple[int, int] | None,
) -> None:
    from sky_melange.cli.fleet import check_fleet_folder, write_fleet_folder
    from sky_melange.pipeline.fleets import check_budgets, plan_fleet
    from sky_melange.render import fleet_json, fleet_table

    if out is not None:
        check_fleet_folder(out)
    planned = plan_fleet(
        path,
        text=text,
        book_of=lambda read: price_book(read.prices, refresh=refresh, needed=read.candidates.clouds),
        folder=out,
        simulator=simulator,
        config_of=config_of,
        tell=say_readings,
        enabled=_enabled(),
    )
    fleet, plans = planned.plan, [(member.plan, member.workload) for member in planned.members]
    if is_required:
        _require_optimal(fleet, "fleet")
    if output_format == "json":
        click.echo(fleet_json.with_plans(fleet, plans), nl=False)
    elif output_format == "focus-csv":
        click.echo(focus_csv.render(charged_once(plans, fleet.router_machine), charged), nl=False)
    elif output_format == "markdown":
        click.echo(fleet_table.render_markdown(fleet, plans), nl=False)
    else:
        table = fleet_table.render(fleet, plans, color=use_color(), width=terminal_width(), is_verbose=is_verbose)
        click.echo(table, nl=False)
    check_budgets(planned)
    if out is not None:
        write_fleet_folder(out, planned)
        click.echo(f"{out}/{FLEET_FILE} and the plan of each workload written.", err=True)
        click.echo(f"  sky-melange validate {out}  \u00b7  sky-melange up {out}", err=True)


def _print(planned: Planned, output_format: str, charged: tuple[int, int] | None, *, is_verbose: bool) -> None:
    plan = planned.plan
    width = terminal_width()
    if output_format == "json":
        click.echo(plan_json.text(plan, planned.workload), nl=False)
        for warning in plan.warnings:
            click.echo(f"Warning: {warning}", err=True)
    elif output_format == "focus-csv":
        click.echo(focus_csv.render([(plan, planned.workload)], charged), nl=False)
    elif output_format == "markdown":
        click.echo(plan_table.render_markdown(plan, planned.workload), nl=False)
    else:
        text = plan_table.render(plan, planned.workload, color=use_color(), width=width, is_verbose=is_verbose)
        click.echo(text, nl=False)
        is_unasked = is_verbose and not planned.workload.candidates.purchase
        if is_unasked and (hint := unasked_sentence(plan, load_commitments())) is not None:
            click.echo(to_text(hint, color=False, width=width), nl=False)
        if plan.explanation is not None:
            click.echo("\n" + explain_table.render(plan.explanation, color=use_color(), width=width), nl=False)


def _is_said(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _enabled() -> tuple[str, ...] | None:
    found = enabled_clouds()
    if found.problem:
        click.echo(f"Warning: {found.problem}", err=True)
    return found.clouds


@contextmanager
def _workload_file(workload: Path | None, save: Path | None, sketched: dict[str, Any]) -> Iterator[Path]:
    """WORKLOAD, or what the options say, in the file to save or in one of its own."""
    if workload is not None:
        given = [*given_options(sketched), *(["--save"] if save is not None else [])]
        if given:
            message = f"{workload} says what to plan for: leave out {', '.join(given)}, or leave out the file"
            raise InputError([Mistake(source="WORKLOAD", message=message)])
        yield workload
        return
    if not given_options(sketched):
        message = "is needed: a workload.yaml (`sky-melange init` writes one), or --model, --rate and so on"
        raise InputError([Mistake(source="WORKLOAD", message=message)])
    text = sketch(**sketched, home=None if save is None else save.parent)
    if save is not None:
        write_new(save, text, force=False)
        yield save
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.yaml"
        path.write_text(text, encoding="utf-8", newline="\n")
        yield path


def _simulator() -> Simulator:
    """Says on a terminal that plans are simulated, once that has taken a second, and from time to time how many."""
    run = pipeline.simulator(lambda text: click.echo(text, err=True))
    is_watched = sys.stderr.isatty()
    due_s = time.monotonic() + _QUIET_S
    runs, is_told = 0, False

    def told(fleet: Fleet, scenario: Scenario, slo: Slo) -> Simulation:
        nonlocal due_s, runs, is_told
        if is_watched and time.monotonic() > due_s:
            now = f"{runs} simulations so far, now at {scenario.request_rate_rps:.4g} req/s"
            click.echo(now if is_told else "Simulating plans, from the cheapest on, until one holds", err=True)
            is_told, due_s = True, time.monotonic() + _PROGRESS_S
        runs += 1
        return run(fleet, scenario, slo)

    return told
