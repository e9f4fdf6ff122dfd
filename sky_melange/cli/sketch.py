"""The options from which `plan` and `init` make a workload when there is no workload.yaml yet."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sky_melange.cli.options import say_readings
from sky_melange.domain.workload import ANY_DTYPE, AUTO_DTYPE, CloudsFrom
from sky_melange.errors import InputError, Mistake
from sky_melange.render.workload_yaml import Sketch, sketch_yaml

if TYPE_CHECKING:
    from sky_melange.domain.workload import Workload
    from sky_melange.workload_file import Reading

_ROOM: Final = 4
"""Requests may be as much longer than those that are planned for."""

_TIME: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s)")
_MS: Final = {"ms": 1.0, "s": 1000.0}
_KEYS: Final = {
    "model": ("--model", "model.id"),
    "dtype": ("--dtype", "model.dtype"),
    "config": ("--config", "model.config"),
    "engine": ("--engine", "launch.engine"),
    "rate": ("--rate", "traffic.request_rate"),
    "requests_per_hour": ("--requests-per-hour", "traffic.requests_per_hour"),
    "requests_per_day": ("--requests-per-day", "traffic.requests_per_day"),
    "tokens_per_month": ("--tokens-per-month", "traffic.tokens_per_month"),
    "input_tokens": ("--input", "traffic.histogram.input_tokens"),
    "output_tokens": ("--output", "traffic.histogram.output_tokens"),
    "preset": ("--preset", "traffic.preset"),
    "ttft_ms": ("--ttft", "slo.ttft_ms"),
    "tpot_ms": ("--tpot", "slo.tpot_ms"),
    "clouds": ("--clouds", "candidates.clouds"),
    "accelerators": ("--accelerators", "candidates.accelerators"),
    "min_profile_kind": ("--min-profile-kind", "constraints.min_profile_kind"),
    "max_model_len": ("--max-model-len", "model.max_model_len"),
    "name": ("--name", "name"),
}
"""Option and key of workload.yaml by keyword."""


RATES: Final = ("rate", "requests_per_hour", "requests_per_day", "tokens_per_month")
"""Exactly one of these keywords says how many requests there are."""


class Milliseconds(click.ParamType):
    """A time with its unit: 500ms, 2s. A bare number is either, so it is neither."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """In milliseconds."""
        if isinstance(value, float):
            return value
        found = _TIME.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"want a time with its unit, such as 500ms or 2s, found {str(value)[:40]!r}", param, ctx)
        return float(found.group(1)) * _MS[found.group(2)]


config_option: Final = click.option(
    "--config", type=click.Path(path_type=Path), help="config.json of a model of your own, or its checkpoint's folder."
)


def path_from(home: Path | None, path: Path) -> str:
    """What a workload in `home` calls the path; absolute without a home."""
    return str(path.absolute()) if home is None else Path(os.path.relpath(path, home)).as_posix()


def sketch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a workload needs at least; `sketch` takes these keywords."""
    for option in reversed(
        [
            click.option("--model", help="Hugging Face id of the model."),
            click.option("--dtype", help="Type of the weights. Default: the checkpoint's own."),
            config_option,
            click.option("--engine", help="vllm, sglang, or any: whichever costs less.  [default: vllm]"),
            click.option("--rate", type=float, help="Requests per second to plan for."),
            click.option("--requests-per-hour", type=float, help="In place of --rate: spread evenly over the hour."),
            click.option("--requests-per-day", type=float, help="In place of --rate: spread evenly over the day."),
            click.option(
                "--tokens-per-month", type=float, help="In place of --rate: input and output tokens together."
            ),
            click.option("--input", "input_tokens", type=int, help="Input tokens of each request."),
            click.option("--output", "output_tokens", type=int, help="Output tokens of each request."),
            click.option("--preset", help="A trace's sizes and arrivals, in place of --input and --output."),
            click.option("--ttft", "ttft_ms", type=Milliseconds(), help="Target: time to the first token, such as 2s."),
            click.option("--tpot", "tpot_ms", type=Milliseconds(), help="Target: time per token after it."),
            click.option("--clouds", help="Clouds to consider, such as aws,gcp. Default: all."),
            click.option("--accelerators", help="GPUs to consider, such as L4,H100. Default: all."),
            click.option(
                "--min-profile-kind", help="The weakest throughput to plan with: measured, fitted, estimated."
            ),
            click.option("--max-model-len", type=int, help="Tokens of the longest request, input and output together."),
            click.option("--name", help="Prefix of what is launched.  [default: of the model]"),
        ]
    ):
        command = option(command)
    return command


def given_options(keywords: dict[str, Any]) -> list[str]:
    """Which of `sketch_options` were given, by their names."""
    return [_KEYS[keyword][0] for keyword, value in keywords.items() if value is not None]


