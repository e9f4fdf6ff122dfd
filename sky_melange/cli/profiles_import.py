"""`sky-melange profiles import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sky_melange.cli.measure_options import name_and_value, rising_numbers, slo_of, unknown_accelerator
from sky_melange.errors import InputError, Mistake
from sky_melange.extensions import IMPORTERS

if TYPE_CHECKING:
    from sky_melange.profiles.importers import Imported, ImportRequest

_MOST_TOKENS: Final = 10_000_000
_EPILOG: Final = """\b
Examples:
  sky-melange profiles import vllm-bench results/*.json --accelerator H100 \\
      --engine-version 0.24.0 --out h100.json
  sky-melange profiles import table runs.csv --model org/model --accelerator L4 --engine vllm \\
      --engine-version 0.24.0 --date 2026-05-01 --kind measured --out l4.json
"""


def _help() -> str:
    formats = "\n            ".join(f"{name:<18}{entry.about}" for name, entry in IMPORTERS.entries.items())
    return f"""Turn another tool's throughput figures into a profile.

    \b
    FORMAT  {formats}

    What a file says beyond that is kept in the profile's provenance.
    """


@click.command(name="import", help=_help(), epilog=_EPILOG)
@click.argument("file_format", metavar="FORMAT", type=click.Choice(list(IMPORTERS)))
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", metavar="ID", help="The model. Default: what the files say.")
@click.option("--accelerator", "-a", metavar="GPU", required=True, help="The GPU, SkyPilot's name, such as A100-80GB.")
@click.option("--tensor-parallel", type=click.IntRange(1, 1024), help="GPUs it has. Default: what the files say, or 1.")
@click.option("--dtype", metavar="NAME", help="Precision of the weights. Default: what the files say, or bfloat16.")
@click.option("--engine", metavar="NAME", help="The inference engine. Default: what the files say.")
@click.option("--engine-version", metavar="VERSION", help="Its version; 'unknown' if nobody knows.")
@click.option("--engine-arg", "engine_args", multiple=True, metavar="NAME=VALUE", help="An engine setting; repeatable.")
@click.option("--kv-cache-tokens", type=click.IntRange(1), help="KV cache size of a replica, if known.")
@click.option("--kind", type=click.Choice(["measured", "published", "estimated"]), help="Default: by FORMAT.")
@click.option("--date", metavar="YYYY-MM-DD", help="When the runs were made. Default: what the files say.")
@click.option("--source", metavar="TEXT", help="Where the files are from, for the provenance.")
@click.option("--tpot-ms", type=float, help="melange, aibrix, mlperf: the target at which the rates hold.")
@click.option("--ttft-ms", type=float, help="The same for the time to the first token.")
@click.option("--ntpot-ms", type=float, help="The same for request latency ÷ output tokens.")
@click.option("--input-edges", metavar="N,N,…", help="melange: upper ends of the input buckets; mlperf: the mean.")
@click.option("--output-edges", metavar="N,N,…", help="melange: upper ends of the output buckets; mlperf: the mean.")
@click.option("--entry", metavar="NAME", help="melange, inferencex: which GPU of the file. mlperf: ID/MODEL/SCENARIO.")
@click.option("--column", "columns", multiple=True, metavar="OURS=THEIRS", help="table: what a column is called there.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The profile to write.")
@click.option("--force", is_flag=True, help="Overwrite --out.")
def command(*, file_format: str, files: tuple[Path, ...], out: Path, force: bool, **options: Any) -> None:
    """Writes the profile; warnings go to stderr."""
    from sky_melange.cli.atomic_file import write_atomically
    from sky_melange.profiles.importers import likely_format
    from sky_melange.profiles.profile_json import profile_text

    request = _request(files, options)
    if out.exists() and not force:
        raise InputError([Mistake(source="--out", message=f"{out} exists; choose another name, or --force")])
    try:
        result: Imported = IMPORTERS[file_format](request)
    except InputError as error:
        likely = likely_format(files)
        if likely in (None, file_format):
            raise
        message = f"{files[0]} looks like a file of {likely}, not of {file_format}: give {likely} instead"
        raise InputError([Mistake(source="FORMAT", message=message), *error.mistakes]) from None
    write_atomically(out, profile_text(result.profile, details=result.details))
    for warning in result.warnings:
        click.echo(f"Warning: {warning}", err=True)
    unknown = unknown_accelerator(result.profile.key.accelerator)
    if unknown is not None:
        click.echo(f"Warning: {unknown}; no offer will match this profile", err=True)
    provenance = result.profile.provenance
    click.echo(f"Wrote {out}: {provenance.kind.value}, {provenance.source}, {provenance.fetched_at}", err=True)


def _request(files: tuple[Path, ...], options: dict[str, Any]) -> ImportRequest:
    from sky_melange.domain.profile import ProfileKind
    from sky_melange.profiles.importers import ImportRequest

    mistakes: list[Mistake] = []
    slo = slo_of(options, mistakes)
    engine_args = name_and_value(options["engine_args"], "--engine-arg", mistakes)
    columns = name_and_value(options["columns"], "--column", mistakes)
    edges: dict[str, tuple[int, ...] | None] = {}
    for name in ("input_edges", "output_edges"):
        text = options[name]
        option = f"--{name.replace('_', '-')}"
        edges[name] = None if text is None else rising_numbers(text, option, 1, _MOST_TOKENS, mistakes)
    if mistakes:
        raise InputError(mistakes)
    return ImportRequest(
        paths=files,
        model=options["model"],
        accelerator=options["accelerator"],
        tensor_parallel=options["tensor_parallel"],
        dtype=options["dtype"],
        engine=options["engine"],
        engine_version=options["engine_version"],
        engine_args=engine_args,
        kv_cache_tokens=options["kv_cache_tokens"],
        kind=None if options["kind"] is None else ProfileKind(options["kind"]),
        date=options["date"],
        source=options["source"],
        slo=slo,
        entry=options["entry"],
        columns=columns,
        **edges,
    )
