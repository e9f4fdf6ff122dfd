"""`sky-melange check`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sky_melange.cli.atomic_file import write_atomically
from sky_melange.cli.options import use_color
from sky_melange.errors import CheckFailedError, InputError, Mistake, PriceSourceError

if TYPE_CHECKING:
    from sky_melange.domain.check import CheckReport
    from sky_melange.domain.offer import PriceBook
    from sky_melange.domain.workload import Workload
    from sky_melange.gate import Limits
    from sky_melange.plan_file import PlanDocument

FORMATS = ("table", "json", "markdown", "junit", "github")


@click.command(
    name="check", epilog="Example: sky-melange check plan/plan.json --budget 12 --max-drift 10 --format github"
)
@click.argument("plan", type=click.Path(path_type=Path))
@click.option("--workload", type=click.Path(path_type=Path), help="Check against this workload, not the planned one.")
@click.option("--policy", type=click.Path(path_type=Path), help="Rules to hold the plan against: a policy.yaml.")
@click.option("--budget", type=float, help="The most in USD per hour; overrides that of the workload.")
@click.option("--monthly-budget", type=float, help="The most in USD per month of 730 hours; overrides the workload's.")
@click.option("--max-drift", type=float, help="Solve again, and fail when a plan is more than this percentage cheaper.")
@click.option("--max-age-hours", type=float, help="Fail (exit 6) when a price used is older; overrides the workload's.")
@click.option("--offline", is_flag=True, help="Use no network: cached prices, else those embedded in this release.")
@click.option("--format", "output_format", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option(
    "--write", "writes", multiple=True, metavar="FORMAT=FILE", help="Also write the report there; repeatable."
)
def command(
    *,
    plan: Path,
    workload: Path | None,
    policy: Path | None,
    budget: float | None,
    monthly_budget: float | None,
    max_drift: float | None,
    max_age_hours: float | None,
    offline: bool,
    output_format: str,
    writes: tuple[str, ...],
) -> None:
    """Check PLAN (a committed plan.json) against today's prices, its workload, its files, a budget and a policy.

    Every group is priced anew without solving again. Exit code 3 when a check fails, 6 when the prices at hand are
    older than --max-age-hours, 2 when a file cannot be read. The report is printed in either case.
    """
    from sky_melange.render.check_report import CHECK_FORMATS, table

    limits = _limits(budget, monthly_budget, max_drift, max_age_hours)
    targets = write_targets(writes)
    report = report_of(plan, workload, policy, limits, offline=offline)
    for warning in report.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if output_format == "table":
        click.echo(table.render(report, color=use_color()), nl=False)
    else:
        click.echo(CHECK_FORMATS[output_format](report), nl=False)
    for kind, path in targets:
        write_atomically(path, CHECK_FORMATS[kind](report))
    raise_failed(report, is_explained=output_format == "table")


def write_targets(writes: Sequence[str]) -> list[tuple[str, Path]]:
    """`junit=report.xml` -> (format, path). Raises InputError, with every mistake."""
    found: list[tuple[str, Path]] = []
    mistakes: list[Mistake] = []
    for text in writes:
        kind, _, name = text.partition("=")
        path = Path(name)
        if kind not in FORMATS or not name:
            message = f"want FORMAT=FILE with one of {', '.join(FORMATS)}, found {text!r}"
            mistakes.append(Mistake(source="--write", message=message))
        elif not path.parent.is_dir() or path.is_dir():
            mistakes.append(Mistake(source="--write", message=f"{name} is no file in a folder that exists"))
        else:
            found.append((kind, path))
    if mistakes:
        raise InputError(mistakes)
    return found


def _limits(
    budget: float | None, monthly_budget: float | None, max_drift: float | None, max_age_hours: float | None
) -> Limits:
    from sky_melange.gate import Limits

    mistakes = [
        Mistake(source=option, message=f"want a number {wanted}, found {value:g}")
        for option, value, wanted, least in (
            ("--budget", budget, "above 0", 5e-324),
            ("--monthly-budget", monthly_budget, "above 0", 5e-324),
            ("--max-drift", max_drift, "of percent, not negative", 0.0),
            ("--max-age-hours", max_age_hours, "of hours, not negative", 0.0),
        )
        if value is not None and not (math.isfinite(value) and value >= least)
    ]
    if mistakes:
        raise InputError(mistakes)
    return Limits(
        usd_per_hour=budget,
        usd_per_month=monthly_budget,
        max_age_hours=max_age_hours,
        max_drift_fraction=None if max_drift is None else max_drift / 100,
    )


def report_of(plan: Path, workload: Path | None, policy: Path | None, limits: Limits, *, offline: bool) -> CheckReport:
    """A plan folder, or its plan.json, against today's prices. Raises InputError or its kin for bad input."""
    from sky_melange import pipeline
    from sky_melange.cli.price_site import utc_now
    from sky_melange.gate import Asked, Files, Today, check_plan, files_of
    from sky_melange.plan_file import read_files_beside, read_plan
    from sky_melange.prices import known_accelerators, launchable_clouds
    from sky_melange.workload_file import read_policy

    document = read_plan(plan)
    if workload is None:
        _require_self_contained(document)
    wanted = document.workload if workload is None else pipeline.read(workload)
    rules = (
        None
        if policy is None
        else read_policy(policy, known_accelerators=known_accelerators(), known_clouds=launchable_clouds())
    )
    expected = files_of(document)
    files = Files(expected=expected, found=read_files_beside(document.path, expected))
    book = _book(wanted, offline=offline)
    folder = (workload or document.path).parent
    today = Today(book=book, profiles=pipeline.profiles_for(wanted, book, folder), now=utc_now())
    warnings = [*_warnings(document, book), *_workload_warning(document, workload, wanted)]
    return check_plan(document, files, today, Asked(workload=wanted, limits=limits, policy=rules), warnings)


