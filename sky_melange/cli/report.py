"""`sky-melange report`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sky_melange.cli.atomic_file import refuse_device, write_atomically
from sky_melange.cli.bill_options import parse_period, period_option, require_period_format
from sky_melange.errors import InputError, Mistake

if TYPE_CHECKING:
    from sky_melange.plan_file import PlanDocument
    from sky_melange.render.plots import SimulationPlot


@click.command(name="report", epilog="Example: sky-melange report plan -o report.html")
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--output-file",
    "-o",
    type=click.Path(path_type=Path),
    help="Where it is written.  [default: report.html, report.csv or report.png]",
)
@click.option(
    "--as",
    "output_format",
    type=click.Choice(["html", "focus-csv", "png"]),
    help="A page, projected charges in the columns of FOCUS, or the week alone as a picture (extra `plot`).  [default: "
    "png for a .png file, otherwise html]",
)
@period_option
@click.option("--no-simulate", is_flag=True, help="Without the curve of attainment by rate, which takes seconds.")
def command(
    *, plan: Path, output_file: Path | None, output_format: str | None, period: str | None, no_simulate: bool
) -> None:
    """Write PLAN (a plan.json or its folder, or a fleet's) as one HTML page: the bill, why this mix, what to watch.

    The page needs no network and no scripts, and prints well. Prices are those of the plan, with their age today;
    `sky-melange check` asks for new ones.
    """
    from sky_melange.plan_file.fleet import is_fleet_folder, read_charged
    from sky_melange.render import focus_csv

    if output_format is None:
        output_format = "png" if output_file is not None and output_file.suffix.lower() == ".png" else "html"
    require_period_format(period, output_format, "--as")
    charged = parse_period(period)
    output_file = output_file or Path(f"report.{output_format.removeprefix('focus-')}")
    refuse_device(output_file)
    text: str | bytes
    if output_format == "focus-csv":
        text = focus_csv.render(read_charged(plan), charged)
    elif output_format == "png":
        if is_fleet_folder(plan):
            raise InputError(
                [Mistake(source=str(plan), message="is a fleet, and the week is of one plan: name its folder")]
            )
        text = _week(plan)
    else:
        text = _page_of_fleet(plan) if is_fleet_folder(plan) else _page_of_plan(plan, is_drawn=not no_simulate)
    write_atomically(output_file, text)
    click.echo(f"Wrote {output_file}", err=True)


def _page_of_plan(path: Path, *, is_drawn: bool) -> str:
    from sky_melange.plan_file import read_plan
    from sky_melange.render import plan_report

    document = read_plan(path)
    drawn = _plot(document) if is_drawn and document.plan.simulated is not None else None
    today = datetime.now(UTC).date()
    return plan_report.page(document.plan, document.workload, today=today, folder=_folder(path), plot=drawn)


def _page_of_fleet(path: Path) -> str:
    from sky_melange.plan_file.fleet import read_fleet_plan, read_member_plans
    from sky_melange.render import fleet_report

    document = read_fleet_plan(path)
    plans = [(each.plan, each.workload) for each in read_member_plans(document)]
    return fleet_report.page(document.plan, plans, today=datetime.now(UTC).date(), folder=_folder(path))


def _folder(path: Path) -> str:
    return str(path if path.is_dir() else path.parent)


def _week(path: Path) -> bytes:
    """Raises InputError where every hour is alike."""
    from sky_melange.plan_file import read_plan
    from sky_melange.render import plots
    from sky_melange.render.heat_map import require_matplotlib
    from sky_melange.render.schedule_text import as_run

    document = read_plan(path)
    schedule, hours = as_run(document.plan, document.workload), document.workload.traffic.hours
    if schedule is None or hours is None or schedule.is_even:
        message = "runs as many instances in every hour, so there is no week to draw: plan with `traffic.hours`"
        raise InputError([Mistake(source=str(document.path), key="schedule", message=message)])
    require_matplotlib()
    return plots.hours_png(document.plan, schedule, hours.rates_rps)


def _plot(document: PlanDocument) -> SimulationPlot:
    """Attainment by rate, with the planned requests."""
    from sky_melange.pipeline import (
        arrivals_log,
        in_worst_hour,
        planned_fleet,
        simulator,
        swept,
        usual_requests,
        workload_file_of,
    )
    from sky_melange.render import plots
    from sky_melange.simulation import Scenario

    fleet, warnings = planned_fleet(document)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    workload = document.workload
    log = arrivals_log(workload, workload_file_of(document))
    scenario = Scenario(
        traffic=workload.traffic,
        request_rate_rps=workload.traffic.request_rate_rps,
        arrivals=None if log is not None else workload.traffic.arrivals,
        log=log,
        requests=usual_requests(document.plan),
        seed=0,
    )
    simulated = simulator(lambda text: click.echo(text, err=True))
    scenario, planned, _ = in_worst_hour(lambda one: simulated(fleet, one, workload.slo), scenario)
    points = swept(lambda one: simulated(fleet, one, workload.slo), scenario, planned)
    return plots.plot_of(points, planned, workload.slo, title="", required=workload.slo.attainment)
