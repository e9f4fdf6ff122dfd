"""`sky-melange profiles estimate`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sky_melange.cli.options import format_option, use_color
from sky_melange.errors import InfeasibleError, InputError, MissingDataError, Mistake

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sky_melange.domain.profile import Profile

_ALL_SIZES = (1, 2, 4, 8)

_EPILOG = """\b
Examples:
  sky-melange profiles estimate meta-llama/Llama-3.1-8B-Instruct L4 A10G
  sky-melange profiles estimate my-org/my-model L4 --config config.json --out profiles
Put the files' names under profiles.files in workload.yaml to plan with them.
"""


@click.command(name="estimate", epilog=_EPILOG)
@click.argument("model")
@click.argument("accelerators", nargs=-1, required=True, metavar="ACCELERATOR…")
@click.option("--tensor-parallel", "-t", "sizes", type=click.IntRange(1, 64), multiple=True, help="Repeatable.")
@click.option("--dtype", help="Precision of the weights.  [default: the checkpoint's own]")
@click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    help="The model's Hugging Face config.json, or the folder of its checkpoint, for a model that is not in the table.",
)
@click.option(
    "--longest",
    metavar="INPUTxOUTPUT",
    default="16000x2000",
    show_default=True,
    help="The longest requests to estimate, tokens: up to 128000x32000.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write profile files into this folder.")
@format_option
def command(
    *,
    model: str,
    accelerators: tuple[str, ...],
    sizes: tuple[int, ...],
    dtype: str | None,
    config: Path | None,
    longest: str,
    out: Path | None,
    output_format: str,
) -> None:
    """Estimate what a GPU sustains from its datasheet and the model's sizes: a roofline with calibrated efficiencies.

    The error is that on GPUs which the calibration had not seen. Prefer a measured profile where there is one.
    """
    from sky_melange.domain.profile import Profile, Skipped
    from sky_melange.domain.workload import AUTO_DTYPE, Model
    from sky_melange.profiles.architectures import known_models
    from sky_melange.profiles.checkpoint import resolved, unknown_model
    from sky_melange.profiles.model_config import read_model_config
    from sky_melange.profiles.roofline import estimate
    from sky_melange.render import profile_table

    _check_names(accelerators)
    reach = _longest(longest)
    shape = known_models().get(model) if config is None else read_model_config(config, model)
    if shape is None:
        raise MissingDataError(unknown_model(model, "pass `--config config.json`, the model's public configuration"))
    if dtype is None:
        own = None if config is None else str(config)
        dtype = resolved(Model(id=model, dtype=AUTO_DTYPE, config=own), Path("--config")).dtype
    layouts = [(name, size) for name in dict.fromkeys(accelerators) for size in dict.fromkeys(sizes or _ALL_SIZES)]
    results = [
        (name, size, estimate(shape, name, tensor_parallel=size, dtype=dtype, longest=reach)) for name, size in layouts
    ]
    profiles = [result for *_, result in results if isinstance(result, Profile)]
    lines = [f"{name} tensor parallel {n}: {item.detail}" for name, n, item in results if isinstance(item, Skipped)]
    if not profiles:
        raise InfeasibleError("nothing could be estimated:\n" + "\n".join(f"  {line}" for line in lines))
    written = [] if out is None else _write(profiles, out)
    if output_format == "json":
        click.echo(profile_table.estimates_json(profiles, lines, [str(path) for path in written]), nl=False)
        return
    click.echo(profile_table.estimates_table(profiles, color=use_color()), nl=False)
    for line in lines:
        click.echo(f"Not estimated: {line}.", err=True)
    for path in written:
        click.echo(f"Wrote {path}", err=True)


def _longest(text: str) -> tuple[int, int]:
    from sky_melange.profiles.roofline import INPUT_TOKENS, OUTPUT_TOKENS

    most = INPUT_TOKENS[-1], OUTPUT_TOKENS[-1]
    found = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text)
    sizes = (0, 0) if found is None else (int(found[1]), int(found[2]))
    if not all(1 <= size <= limit for size, limit in zip(sizes, most, strict=True)):
        message = f"want input and output tokens, at most {most[0]}x{most[1]}, found {text[:60]!r}"
        raise InputError([Mistake(source="--longest", message=message)])
    return sizes


def _check_names(accelerators: tuple[str, ...]) -> None:
    from sky_melange.prices import known_accelerators

    known = known_accelerators()
    mistakes = [
        Mistake(source="ACCELERATOR", message=f"there is no {name!r}; there are: {', '.join(known)}")
        for name in accelerators
        if name not in known
    ]
    if mistakes:
        raise InputError(mistakes)


def _write(profiles: list[Profile], folder: Path) -> list[Path]:
    from sky_melange.cli.atomic_file import write_atomically
    from sky_melange.profiles.profile_json import profile_text

    files = {folder / _file_name(profile): profile for profile in profiles}
    _check_free(files)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, profile in files.items():
            write_atomically(path, profile_text(profile))
    except OSError as error:
        mistake = Mistake(source=str(error.filename or folder), message=f"cannot be written: {error.strerror}")
        raise InputError([mistake]) from error
    return list(files)


def _file_name(profile: Profile) -> str:
    key = profile.key
    model = re.sub(r"[^A-Za-z0-9._-]+", "--", key.model)
    return f"{model}-{key.accelerator}-tp{key.tensor_parallel}-{key.dtype}-{key.engine}-roofline.json"


def _check_free(files: Mapping[Path, Profile]) -> None:
    """Raises InputError for every file that would be replaced and is not an estimate of the same model and layout."""
    from sky_melange.profiles.profile_json import read_profile

    mistakes = []
    for path, profile in files.items():
        if not path.exists() and not path.is_symlink():
            continue
        try:
            found = read_profile(path)
            is_ours = (found.key, found.provenance.kind) == (profile.key, profile.provenance.kind)
        except InputError:
            is_ours = False
        if not is_ours:
            message = "is there and is not an estimate of this model and layout; move it, or choose another --out"
            mistakes.append(Mistake(source=str(path), message=message))
    if mistakes:
        raise InputError(mistakes)
