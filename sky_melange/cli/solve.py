"""`sky-melange solve`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sky_melange import pipeline
from sky_melange.domain.workload import Formulation, SolverSettings


@click.command(name="solve", epilog="Example: sky-melange solve melange.json --formulation sliced")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--formulation", type=click.Choice(["exact", "sliced"]), default="exact", show_default=True)
@click.option(
    "--time-limit", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, help="Seconds."
)
@click.option("--require-optimal", is_flag=True, help="Exit with 7 unless the answer is proven cheapest.")
@click.option("--normalize", is_flag=True, help="Divide the shares of workload_distribution by their sum.")
def command(file: Path, formulation: str, time_limit: float, require_optimal: bool, normalize: bool) -> None:
    """Solve FILE, the JSON of the released Mélange solver, and print its answer: counts by GPU and the cost.

    `exact` divides each bucket freely and never costs more; `sliced` divides it into slice_factor equal parts, as
    Mélange does.
    """
    settings = SolverSettings(formulation=Formulation(formulation), time_limit_s=time_limit)
    answer = pipeline.solve_melange(file, settings, require_optimal=require_optimal, normalize=normalize)
    click.echo(json.dumps(answer, ensure_ascii=False))
