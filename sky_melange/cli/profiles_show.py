"""`sky-melange profiles show`."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import click

from sky_melange.cli.measure_options import slo_of
from sky_melange.cli.options import format_option, use_color
from sky_melange.cli.profile_plot import check_plot, compared, write_plot
from sky_melange.domain.profile import LatencyModelForm, Profile, RateGrid, Skipped
from sky_melange.domain.units import ms_to_s
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError, MissingDataError, Mistake
from sky_melange.profiles.continuation import continued
from sky_melange.profiles.lookup import Wanted, find, grid_sizes, operating_point, rate_grid, read_own
from sky_melange.render import comparison_table, heat_map, profile_table
from sky_melange.render.heat_map import HeatMap

_DEFAULT_TPOT_MS = 40.0

_EPILOG = """\b
Examples:
  sky-melange profiles show meta-llama/Llama-3.1-8B-Instruct L40S --tpot-ms 40
  sky-melange profiles show meta-llama/Llama-3.1-8B-Instruct L40S --against H100 --plot l40s-h100.html
  sky-melange profiles show openai/gpt-oss-120b H200 --dtype fp4 --at 1024,1024,32 --format json
  sky-melange profiles show --file l40s.json
"""


class _Point(click.ParamType):
    """INPUT,OUTPUT,CONCURRENCY: three whole numbers of at least 1."""

    name = "point"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int, int]:
        found = re.fullmatch(r"([1-9][0-9]{0,8}),([1-9][0-9]{0,8}),([1-9][0-9]{0,8})", str(value).replace(" ", ""))
        if found is None:
            self.fail(f"{value!r} is not INPUT,OUTPUT,CONCURRENCY, such as 1024,256,32", param, ctx)
        return int(found[1]), int(found[2]), int(found[3])


@click.command(name="show", epilog=_EPILOG)
@click.argument("model", required=False)
@click.argument("accelerator", required=False)
@click.option("--tensor-parallel", "-t", type=click.IntRange(1, 1024), metavar="N", help="GPUs of one replica.")
@click.option("--engine", metavar="NAME", help="vllm, sglang or trtllm.")
@click.option("--dtype", metavar="NAME", help="Precision of the weights.")
@click.option("--layout", metavar="NAME", help="ep, dp-ep or dp; plain tensor parallelism where there is one.")
@click.option("--kind", metavar="NAME", help="measured, fitted, published or estimated.")
@click.option(
    "--file", "path", type=click.Path(path_type=Path, dir_okay=False), help="A profile file instead of a bundled one."
)
@click.option("--at", type=_Point(), metavar="INPUT,OUTPUT,CONCURRENCY", help="One operating point.")
@click.option("--extrapolate", is_flag=True, help="Answer outside the profile's ranges too; the answer says so.")
@click.option("--tpot-ms", type=float, help="Target of the grid. Default: 40, when no other is given.")
@click.option("--ttft-ms", type=float, help="Target of the grid.")
@click.option("--ntpot-ms", type=float, help="Target of the grid.")
@click.option("--against", metavar="ACCELERATOR", help="Compare requests per USD with another GPU, by size.")
@click.option(
    "--against-tensor-parallel", type=click.IntRange(1, 1024), metavar="N", help="GPUs of one replica of --against."
)
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw it too: .html, or .png (extra `plot`)."
)
@format_option
def command(
    *,
    model: str | None,
    accelerator: str | None,
    tensor_parallel: int | None,
    engine: str | None,
    dtype: str | None,
    layout: str | None,
    kind: str | None,
    path: Path | None,
    at: tuple[int, int, int] | None,
    extrapolate: bool,
    tpot_ms: float | None,
    ttft_ms: float | None,
    ntpot_ms: float | None,
    against: str | None,
    against_tensor_parallel: int | None,
    plot: Path | None,
    output_format: str,
) -> None:
    """Show what one replica sustains on a GPU: the largest request rate by request size, within latency targets.

    With --at: time to first token, time per output token and request rate at one size and concurrency. What is not
    named is chosen: vllm, plain tensor parallelism, the fewest GPUs, 16 bits, the best kind of profile. --against
    takes the cheapest on-demand price of each GPU among the prices that this release holds.
    """
    if at is not None and (against is not None or plot is not None):
        raise click.UsageError("--at is one operating point; give it without --against and --plot")
    if against is None and against_tensor_parallel is not None:
        raise click.UsageError("--against-tensor-parallel needs --against")
    check_plot(plot)
    wanted = Wanted(
        model=model,
        accelerator=accelerator,
        tensor_parallel=tensor_parallel,
        engine=engine,
        dtype=dtype,
        layout=layout,
        kind=kind,
    )
    slo = _slo(tpot_ms, ttft_ms, ntpot_ms)
    profile = _profile(path, wanted)
    if extrapolate:
        profile = _continued(profile, at, slo)
    as_json = output_format == "json"
    picture: HeatMap | None = None
    if at is not None:
        text = _at(profile, at, extrapolate=extrapolate, as_json=as_json)
    elif against is not None:
        found = compared(profile, against, against_tensor_parallel, slo, kind=kind, extrapolate=extrapolate)
        text = comparison_table.json_text(found) if as_json else comparison_table.table(found, color=use_color())
        picture = heat_map.comparison_map(found)
    else:
        grid = rate_grid(profile, slo, extrapolate=extrapolate)
        text = _grid(profile, slo, grid, as_json=as_json)
        picture = heat_map.rate_map(profile, slo, grid)
    click.echo(text, nl=False)
    if plot is not None and picture is not None:
        write_plot(plot, picture)


def _continued(profile: Profile, at: tuple[int, int, int] | None, slo: Slo) -> Profile:
    """The profile with the error that it has at what is asked, outside its ranges."""
    if at is None:
        sizes = [(*size, 1.0) for size in itertools.product(*grid_sizes(profile))]
        return continued(profile, sizes, slo, is_unlimited=True)
    is_measured = isinstance(profile.form, LatencyModelForm) and profile.form.ranges.holds_concurrency(at[2])
    return continued(profile, [(at[0], at[1], 1.0)], Slo(), is_unlimited=not is_measured)


def _profile(path: Path | None, wanted: Wanted) -> Profile:
    if path is not None:
        if wanted.model is not None:
            raise click.UsageError("give --file, or MODEL and ACCELERATOR, not both")
        return read_own(path)
    if wanted.model is None or wanted.accelerator is None:
        raise click.UsageError("name a MODEL and an ACCELERATOR, or a --file")
    return find(wanted)


def _grid(profile: Profile, slo: Slo, grid: RateGrid, *, as_json: bool) -> str:
    if as_json:
        return profile_table.grid_json(profile, slo, grid)
    return profile_table.grid_table(profile, slo, grid, color=use_color())


def _at(profile: Profile, at: tuple[int, int, int], *, extrapolate: bool, as_json: bool) -> str:
    point = operating_point(profile, *at, extrapolate=extrapolate)
    if isinstance(point, Skipped):
        hint = "" if point.reason == "memory" or extrapolate else "; --extrapolate answers all the same"
        raise MissingDataError(f"{profile_table.title(profile)}: {point.detail}{hint}")
    if as_json:
        return profile_table.point_json(profile, at, point)
    return profile_table.point_text(profile, at, point)


def _slo(tpot_ms: float | None, ttft_ms: float | None, ntpot_ms: float | None) -> Slo:
    mistakes: list[Mistake] = []
    found = slo_of({"tpot_ms": tpot_ms, "ttft_ms": ttft_ms, "ntpot_ms": ntpot_ms}, mistakes)
    if mistakes:
        raise InputError(mistakes)
    return found or Slo(tpot_s=ms_to_s(_DEFAULT_TPOT_MS))
