"""Options that several commands share."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from sky_melange.domain.trace import LogColumns, TimeUnit, TraceOptions
from sky_melange.errors import InputError, Mistake

_MOST_READINGS: Final = 5
_NARROWEST: Final = 40
_WIDEST: Final = 120

_ROLES = ("input", "output", "time", "bytes")

format_option = click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Table for people, JSON for programs.",
)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a request log is read; `trace_options` takes these keywords."""
    for option in reversed(
        [
            click.option(
                "--columns", help="Columns of an unknown format: input=NAME,output=NAME[,time=NAME][,bytes=NAME]."
            ),
            click.option("--where", help="Count only these rows, such as \"model = 'llama' AND status <> 'failure'\"."),
            click.option("--model-column", help="The column that names the model; a log of several asks for --where."),
            click.option(
                "--time-unit", type=click.Choice([unit.value for unit in TimeUnit]), help="Unit of numbers in time."
            ),
            click.option("--since", help="Count requests from this time on: 2026-05-01T09:00Z, or seconds."),
            click.option("--until", help="Count requests before this time."),
        ]
    ):
        command = option(command)
    return command


def trace_options(
    *,
    columns: str | None,
    where: str | None,
    model_column: str | None,
    time_unit: str | None,
    since: str | None,
    until: str | None,
) -> TraceOptions:
    """What `reading_options` say. Raises InputError with every mistake."""
    mistakes: list[Mistake] = []
    found = None if columns is None else _columns(columns, mistakes)
    since_s = None if since is None else _second("--since", since, mistakes)
    until_s = None if until is None else _second("--until", until, mistakes)
    if since_s is not None and until_s is not None and since_s >= until_s:
        mistakes.append(Mistake(source="--until", message="must be later than --since"))
    if mistakes:
        raise InputError(mistakes)
    return TraceOptions(
        columns=found,
        where=where,
        model_column=model_column,
        time_unit=None if time_unit is None else TimeUnit(time_unit),
        since_s=since_s,
        until_s=until_s,
    )


def _columns(text: str, mistakes: list[Mistake]) -> LogColumns | None:
    """`input=a,output=b,time=c`."""
    parts = [part.partition("=") for part in text.split(",")]
    found = {role.strip(): name.strip() for role, _, name in parts}
    wrong = [role for role in found if role not in _ROLES or not found[role]]
    if wrong or len(parts) != len(found) or not {"input", "output"} <= set(found):
        message = (
            f"want input=NAME,output=NAME,time=NAME,bytes=NAME (time and bytes may be left out), found {text[:100]!r}"
        )
        mistakes.append(Mistake(source="--columns", message=message))
        return None
    return LogColumns(input=found["input"], output=found["output"], time=found.get("time"), bytes=found.get("bytes"))


def _second(option: str, text: str, mistakes: list[Mistake]) -> int | None:
    """A date, in UTC where it names no zone, as seconds since 1970; or seconds, of a log that counts from its start."""
    if text.isdecimal() and len(text) <= 12:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"want a date and time such as 2026-05-01T09:00Z, or seconds, found {text[:40]!r}"
        mistakes.append(Mistake(source=option, message=message))
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def use_color() -> bool:
    """Colour only on a terminal, and never with NO_COLOR set (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def terminal_width() -> int:
    """Columns of the terminal that stdout is, within what tables have room for; files are as wide everywhere."""
    # Rich takes longer to import than `--help` to print.
    from sky_melange.render.text import WIDTH

    if not sys.stdout.isatty():
        return WIDTH
    return min(max(shutil.get_terminal_size((WIDTH, 24)).columns, _NARROWEST), _WIDEST)


def is_ci() -> bool:
    """Whether this is a CI job: GitHub, GitLab and others set CI=true."""
    return os.environ.get("CI", "").strip().lower() in ("true", "1")


def say_readings(readings: Sequence[object]) -> None:
    """Says on stderr what is not read as it is spelled, the first of it."""
    for reading in readings[:_MOST_READINGS]:
        click.echo(f"Note: {reading}", err=True)
    if len(readings) > _MOST_READINGS:
        click.echo(f"Note: {len(readings) - _MOST_READINGS:,} more are read likewise", err=True)
