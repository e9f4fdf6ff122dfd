"""What is checked of a fleet beside its plans: its file, what the plans share, the budget of all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sky_melange.check.checks import files, within
from sky_melange.domain.check import Check, CheckReport, Unit, Verdict
from sky_melange.domain.units import usd_per_month
from sky_melange.domain.workload import Budget
from sky_melange.errors import InputError, Mistake
from sky_melange.optimizer.verify_fleet import fleet_violations
from sky_melange.pipeline.digests import WORKLOAD_ENDINGS, workload_digest
from sky_melange.plan_file import PlanDocument, read_files_beside
from sky_melange.plan_file.fleet import FleetDocument
from sky_melange.render import render_fleet_files


def fleet_checks(
    document: FleetDocument,
    plans: Sequence[PlanDocument],
    reports: Sequence[CheckReport],
) -> tuple[Check, ...]:
    """`reports` of the plans, as of today."""
    fleet = document.plan
    own = [gpus for plan in plans for gpus in plan.workload.candidates.own]
    alone = [member.alone_usd_per_hour or 0.0 for member in fleet.members]
    violations = tuple(
        fleet_violations([plan.plan for plan in plans], fleet.constraints, fleet.vcpus, own, fleet.machines, alone)
    )
    totals = [None if report.today is None else report.today.total_usd_per_hour for report in reports]
    peaks = [
        next((check.figure for check in report.checks if check.name == "budget-total"), None) for report in reports
    ]
    budget = fleet.budget or Budget()
    month = _sum(totals, fleet.beside_usd_per_hour)
    return (
        _lock(document),
        *_files(document, plans),
        Check(
            name="fleet-shared",
            verdict=within(len(violations), 0),
            figure=len(violations),
            limit=0,
            unit=Unit.VIOLATIONS,
            says="limits that the plans break together",
            details=violations,
        ),
        _budget("fleet-budget", _sum(peaks, fleet.beside_usd_per_hour), budget.usd_per_hour, Unit.USD_PER_HOUR),
        _budget(
            "fleet-budget-monthly",
            None if month is None else usd_per_month(month),
            budget.usd_per_month,
            Unit.USD_PER_MONTH,
        ),
    )


def _files(document: FleetDocument, plans: Sequence[PlanDocument]) -> Iterator[Check]:
    """The files of shared machines and of the fleet's router, where there are any, now or left over."""
    pairs = [(plan.plan, plan.workload) for plan in plans]
    expected = render_fleet_files(document.plan, pairs)
    found = read_files_beside(document.path, expected)
    if expected or found:
        yield files(expected, found, of="fleet")


def _sum(figures: Sequence[float | None], beside: float) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return math.fsum(known) + beside if len(known) == len(figures) else None


def _budget(name: str, figure: float | None, limit: float | None, unit: Unit) -> Check:
    verdict = Verdict.SKIPPED
    says = "all plans at today's prices, with what they share as planned"
    if limit is None:
        says = "the fleet has no such budget"
    elif figure is None:
        verdict, says = Verdict.FAIL, "a price is not known (see prices-known of the plans)"
    else:
        verdict = within(figure, limit)
    return Check(name=name, verdict=verdict, figure=figure, limit=limit, unit=unit, says=says, of_prices=True)


def _lock(document: FleetDocument) -> Check:
    inputs = document.plan.inputs
    differences: tuple[str, ...] = ()
    name = inputs.fleet_file
    path = None
    if name is not None:
        if PurePosixPath(name).is_absolute() or not name.endswith(WORKLOAD_ENDINGS):
            message = f"want a path relative to fleet.json that ends in .yaml or .yml, found {name[:80]!r}"
            raise InputError([Mistake(source=str(document.path), key="inputs.fleet_file", message=message)])
        path = document.path.parent / name
    if path is None or path.is_symlink() or not path.is_file():
        said = (
            "does not name the fleet.yaml that it was made from"
            if path is None
            else f"was made from {path}, and there is no such file"
        )
        differences = (f"{document.path} {said}; plan again",)
    elif workload_digest(Path(path)) != inputs.fleet_sha256:
        differences = (f"{path} was edited since; plan again",)
    return Check(
        name="fleet-lock",
        verdict=within(len(differences), 0),
        figure=len(differences),
        limit=0,
        unit=Unit.VIOLATIONS,
        says="differences between the fleet's file and what was planned",
        details=differences,
    )