def _require_self_contained(document: PlanDocument) -> None:
    """A plan made with files beside its workload can only be checked where those are."""
    asked = document.workload
    files = [*asked.profiles.files, *([] if asked.prices.overrides is None else [asked.prices.overrides])]
    if files:
        message = f"was made with files beside its workload ({', '.join(map(str, files))}); give --workload"
        raise InputError([Mistake(source=str(document.path), message=message)])


def _book(workload: Workload, *, offline: bool) -> PriceBook:
    """Today's prices. How old they may be is a check of its own here, so that the report shows it."""
    from sky_melange.cli.price_site import price_site, utc_now
    from sky_melange.prices import current_book

    policy = replace(workload.prices, max_age_hours=None)
    return current_book(policy, site=price_site(), now=utc_now(), offline=offline)


def _warnings(document: PlanDocument, book: PriceBook) -> list[str]:
    """What went wrong with the prices of the plan's clouds."""
    from sky_melange.cli.price_site import utc_now
    from sky_melange.prices import warnings_of

    used = {
        "",
        *(group.cloud for group in document.plan.groups),
        *(machine.cloud for machine in document.plan.overhead),
    }
    states = tuple(state for state in book.states if state.cloud in used)
    return list(warnings_of(replace(book, states=states), utc_now()))


def _workload_warning(document: PlanDocument, path: Path | None, wanted: Workload) -> list[str]:
    from sky_melange import pipeline

    if path is None or pipeline.workload_digest(path, wanted) == document.plan.inputs.workload:
        return []
    return [f"{path} is not the file that the plan was made from; the plan is checked against it as it is now."]


def raise_failed(report: CheckReport, *, is_explained: bool) -> None:
    """Raises CheckFailedError, or PriceSourceError when it is the prices that are too old, if any check failed.

    `is_explained`: the details were just shown to a person; they are not said twice.
    """
    from sky_melange.render.check_report.words import explanation, sentence

    if not report.failed:
        return
    lines = [f"{len(report.failed)} checks failed:" if len(report.failed) > 1 else "a check failed:"]
    for check in report.failed:
        lines.append(f"  {check.name}: {sentence(check)}")
        lines += [] if is_explained else [f"    {line}" for line in explanation(report, check)]
    kind = PriceSourceError if any(check.name == "prices-fresh" for check in report.failed) else CheckFailedError
    raise kind("\n".join(lines))
