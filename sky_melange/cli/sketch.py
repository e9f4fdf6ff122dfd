"""The options from which `plan` and `init` make a workload when there is no workload.yaml yet."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from sky_melange.errors import InputError, Mistake
from sky_melange.render.workload_yaml import Sketch, sketch_yaml

_ROOM: Final = 4
"""Requests may be as much longer than those that are planned for."""

_TIME: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s)")
_MS: Final = {"ms": 1.0, "s": 1000.0}
_KEYS: Final = {
    "model": ("--model", "model.id"),
    "dtype": ("--dtype", "model.dtype"),
    "engine": ("--engine", "launch.engine"),
    "rate": ("--rate", "traffic.request_rate"),
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


def sketch_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What a workload needs at least; `sketch` takes these keywords."""
    for option in reversed(
        [
            click.option("--model", help="Hugging Face id of the model."),
            click.option("--dtype", help="Type of the weights. Default: the checkpoint's own."),
            click.option("--engine", help="vllm, sglang, or any: whichever costs less.  [default: vllm]"),
            click.option("--rate", type=float, help="Requests per second to plan for."),
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
    engine: str | None,
    rate: float | None,
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
) -> str:
    """The text of the workload, which has been read back. Raises InputError with every mistake, by option."""
    mistakes = [
        Mistake(source=option, message=f"is needed: {example}")
        for option, value, example in (
            ("--model", model, "--model meta-llama/Llama-3.1-8B-Instruct"),
            ("--rate", rate, "--rate 10, requests per second"),
            ("--ttft or --tpot", ttft_ms if tpot_ms is None else tpot_ms, "--ttft 2s --tpot 50ms"),
        )
        if value is None
    ]
    sizes = (input_tokens, output_tokens)
    if preset is None and None in sizes:
        message = "say how long requests are: --input 1000 --output 200, or --preset azure-conversation-2023"
        mistakes.append(Mistake(source="--input and --output", message=message))
    if preset is not None and sizes != (None, None):
        mistakes.append(Mistake(source="--preset", message="has sizes of its own: leave out --input and --output"))
    if mistakes or model is None or rate is None:
        raise InputError(mistakes)
    if max_model_len is None and input_tokens is not None and output_tokens is not None:
        max_model_len = _ROOM * max(1, input_tokens + output_tokens)
    text = sketch_yaml(
        Sketch(
            name=_name_of(model) if name is None else name,
            model=model,
            dtype=dtype,
            engine=engine,
            request_rate_rps=rate,
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
    )
    _read_back(text)
    return text


def _listed(text: str | None) -> tuple[str, ...]:
    return () if text is None else tuple(part.strip() for part in text.split(","))


def _name_of(model: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", model.rsplit("/", 1)[-1].lower())[:30].strip("-")
    return name if name[:1].isalpha() else f"model-{name}".strip("-")


def _read_back(text: str) -> None:
    from sky_melange import pipeline

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.yaml"
        path.write_text(text, encoding="utf-8", newline="\n")
        try:
            pipeline.read(path)
        except InputError as error:
            raise InputError([Mistake(source=_option(item), message=item.message) for item in error.mistakes]) from None


def _option(mistake: Mistake) -> str:
    key = mistake.key or ""
    found = (option for option, own in _KEYS.values() if key == own or key.startswith((f"{own}[", f"{own}.")))
    return next(found, key or "options")
