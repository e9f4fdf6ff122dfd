"""Options of bills, which `check`, `plan` and `report` share: a period, and a bill against a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import click

from sky_melange.cli.atomic_file import write_atomically
from sky_melange.cli.options import use_color
from sky_melange.errors import CheckFailedError, InputError, Mistake
from sky_melange.extensions import BILL_FORMATS

DEFAULT_COST: Final = "EffectiveCost"

period_option = click.option(
    "--period",
    metavar="FROM/TO",
    help="With focus-csv: the time that is charged for, such as 2026-07-01/2026-08-01 in UTC; else one hour.",
)


def bill_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """A bill against the plan; `given` and `check_bill` take these keywords."""
    for option in reversed(
        [
            click.option(
                "--billed",
                multiple=True,
                type=click.Path(path_type=Path),
                help="Check against this bill only: FOCUS (CSV, Parquet) or OpenCost (JSON, CSV); repeatable.",
            ),
            click.option("--from", "start", metavar="TIME", help="With --billed: when the plan began to run, UTC."),
            click.option("--until", "end", metavar="TIME", help="With --billed: when it ended."),
            click.option(
                "--max-difference",
                metavar="USD|%",
                help="With --billed: fail when a difference is larger than 250 or 5%.",
            ),
            click.option(
                "--cost-column", metavar="NAME", help=f"With --billed: the column of FOCUS.  [default: {DEFAULT_COST}]"
            ),
            click.option(
                "--billing-account",
                "accounts",
                multiple=True,
                metavar="ID",
                help="With --billed: only its rows; repeatable.",
            ),
            click.option(
                "--ignore-others",
                is_flag=True,
                help="With --billed: rows of neither the plan nor SkyPilot do not count.",
            ),
        ]
    ):
        command = option(command)
    return command


def parse_period(text: str | None) -> tuple[int, int] | None:
    """`FROM/TO` as seconds since 1970. Raises InputError."""
    if text is None:
        return None
    start, _, end = text.partition("/")
    found = (_moment("--period", start), _moment("--period", end))
    if found[1] <= found[0]:
        raise InputError([Mistake(source="--period", message=f"must end after it begins, found {text[:60]!r}")])
    return found


def require_period_format(period: str | None, output_format: str, option: str = "--format") -> None:
    """Raises InputError where a period goes with nothing."""
    if period is not None and output_format != "focus-csv":
        raise InputError([Mistake(source="--period", message=f"only valid together with {option} focus-csv")])


def check_bill(
    plan: Path, options: dict[str, Any], *, others: Sequence[str], output_format: str, writes: Sequence[str]
) -> None:
    """Prints planned against billed. Raises CheckFailedError beyond --max-difference.

    `others`: options that were given and have no meaning here.
    """
    from sky_melange.api import check_bill as compared
    from sky_melange.cli.check import write_targets
    from sky_melange.render import bill_report

    mistakes = [Mistake(source=name, message="cannot be combined with --billed: run it without") for name in others]
    if output_format not in BILL_FORMATS:
        message = f"want one of {', '.join(BILL_FORMATS)} with --billed, found {output_format}"
        mistakes.append(Mistake(source="--format", message=message))
    if mistakes:
        raise InputError(mistakes)
    targets = write_targets(writes, BILL_FORMATS)
    start, end = options["start"], options["end"]
    report = compared(
        plan,
        options["billed"],
        start_s=None if start is None else _moment("--from", start),
        end_s=None if end is None else _moment("--until", end),
        max_difference=options["max_difference"],
        cost_column=options["cost_column"] or DEFAULT_COST,
        billing_accounts=options["accounts"],
        ignore_others=options["ignore_others"],
    )
    for warning in report.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if output_format == "table":
        click.echo(bill_report.table(report, color=use_color()), nl=False)
    else:
        click.echo(BILL_FORMATS[output_format](report), nl=False)
    for kind, path in targets:
        write_atomically(path, BILL_FORMATS[kind](report))
    if report.is_failed:
        raise CheckFailedError(f"a check failed:\n  bill: {bill_report.verdict(report)}")


def require_billed(options: dict[str, Any]) -> None:
    """Raises InputError for options that go with --billed alone."""
    names = {
        "--from": options["start"],
        "--until": options["end"],
        "--max-difference": options["max_difference"],
        "--cost-column": options["cost_column"],
        "--billing-account": options["accounts"],
        "--ignore-others": options["ignore_others"],
    }
    mistakes = [
        Mistake(source=name, message="only valid together with --billed FILE") for name, value in names.items() if value
    ]
    if mistakes:
        raise InputError(mistakes)


def _moment(option: str, text: str) -> int:
    from sky_melange.bills.rows import to_seconds

    found = to_seconds(text.strip())
    if found is None:
        message = f"want a date or time such as 2026-07-01 or 2026-07-01T09:00Z, found {text[:60]!r}"
        raise InputError([Mistake(source=option, message=message)])
    return found
