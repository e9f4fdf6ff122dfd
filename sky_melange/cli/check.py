"""`sky-melange check`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sky_melange.cli.atomic_file import write_atomically
from sky_melange.cli.bill_options import bill_options, check_bill, require_billed
from sky_melange.cli.fleet import raise_of_all
from sky_melange.cli.options import is_ci, use_color
from sky_melange.errors import CheckFailedError, InputError, Mistake, PriceSourceError, SkyMelangeError
from sky_melange.extensions import CHECK_FORMATS

if TYPE_CHECKING:
    from sky_melange.check.report import Limits
    from sky_melange.domain.check import Check, CheckReport


@click.command(
    name="check", epilog="Example: sky-melange check plan/plan.json --budget 12 --max-drift 10 --format github"
)
@click.argument("plan", type=click.Path(path_type=Path))
@click.option(
    "--workload", type=click.Path(path_type=Path), help="Check against this workload; else the plan's own is found."
)
@click.option(
    "--base",
    type=click.Path(path_type=Path),
    help="Also say what changed against this plan, as that of the base branch.",
)
@click.option("--policy", type=click.Path(path_type=Path), help="Rules to hold the plan against: a policy.yaml.")
@click.option("--budget", type=float, help="The most in USD per hour; overrides that of the workload.")
@click.option("--monthly-budget", type=float, help="The most in USD per month of 730 hours; overrides the workload's.")
@click.option("--max-drift", type=float, help="Solve again, and fail when a plan is more than this percentage cheaper.")
@click.option(
    "--max-age-hours",
    "--max-age",
    type=float,
    help="Fail (exit 6) when a price used is older; overrides the workload's. With CI=true the default is 72.",
)
@click.option(
    "--offline", is_flag=True, help="Use no network and old prices: the last good copies, else those embedded here."
)
@click.option("--format", "output_format", type=click.Choice(list(CHECK_FORMATS)), default="table", show_default=True)
@click.option(
    "--write", "writes", multiple=True, metavar="FORMAT=FILE", help="Also write the report there; repeatable."
)
@bill_options
def command(
    *,
    plan: Path,
    workload: Path | None,
    base: Path | None,
    policy: Path | None,
    budget: float | None,
    monthly_budget: float | None,
    max_drift: float | None,
    max_age_hours: float | None,
    offline: bool,
    output_format: str,
    writes: tuple[str, ...],
    **bill: Any,
) -> None:
    """Check PLAN (a committed plan.json) against today's prices, its workload, its files, a budget and a policy.

    Every group is priced anew without solving again. Exit code 3 when a check fails, 2 when a file cannot be read, 6
    when prices are older than --max-age-hours, a cloud of the plan or of candidates.clouds has none, or no source
    confirms prices that are older than 72 hours (--offline uses them). The report is printed in either case.

    With --billed, PLAN is compared with a bill, and nothing else is checked: planned, billed, the difference by cause.
    """
    if bill["billed"]:
        values = {
            "--workload": workload,
            "--base": base,
            "--policy": policy,
            "--budget": budget,
            "--monthly-budget": monthly_budget,
            "--max-drift": max_drift,
            "--max-age-hours": max_age_hours,
        }
        others = [name for name, value in values.items() if value is not None]
        check_bill(plan, bill, others=others, output_format=output_format, writes=writes)
        return
    require_billed(bill)
    from sky_melange.api import check
    from sky_melange.check.checks import UNCONFIRMED_HOURS
    from sky_melange.plan_file.fleet import is_fleet_folder
    from sky_melange.render.check_report import render_table

    limits = _limits(budget, monthly_budget, max_drift, max_age_hours)
    targets = write_targets(writes, CHECK_FORMATS)

    def checked(path: Path) -> CheckReport:
        return check(
            path,
            workload=workload,
            base=base,
            policy=policy,
            max_usd_per_hour=limits.usd_per_hour,
            max_usd_per_month=limits.usd_per_month,
            max_age_hours=limits.max_age_hours,
            max_drift_fraction=limits.max_drift_fraction,
            default_max_age_hours=UNCONFIRMED_HOURS if is_ci() and not offline else None,
            offline=offline,
        )

    if is_fleet_folder(plan):
        given = {"--workload": workload, "--base": base, "--budget": budget, "--monthly-budget": monthly_budget}
        given["--max-drift"] = max_drift
        said = [name for name, value in {**given, "--write": writes}.items() if value]
        if said or output_format not in {"table", "json"}:
            message = f"{', '.join(said) or f'--format {output_format}'}: of one plan; a fleet's are in its folders"
            raise InputError([Mistake(source=str(plan), message=message)])
        check_fleet(plan, checked, output_format=output_format)
        return
    report = checked(plan)
    for warning in report.warnings:
        click.echo(f"Warning: {warning}", err=True)
    if output_format == "table":
        click.echo(render_table(report, color=use_color()), nl=False)
    else:
        click.echo(CHECK_FORMATS[output_format](report), nl=False)
    for kind, path in targets:
        write_atomically(path, CHECK_FORMATS[kind](report))
    raise_failed(report, is_explained=output_format == "table")


def check_fleet(folder: Path, checked: Callable[[Path], CheckReport], *, output_format: str) -> None:
    """Each plan of a fleet, then what they share; prints all of it. Raises what `raise_failed` does, of all."""
    import json

    from sky_melange.domain.check import Verdict
    from sky_melange.render import check_words
    from sky_melange.render.check_report import document, render_table
    from sky_melange.render.text import verdict_table

    errors, (name, reports, checks) = fleet_errors(folder, checked, is_explained=output_format == "table")
    for report in reports:
        for warning in report.warnings:
            click.echo(f"Warning: {report.plan_name}: {warning}", err=True)
    if output_format == "json":
        found = {report.plan_name: document(report) for report in reports}
        of_all = [{**dataclasses.asdict(check), "details": list(check.details)} for check in checks]
        click.echo(json.dumps({"fleet": name, "checks": of_all, "plans": found}, indent=2, ensure_ascii=False))
    else:
        for report in reports:
            click.echo(render_table(report, color=use_color()))
        rows = [
            (
                name,
                check.name,
                check.verdict is not Verdict.FAIL,
                f"{'skipped, ' if check.verdict is Verdict.SKIPPED else ''}{check_words.figure(check)}: {check.says}",
            )
            for check in checks
        ]
        click.echo(verdict_table(rows, color=use_color()), nl=False)
    raise_of_all(errors)


def fleet_errors(
    folder: Path, checked: Callable[[Path], CheckReport], *, is_explained: bool = False
) -> tuple[list[tuple[str, SkyMelangeError]], tuple[str, list[CheckReport], tuple[Check, ...]]]:
    """(what fails, by plan and of the fleet; its name, the reports of its plans, the checks of what they share)."""
    from sky_melange.check.fleet import fleet_checks
    from sky_melange.domain.check import Verdict
    from sky_melange.plan_file.fleet import read_fleet_plan, read_member_plans
    from sky_melange.render import check_words

    document = read_fleet_plan(folder)
    plans = read_member_plans(document)
    reports = [checked(plan.path) for plan in plans]
    checks = fleet_checks(document, plans, reports)
    errors: list[tuple[str, SkyMelangeError]] = []
    for report in reports:
        try:
            raise_failed(report, is_explained=is_explained)
        except SkyMelangeError as error:
            errors.append((report.plan_name, error))
    failed = [check for check in checks if check.verdict is Verdict.FAIL]
    if failed:
        lines = [
            "\n".join([f"{check.name}: {check_words.sentence(check)}", *(f"  {each}" for each in check.details)])
            for check in failed
        ]
        errors.append((document.plan.name, CheckFailedError("\n".join(lines))))
    return errors, (document.plan.name, reports, checks)


def write_targets(writes: Sequence[str], formats: Collection[str]) -> list[tuple[str, Path]]:
    """`junit=report.xml` -> (format, path). Raises InputError, with every mistake."""
    found: list[tuple[str, Path]] = []
    mistakes: list[Mistake] = []
    for text in writes:
        kind, _, name = text.partition("=")
        path = Path(name)
        if kind not in formats or not name:
            message = f"want FORMAT=FILE with one of {', '.join(formats)}, found {text!r}"
            mistakes.append(Mistake(source="--write", message=message))
        elif not path.parent.is_dir() or path.is_dir():
            mistakes.append(Mistake(source="--write", message=f"{name} is not a file in an existing folder"))
        else:
            found.append((kind, path))
    if mistakes:
        raise InputError(mistakes)
    return found


def _limits(
    budget: float | None, monthly_budget: float | None, max_drift: float | None, max_age_hours: float | None
) -> Limits:
    from sky_melange.check.report import Limits

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


def raise_failed(report: CheckReport, *, is_explained: bool) -> None:
    """Raises CheckFailedError, or PriceSourceError when it is the prices that are too old, if any check failed.

    `is_explained`: the details were just shown to a person; they are not said twice.
    """
    from sky_melange.render.check_words import explanation, sentence

    if not report.failed:
        return
    lines = [f"{len(report.failed)} checks failed:" if len(report.failed) > 1 else "a check failed:"]
    for check in report.failed:
        lines.append(f"  {check.name}: {sentence(check)}")
        lines += [] if is_explained else [f"    {line}" for line in explanation(report, check)]
    kind = PriceSourceError if any(check.name == "prices-fresh" for check in report.failed) else CheckFailedError
    raise kind("\n".join(lines))
