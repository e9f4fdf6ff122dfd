"""`sky-melange profiles measure`."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sky_melange.cli.measure_options import concurrency_list, name_and_value, shape_grid, slo_of, unknown_accelerator
from sky_melange.errors import InputError, Mistake, SkyMelangeError

if TYPE_CHECKING:
    from sky_melange.profiles.measure import Endpoint, Journal, MeasureSpec

INTERRUPTED: int = 130
"""The shells' code for a program ended by Ctrl-C."""

_EPILOG = """\b
Examples:
  sky-melange profiles measure --endpoint http://127.0.0.1:8000 --model Qwen/Qwen3-32B \\
      --accelerator L40S --tensor-parallel 2 --tpot-ms 40 --ttft-ms 2000 --out l40s.json
  sky-melange profiles measure --model Qwen/Qwen3-32B --tpot-ms 40 --emit-sky measure \\
      --candidate L40S:2 --candidate H100
Exit codes: 0 all measured; 2 bad usage, or the server cannot be measured; 5 it does not answer or stopped answering
(what was measured is kept); 130 stopped by Ctrl-C. Run the same command again to go on.
"""


@click.command(name="measure", epilog=_EPILOG)
@click.option("--endpoint", metavar="URL", help="The OpenAI-compatible server, such as http://127.0.0.1:8000.")
@click.option("--model", required=True, metavar="ID", help="The model, such as meta-llama/Llama-3.1-8B-Instruct.")
@click.option("--served-model", metavar="NAME", help="The server's name for it, when that is another.")
@click.option("--accelerator", "-a", metavar="GPU", help="The GPU it runs on, SkyPilot's name, such as A100-80GB.")
@click.option("--tensor-parallel", type=click.IntRange(1, 1024), default=1, show_default=True, help="GPUs it runs on.")
@click.option("--dtype", default="bfloat16", show_default=True, help="Precision of the weights.")
@click.option("--engine", default="vllm", show_default=True, help="The inference engine.")
@click.option("--engine-version", metavar="VERSION", help="Its version. Default: what the server says at /version.")
@click.option(
    "--engine-arg", "engine_args", multiple=True, metavar="NAME=VALUE", help="An engine setting to record; repeatable."
)
@click.option("--kv-cache-tokens", type=click.IntRange(1), help="KV cache size. Default: what a vLLM server reports.")
@click.option("--api", type=click.Choice(["completions", "chat"]), default="completions", show_default=True)
@click.option("--api-key-env", metavar="NAME", help="Environment variable that holds the API key, if one is needed.")
@click.option("--grid", metavar="INPUTSxOUTPUTS", help="Tokens, such as 25,500,2000x25,250. Default: 4 × 3 sizes.")
@click.option("--concurrency", metavar="N,N,…", help="Requests at once, rising. Default: 1, 2, 4 … 512.")
@click.option("--tpot-ms", type=float, help="Stop raising the concurrency above this time per output token.")
@click.option("--ttft-ms", type=float, help="The same for the time to the first token.")
@click.option("--ntpot-ms", type=float, help="The same for request latency ÷ output tokens.")
@click.option("--min-requests", type=click.IntRange(12, 100_000), default=12, show_default=True)
@click.option("--rounds", type=click.FloatRange(1, 1000), default=2.0, show_default=True, help="Requests per worker.")
@click.option("--stall-timeout-s", type=click.FloatRange(0.1, 86_400), default=60.0, show_default=True)
@click.option("--level-limit-s", type=click.FloatRange(0.1, 86_400), default=900.0, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of prompts and warm-up lengths.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The profile to write.")
@click.option("--restart", is_flag=True, help="Discard what an earlier run measured for this --out.")
@click.option(
    "--emit-sky",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Measure nothing now: write a SkyPilot job per --candidate that starts vLLM and measures it.",
)
@click.option("--candidate", "candidates", multiple=True, metavar="GPU[:COUNT]", help="For --emit-sky; repeatable.")
@click.option("--infra", metavar="CLOUD[/REGION]", help="For --emit-sky: where to rent. Default: the cheapest.")
@click.option(
    "--secret", "secrets", multiple=True, metavar="NAME", help="For --emit-sky: such as HF_TOKEN; repeatable."
)
@click.option("--package", metavar="REQUIREMENT|WHEEL", help="For --emit-sky: sky-melange as pip knows it, or a wheel.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> None:
    """Measure a running server: what one replica sustains at each request size.

    Sends streams of random prompts at rising concurrency until a latency target or the throughput stops it, and writes
    a profile of what was seen. Beside FILE lies FILE.journal, from which an interrupted run goes on.
    """
    if options["emit_sky"] is not None:
        from sky_melange.cli.measure_emit import emit

        emit(options)
        return
    spec, endpoint = _spec(options), _endpoint(options)
    out: Path = options["out"]
    unknown = unknown_accelerator(spec.key.accelerator)
    if unknown is not None:
        click.echo(f"Warning: {unknown}; no offer will match the profile", err=True)
    ctx.exit(_run(spec, endpoint, out, restart=options["restart"]))


def _run(spec: MeasureSpec, endpoint: Endpoint, out: Path, *, restart: bool) -> int:
    """Measures, and writes the profile of whatever there is, whichever way it ended; the exit code."""
    from sky_melange.profiles.measure import Journal, Progress, measure

    journal_path = out.with_name(out.name + ".journal")
    _check_out(out, journal_path)
    if restart:
        journal_path.unlink(missing_ok=True)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    error: SkyMelangeError | None = None
    interrupted = False
    with Journal(journal_path, spec, started_on=today) as journal:
        progress = Progress(spec, journal, lambda text: click.echo(text, err=True))
        if journal.resumed:
            done = len(journal.ends)
            click.echo(f"going on from {journal_path}: {done} of {len(spec.shapes)} shapes are finished", err=True)
        try:
            measure(spec, endpoint, journal, progress)
        except KeyboardInterrupt:
            interrupted = True
        except SkyMelangeError as found:
            error = found
        _write(spec, journal, out, must_exist=error is None and not interrupted)
        kept = journal.resumed
    if error is not None:
        click.echo(f"Error: {error}", err=True)
    if interrupted:
        click.echo("Stopped.", err=True)
    if kept and (interrupted or error is not None):
        click.echo(f"What was measured is kept in {journal_path}; run the same command again to go on.", err=True)
    return INTERRUPTED if interrupted else 0 if error is None else error.exit_code


def _write(spec: MeasureSpec, journal: Journal, out: Path, *, must_exist: bool) -> None:
    from sky_melange.cli.atomic_file import write_atomically
    from sky_melange.profiles.measure import NothingMeasuredError, to_profile
    from sky_melange.profiles.profile_json import profile_text

    try:
        measured = to_profile(spec, journal)
    except NothingMeasuredError:
        if must_exist:
            raise
        return
    for warning in measured.warnings:
        click.echo(f"Warning: {warning}", err=True)
    write_atomically(out, profile_text(measured.profile, details=measured.details))
    partial = "" if measured.shapes_in_profile == len(spec.shapes) else "PARTIAL: "
    count = f"{measured.shapes_in_profile} of {len(spec.shapes)}"
    click.echo(f"{partial}wrote {out}: {count} shapes", err=True)


def _spec(options: dict[str, Any]) -> MeasureSpec:
    from sky_melange.domain.profile import ProfileKey
    from sky_melange.profiles.measure import Api, Effort, MeasureSpec

    mistakes = [
        Mistake(source=f"--{name}", message="is needed")
        for name in ("endpoint", "accelerator", "out")
        if not options[name]
    ]
    shapes = shape_grid(options["grid"], mistakes)
    concurrencies = concurrency_list(options["concurrency"], mistakes)
    slo = slo_of(options, mistakes)
    engine_args = name_and_value(options["engine_args"], "--engine-arg", mistakes)
    if mistakes:
        raise InputError(mistakes)
    return MeasureSpec(
        key=ProfileKey(
            model=options["model"],
            accelerator=options["accelerator"],
            tensor_parallel=options["tensor_parallel"],
            dtype=options["dtype"],
            engine=options["engine"],
        ),
        served_model=options["served_model"] or options["model"],
        api=Api(options["api"]),
        shapes=shapes,
        concurrencies=concurrencies,
        slo=slo,
        engine_version=options["engine_version"],
        engine_args=engine_args,
        kv_cache_tokens=options["kv_cache_tokens"],
        effort=Effort(
            min_requests=options["min_requests"],
            rounds=options["rounds"],
            stall_timeout_s=options["stall_timeout_s"],
            level_limit_s=options["level_limit_s"],
            seed=options["seed"],
        ),
    )


def _endpoint(options: dict[str, Any]) -> Endpoint:
    from sky_melange.profiles.measure import Api, Endpoint
    from sky_melange.profiles.measure.spec import base_url

    mistakes: list[Mistake] = []
    url = base_url(options["endpoint"])
    if isinstance(url, Mistake):
        mistakes.append(url)
        url = ""
    name = options["api_key_env"]
    key = os.environ.get(name) if name else None
    if name and not key:
        mistakes.append(Mistake(source="--api-key-env", message=f"the environment variable {name} is not set"))
    if key and (not key.isascii() or not key.isprintable()):
        mistakes.append(Mistake(source="--api-key-env", message=f"{name} holds characters that no header may have"))
    if mistakes:
        raise InputError(mistakes)
    return Endpoint(base_url=url, api=Api(options["api"]), api_key=key)


def _check_out(out: Path, journal: Path) -> None:
    """Before hours of measuring: can the result be written, and is what is there ours?"""
    if not out.parent.is_dir():
        raise InputError([Mistake(source="--out", message=f"there is no folder {out.parent}")])
    if out.exists() and not journal.exists():
        message = f"{out} exists, and no journal of its making beside it; choose another --out"
        raise InputError([Mistake(source="--out", message=message)])
