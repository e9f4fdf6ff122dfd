"""`sky-melange profiles measure --emit-sky`: writes the SkyPilot jobs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sky_melange import __version__
from sky_melange.cli.atomic_file import write_atomically
from sky_melange.cli.measure_options import concurrency_list, name_and_value, shape_grid, slo_of, unknown_accelerator
from sky_melange.errors import InputError, Mistake

if TYPE_CHECKING:
    from sky_melange.profiles.measure import Shape
    from sky_melange.render.measure_yaml import MeasureJob

_CANDIDATE: Final = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]{0,60})(?::(?P<count>[1-9]\d{0,2}))?")
_SECRET: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_MODEL: Final = re.compile(r"[\w./-]{1,200}")
_INFRA: Final = re.compile(r"[a-z0-9]+(/[\w.*-]+){0,2}")
_CHAT_TEMPLATE_TOKENS: Final = 256
"""Room in the context for what a chat template adds, and for prompts a little over their wanted length."""

_PASSED_ON: Final = ("grid", "concurrency", "tpot_ms", "ttft_ms", "ntpot_ms")
_PASSED_ON_IF_CHANGED: Final = {
    "api": "completions",
    "min_requests": 12,
    "rounds": 2.0,
    "stall_timeout_s": 60.0,
    "level_limit_s": 900.0,
    "seed": 0,
}


def emit(options: Mapping[str, Any]) -> None:
    """Writes the jobs and their script into the folder. Raises InputError with every mistake of the options."""
    from sky_melange.render import measure_yaml

    folder: Path = options["emit_sky"]
    mistakes: list[Mistake] = []
    jobs = _jobs(options, mistakes)
    wheel = _wheel(options["package"], mistakes)
    if mistakes:
        raise InputError(mistakes)
    files = measure_yaml.render(jobs)
    _write(folder, files, wheel)
    click.echo(f"Wrote {folder}: {len(jobs)} SkyPilot job{'s' if len(jobs) != 1 else ''}. Next:", err=True)
    click.echo(f"  bash {folder / measure_yaml.SCRIPT}", err=True)
    click.echo("It rents the machines one after the other, and leaves the profiles in profiles/ beside it.", err=True)


def _jobs(options: Mapping[str, Any], mistakes: list[Mistake]) -> list[MeasureJob]:
    from sky_melange.domain.workload import Model
    from sky_melange.profiles.checkpoint import resolved
    from sky_melange.profiles.loading import disk_gb
    from sky_melange.render.measure_yaml import DTYPES, MeasureJob

    shapes = shape_grid(options["grid"], mistakes)
    concurrencies = concurrency_list(options["concurrency"], mistakes)
    slo_of(options, mistakes)
    engine_args = name_and_value(options["engine_args"], "--engine-arg", mistakes)
    _check(options, DTYPES, mistakes)
    candidates = _candidates(options["candidates"], mistakes)
    if mistakes:
        return []
    try:
        model = resolved(Model(id=options["model"], dtype=options["dtype"]), Path("--dtype"))
    except InputError as error:
        mistakes += error.mistakes
        return []
    package = options["package"] or f"sky-melange=={__version__}"
    return [
        MeasureJob(
            model=options["model"],
            accelerator=accelerator,
            count=count,
            dtype=options["dtype"],
            max_model_len=_longest(shapes) + _CHAT_TEMPLATE_TOKENS,
            max_num_seqs=concurrencies[-1],
            package=package,
            wheel=Path(package).name if package.endswith(".whl") else None,
            measure_options=_passed_on(options),
            engine_args=engine_args,
            secrets=tuple(options["secrets"]),
            infra=options["infra"],
            is_quantized=model.quantization is not None,
            disk_gb=disk_gb(model),
        )
        for accelerator, count in candidates
    ]


def _check(options: Mapping[str, Any], dtypes: tuple[str, ...], mistakes: list[Mistake]) -> None:
    if options["dtype"] not in dtypes:
        mistakes.append(Mistake(source="--dtype", message=f"want one of {', '.join(dtypes)} with --emit-sky"))
    if options["engine"] != "vllm":
        mistakes.append(Mistake(source="--engine", message="want vllm with --emit-sky: it is what the jobs start"))
    checks = (("--model", _MODEL, options["model"]), ("--infra", _INFRA, options["infra"]))
    for option, pattern, text in (*checks, *(("--secret", _SECRET, name) for name in options["secrets"])):
        if text is not None and not pattern.fullmatch(text):
            mistakes.append(Mistake(source=option, message=f"{text[:80]!r} cannot be right"))
    given = [
        name
        for name in (
            "endpoint",
            "out",
            "accelerator",
            "api_key_env",
            "served_model",
            "engine_version",
            "kv_cache_tokens",
            "restart",
        )
        if options[name]
    ]
    mistakes += [
        Mistake(source=f"--{name.replace('_', '-')}", message="has no use with --emit-sky; the jobs set it")
        for name in given
    ]


def _candidates(texts: tuple[str, ...], mistakes: list[Mistake]) -> list[tuple[str, int]]:
    """`L40S:2` -> ("L40S", 2)."""
    found: list[tuple[str, int]] = []
    if not texts:
        mistakes.append(Mistake(source="--candidate", message="is needed with --emit-sky, such as --candidate L40S:2"))
    for text in texts:
        match = _CANDIDATE.fullmatch(text)
        if match is None:
            mistakes.append(Mistake(source="--candidate", message=f"want GPU or GPU:COUNT, found {text[:80]!r}"))
            continue
        candidate = (match["name"], int(match["count"] or 1))
        unknown = unknown_accelerator(candidate[0])
        if unknown is not None:
            mistakes.append(Mistake(source="--candidate", message=unknown))
        elif candidate in found:
            mistakes.append(Mistake(source="--candidate", message=f"{text} is given twice"))
        found.append(candidate)
    return found


def _longest(shapes: tuple[Shape, ...]) -> int:
    return max(shape.input_tokens + shape.output_tokens for shape in shapes)


def _passed_on(options: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The options that the job's own `measure` gets as they are."""
    names = [name for name in _PASSED_ON if options[name] is not None]
    names += [name for name, default in _PASSED_ON_IF_CHANGED.items() if options[name] != default]
    return tuple((f"--{name.replace('_', '-')}", _text(options[name])) for name in names)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _wheel(package: str | None, mistakes: list[Mistake]) -> Path | None:
    if package is None or not package.endswith(".whl"):
        return None
    path = Path(package)
    if not path.is_file():
        mistakes.append(Mistake(source="--package", message=f"there is no wheel {package}"))
    return path


def _write(folder: Path, files: Mapping[str, str], wheel: Path | None) -> None:
    """Each file wholly or not at all; files of other names in the folder are left alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if wheel is not None and wheel.resolve() != (folder / wheel.name).resolve():
            shutil.copyfile(wheel, folder / wheel.name)
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}"
        raise InputError([Mistake(source=str(folder), message=message)]) from None
    for name, text in files.items():
        write_atomically(folder / name, text)
