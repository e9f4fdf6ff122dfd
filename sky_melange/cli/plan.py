"""`sky-melange plan`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from sky_melange import pipeline
from sky_melange.cli.options import format_option, use_color
from sky_melange.cli.plan_folder import check_replaceable, write_plan_folder
from sky_melange.cli.price_book import price_book, refresh_option
from sky_melange.domain.workload import Formulation, Objective
from sky_melange.errors import NotOptimalError
from sky_melange.render import explain_table, launch_steps, plan_json, plan_table, render_files
from sky_melange.render.plan_sentences import price_doubts

if TYPE_CHECKING:
    from sky_melange.domain.simulation import Simulation
    from sky_melange.domain.workload import Slo
    from sky_melange.pipeline.simulator import Simulator
    from sky_melange.simulation import Fleet, Scenario

_QUIET_S: Final = 1.0


@click.command(name="plan", epilog="Example: sky-melange plan workload.yaml --out plan --format json")
@click.argument("workload", type=click.Path(path_type=Path))
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
@click.option("--explain", is_flag=True, help="Say why: what binds, and at which prices and rates the plan changes.")
@click.option("--require-optimal", is_flag=True, help="Exit with 7 unless the plan is proven cheapest.")
@format_option
def command(
    *,
    workload: Path,
    out: Path,
    no_files: bool,
    refresh: bool,
    formulation: str | None,
    objective: str | None,
    no_simulate: bool,
    explain: bool,
    require_optimal: bool,
    output_format: str,
) -> None:
    """Find the cheapest GPU mix for WORKLOAD (a workload.yaml) and write the files to launch it.

    Where the workload sets slo.attainment, requests are simulated, and the plan is the cheapest found that holds.
    Prices are refreshed first; without a network the last good ones are used, and their dates are said aloud.
    Writes plan.json and one SkyPilot YAML for each replica group into --out. A plan that costs more than
    budget.usd_per_hour is printed, nothing is written, and the exit code is 3.
    """
    if not no_files:
        check_replaceable(out)
    planned = pipeline.plan_file(
        workload,
        formulation=Formulation(formulation) if formulation else None,
        objective=Objective(objective) if objective else None,
        is_explained=explain,
        book_of=lambda read: price_book(read.prices, refresh=refresh, needed=read.candidates.clouds),
        folder=out,
        simulator=None if no_simulate else _simulator(),
    )
    plan = planned.plan
    if require_optimal and plan.status != "optimal":
        gap = "no bound is known" if plan.mip_gap is None else f"it is within {plan.mip_gap:.2%} of the optimum"
        raise NotOptimalError(f"the plan is not proven cheapest ({gap}); raise solver.time_limit_s")
    if output_format == "json":
        click.echo(plan_json.text(plan, planned.workload), nl=False)
        shown: list[str] = []
    else:
        shown = price_doubts(plan)
        click.echo(plan_table.render(plan, planned.workload, color=use_color()), nl=False)
        if plan.explanation is not None:
            click.echo("\n" + explain_table.render(plan.explanation, color=use_color()), nl=False)
    for warning in plan.warnings:
        if warning not in shown:
            click.echo(f"Warning: {warning}", err=True)
    pipeline.check_budget(planned)
    if not no_files:
        write_plan_folder(out, plan.name, render_files(plan, planned.workload))
        click.echo(launch_steps(plan, planned.workload, folder=str(out)), err=True)


def _simulator() -> Simulator:
    """Says on a terminal that plans are simulated, once that has taken a second."""
    run = pipeline.simulator(lambda text: click.echo(text, err=True))
    started = time.monotonic()
    is_told = not sys.stderr.isatty()

    def told(fleet: Fleet, scenario: Scenario, slo: Slo) -> Simulation:
        nonlocal is_told
        if not is_told and time.monotonic() - started > _QUIET_S:
            click.echo("Simulating plans, from the cheapest on, until one holds", err=True)
            is_told = True
        return run(fleet, scenario, slo)

    return told
