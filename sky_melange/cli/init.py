"""`sky-melange init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click

from sky_melange.cli.atomic_file import write_new
from sky_melange.cli.sketch import RATES, Milliseconds, sketch, sketch_options

_QUESTIONS: Final[tuple[tuple[str, str, Any, Any], ...]] = (
    ("model", "Which model (its Hugging Face id)?", str, None),
    ("rate", "How many requests per second in the busiest minutes?", float, None),
    ("input_tokens", "  How many input tokens has a request?", int, 1000),
    ("output_tokens", "  How many output tokens?", int, 200),
    ("ttft_ms", "How long may the first token take?", Milliseconds(), "2s"),
    ("tpot_ms", "  And each token after it?", Milliseconds(), "50ms"),
)


@click.command(
    name="init",
    epilog="Example: sky-melange init --model Qwen/Qwen3-32B --rate 5 --input 1000 --output 300 --ttft 2s --tpot 50ms",
)
@click.option(
    "--output-file",
    "-o",
    type=click.Path(path_type=Path),
    default=Path("workload.yaml"),
    show_default=True,
    help="Where the workload is written.",
)
@click.option("--force", is_flag=True, help="Replace an --output-file that says something else.")
@sketch_options
def command(*, output_file: Path, force: bool, **options: Any) -> None:
    """Write a workload.yaml, with comments, from a few answers.

    On a terminal it asks for what the options leave out: the model, the traffic, the targets. With a log of requests,
    `sky-melange workload from-trace` counts the traffic.
    """
    if sys.stdin.isatty() and sys.stdout.isatty():
        options = _answered(options)
    write_new(output_file, sketch(**options, home=output_file.parent), force=force)
    click.echo(f"Wrote {output_file}. Next:\n  sky-melange plan {output_file}", err=True)


def _answered(options: dict[str, Any]) -> dict[str, Any]:
    """The options with answers for those that were not given."""
    answers = dict(options)
    has_target = options["ttft_ms"] is not None or options["tpot_ms"] is not None
    for key, question, kind, default in _QUESTIONS:
        is_answered = options["preset"] is not None if key.endswith("_tokens") else key.endswith("_ms") and has_target
        is_counted = key == "rate" and any(options[other] is not None for other in RATES)
        if answers[key] is not None or is_answered or is_counted:
            continue
        answers[key] = click.prompt(question, type=kind, default=default)
    return answers
