"""`sky-melange simulate`."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sky_melange.cli.fleet import of_each_plan
from sky_melange.cli.options import format_option, reading_options, trace_options, use_color
from sky_melange.errors import CheckFailedError, InputError, Mistake

if TYPE_CHECKING:
    from sky_melange.domain.buckets import Arrivals
    from sky_melange.domain.simulation import Simulation
    from sky_melange.domain.trace import TraceOptions
    from sky_melange.domain.workload import Slo
    from sky_melange.plan_file import PlanDocument
    from sky_melange.simulation import Fleet, Scenario

EXAMPLES: Final = """\b
Examples:
  sky-melange simulate plan
  sky-melange simulate plan --arrivals cv=2 --require 0.99
  sky-melange simulate plan --trace requests.csv.gz --rate 40
  sky-melange simulate plan --lose chat-h100=1 --slower 10%
  sky-melange simulate plan --plot attainment.html --format json
"""


@click.command(name="simulate", epilog=EXAMPLES)
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--trace", type=click.Path(path_type=Path), help="Replay the requests of this log; with --arrivals only its sizes."
)
@reading_options
@click.option("--arrivals", metavar="poisson|cv=2", help="How requests follow each other. [default: as planned]")
@click.option("--rate", type=float, help="Requests per second. [default: that of the plan]")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Of all chance.")
@click.option("--requests", type=int, help="How many are counted. [default: as many as the plan was judged by]")
@click.option("--lose", multiple=True, metavar="GROUP=1", help="Instances of a group that are gone; repeatable.")
@click.option("--slower", metavar="10%", help="Engines that are so much slower than their profiles.")
@click.option("--require", type=float, metavar="0.99", help="Exit 3 when fewer of the requests meet every target.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw attainment by rate, and latencies: .html or .png.")
@format_option
@of_each_plan("plan")
def command(
    *,
    plan: Path,
    trace: Path | None,
    arrivals: str | None,
    rate: float | None,
    seed: int,
    requests: int | None,
    lose: tuple[str, ...],
    slower: str | None,
    require: float | None,
    plot: Path | None,
    output_format: str,
    **reading: Any,
) -> None:
    """Replay requests through PLAN (a plan.json or its folder): which share of them meets every target?

    Each request has its own size, and its own TTFT and TPOT. They pass the planned router (estimated sizes, shares,
    limits) to replicas that batch continuously, whose steps take the time that the profiles say. A request that is too
    long for the model is refused, and has missed. The same seed gives the same answer.
    """
    from sky_melange.pipeline import in_worst_hour, planned_fleet, simulator, swept
    from sky_melange.plan_file import read_plan
    from sky_melange.render import simulation_report
    from sky_melange.simulation import MOST_REQUESTS, parse_arrivals, without

    options = trace_options(**reading)
    if trace is None and any(value is not None for value in reading.values()):
        names = ", ".join(f"--{name.replace('_', '-')}" for name, value in reading.items() if value is not None)
        raise InputError([Mistake(source=names, message="says how a log is read: give it with --trace")])
    slower_fraction, lost = _checked(rate, requests, require, slower, lose, MOST_REQUESTS)
    if plot is not None:
        from sky_melange.cli.profile_plot import check_plot

        check_plot(plot)
    wanted = None if arrivals is None else parse_arrivals(arrivals)
    document = read_plan(plan)
    fleet, warnings = planned_fleet(document)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
    fleet = replace(without(fleet, lost), slower_fraction=slower_fraction)
    workload = document.workload
    scenario = replace(_scenario(document, wanted, trace, options), seed=seed)
    if rate is not None:
        scenario = replace(scenario, request_rate_rps=rate)
    if requests is not None:
        scenario = replace(scenario, requests=requests)
    simulated = simulator(lambda text: click.echo(text, err=True))

    def run(scenario: Scenario) -> Simulation:
        return simulated(fleet, scenario, workload.slo)

    if output_format == "json":
        # Compiled code is loaded first, so that the speed is that of the simulation.
        run(replace(scenario, requests=1))
    started = time.perf_counter()
    scenario, found, sizes = in_worst_hour(run, scenario)
    elapsed_s = time.perf_counter() - started
    if sizes is not None:
        message = f"sizes differ by the hour; shown are those of {sizes!r}, with which the fewest requests hold."
        click.echo(f"Note: {message}", err=True)
    if output_format == "json":
        speed = found.requests / max(elapsed_s, 1e-9)
        click.echo(simulation_report.to_json(found, requests_per_second=speed), nl=False)
    else:
        name = document.plan.name
        click.echo(simulation_report.table(found, workload.slo, name, color=use_color()), nl=False)
    if plot is not None:
        points = swept(run, scenario, found)
        _write_plot(plot, fleet, document.plan.name, workload.slo, require, points, found)
    if require is not None:
        _require(found, require)


def _scenario(document: PlanDocument, wanted: Arrivals | None, trace: Path | None, options: TraceOptions) -> Scenario:
    """The requests of a plan: as a log has them, as they are `wanted`, or as the workload says."""
    from sky_melange.pipeline import arrivals_log, usual_requests, workload_file_of
    from sky_melange.simulation import Scenario
    from sky_melange.traces import read_requests

    traffic = document.workload.traffic
    log = None if trace is None else read_requests([str(trace)], options)
    if trace is None and wanted is None:
        log = arrivals_log(document.workload, workload_file_of(document))
        wanted = None if log is not None else traffic.arrivals
    return Scenario(
        traffic=traffic,
        request_rate_rps=traffic.request_rate_rps,
        arrivals=wanted,
        log=log,
        requests=usual_requests(document.plan),
    )


def _require(found: Simulation, attainment: float) -> None:
    missed = [each for each in found.percentiles if each.attainment < each.target]
    if missed:
        named = ", ".join(f"{each.name} within {each.limit_s * 1000:g} ms ({each.attainment:.2%})" for each in missed)
        raise CheckFailedError(f"too few of the simulated requests have {named}")
    if found.attainment < attainment:
        message = f"of the simulated requests meet every target, fewer than --require {attainment:.4%}"
        raise CheckFailedError(f"{found.attainment:.4%} {message}")


def _checked(
    rate: float | None,
    requests: int | None,
    require: float | None,
    slower: str | None,
    lose: tuple[str, ...],
    most_requests: int,
) -> tuple[float, list[tuple[str, int]]]:
    """The slowdown as a fraction, and what is lost. Raises InputError with every mistake."""
    mistakes = []
    if rate is not None and not (math.isfinite(rate) and 0 < rate <= 1e9):
        mistakes.append(Mistake(source="--rate", message=f"want requests per second above 0, found {rate:g}"))
    if requests is not None and not 1 <= requests <= most_requests:
        mistakes.append(Mistake(source="--requests", message=f"want 1 to {most_requests:,}, found {requests:,}"))
    if require is not None and not 0 < require <= 1:
        hint = f"; {require:g} percent is {require / 100:g}" if 1 < require <= 100 else ""
        mistakes.append(
            Mistake(source="--require", message=f"want a share above 0 and at most 1, found {require:g}{hint}")
        )
    fraction = 0.0
    if slower is not None:
        try:
            fraction = float(slower.removesuffix("%")) / (100 if slower.endswith("%") else 1)
        except ValueError:
            fraction = math.nan
        if not 0 <= fraction <= 10:
            message = f"want a percentage such as 10%, from 0% to 1000%, found {slower[:40]!r}"
            mistakes.append(Mistake(source="--slower", message=message))
    lost: dict[str, int] = {}
    for text in lose:
        name, _, count = text.partition("=")
        if not name or not count.isdecimal() or len(count) > 9:
            mistakes.append(
                Mistake(source="--lose", message=f"want GROUP=NUMBER, such as chat-h100=1, found {text[:80]!r}")
            )
        else:
            lost[name] = lost.get(name, 0) + int(count)
    if mistakes:
        raise InputError(mistakes)
    return fraction, list(lost.items())


def _write_plot(  # noqa: PLR0917 - what a plot shows
    path: Path,
    fleet: Fleet,
    name: str,
    slo: Slo,
    require: float | None,
    points: list[tuple[float, Simulation]],
    planned: Simulation,
) -> None:
    from sky_melange.cli.atomic_file import write_atomically
    from sky_melange.render import plots

    lost = ", ".join(f"without {count} of {group}" for group, count in fleet.lost)
    slower = f"engines {fleet.slower_fraction:.0%} slower" if fleet.slower_fraction else ""
    title = "; ".join(part for part in (f"{name}: requests within targets ({planned.arrivals})", lost, slower) if part)
    drawn = plots.plot_of(points, planned, slo, title=title, required=require)
    is_png = path.suffix.lower() == ".png"
    write_atomically(path, plots.png(drawn) if is_png else plots.page(drawn))
    click.echo(f"Wrote {path}", err=True)