def sketch(
    *,
    model: str | None,
    dtype: str | None,
    config: Path | None,
    engine: str | None,
    rate: float | None,
    requests_per_hour: float | None,
    requests_per_day: float | None,
    tokens_per_month: float | None,
    input_tokens: int | None,
    output_tokens: int | None,
    preset: str | None,
    ttft_ms: float | None,
    tpot_ms: float | None,
    clouds: str | None,
    accelerators: str | None,
    min_profile_kind: str | None,
    max_model_len: int | None,
    name: str | None,
    home: Path | None = None,
) -> str:
    """The text of the workload, which has been read back. Raises InputError with every mistake, by option.

    `home` is the folder in which the workload is to lie; None: any, so that paths in it are absolute.
    """
    counts = (rate, requests_per_hour, requests_per_day, tokens_per_month)
    rates = {key: count for key, count in zip(RATES, counts, strict=True) if count is not None}
    target_ms = ttft_ms if tpot_ms is None else tpot_ms
    mistakes = list(_mistakes(model, list(rates), target_ms, (input_tokens, output_tokens), preset))
    if mistakes or model is None:
        raise InputError(mistakes)
    if max_model_len is None and input_tokens is not None and output_tokens is not None:
        max_model_len = _ROOM * max(1, input_tokens + output_tokens)
    ((rate_key, count),) = rates.items()
    drawn = Sketch(
        name=_name_of(model) if name is None else name,
        model=model,
        dtype=dtype,
        config=None if config is None else str(config.absolute()),
        engine=engine,
        rate_key=_KEYS[rate_key][1].removeprefix("traffic."),
        rate=count,
        preset=preset,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        tpot_ms=tpot_ms,
        ttft_ms=ttft_ms,
        clouds=_listed(clouds),
        accelerators=_listed(accelerators),
        min_profile_kind=min_profile_kind,
        max_model_len=max_model_len,
    )
    workload = _read_back(sketch_yaml(drawn))
    candidates = workload.candidates
    is_stated = candidates.clouds_from is CloudsFrom.STATED
    return sketch_yaml(
        replace(
            drawn,
            config=None if config is None else path_from(home, config),
            dtype=dtype if dtype is None or dtype.casefold() in {AUTO_DTYPE, ANY_DTYPE} else workload.model.dtype,
            engine=None if engine is None else workload.launch.engine,
            clouds=(candidates.clouds or ("all",)) if is_stated else (),
            accelerators=candidates.accelerators or (),
        )
    )


def _mistakes(
    model: str | None,
    rates: Sequence[str],
    target_ms: float | None,
    sizes: tuple[int | None, int | None],
    preset: str | None,
) -> Iterator[Mistake]:
    """Options that are missing, and options that exclude each other."""
    for option, value, example in (
        ("--model", model, "--model meta-llama/Llama-3.1-8B-Instruct"),
        ("--rate", rates or None, "--rate 10, requests per second"),
        ("--ttft or --tpot", target_ms, "--ttft 2s --tpot 50ms"),
    ):
        if value is None:
            yield Mistake(source=option, message=f"is needed: {example}")
    for other in rates[1:]:
        message = f"cannot be combined with {_KEYS[rates[0]][0]}; use one of them"
        yield Mistake(source=_KEYS[other][0], message=message)
    if preset is None and None in sizes:
        message = "say how long requests are: --input 1000 --output 200, or --preset azure-conversation-2023"
        yield Mistake(source="--input and --output", message=message)
    if preset is not None and sizes != (None, None):
        yield Mistake(source="--preset", message="has sizes of its own: leave out --input and --output")


def _listed(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(part.strip() for part in text.split(","))


def _name_of(model: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", model.rsplit("/", 1)[-1].lower())[:30].strip("-")
    return name if name[:1].isalpha() else f"model-{name}".strip("-")


def _read_back(text: str) -> Workload:
    """The workload, and on stderr which options were not read as they are spelled."""
    from sky_melange import pipeline

    def tell(readings: Sequence[Reading]) -> None:
        say_readings([f"{_option(reading.key)}: {reading.sentence}" for reading in readings])

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.yaml"
        path.write_text(text, encoding="utf-8", newline="\n")
        try:
            return pipeline.read(path, tell=tell)
        except InputError as error:
            raise InputError(
                [
                    # What another file says, such as the model's config, is told as it stands.
                    Mistake(source=_option(item.key), message=item.message) if item.source == str(path) else item
                    for item in error.mistakes
                ]
            ) from None


def _option(key: str) -> str:
    found = (option for option, own in _KEYS.values() if key == own or key.startswith((f"{own}[", f"{own}.")))
    return next(found, key or "options")
