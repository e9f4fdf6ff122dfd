"""The gate over files: a committed plan.json, what lies beside it, and the prices of this moment -> a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sky_melange import pipeline
from sky_melange.domain.check import CheckReport
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.workload import Workload
from sky_melange.errors import InputError, Mistake
from sky_melange.gate.report import Asked, Files, Limits, Today, check_plan, files_of
from sky_melange.plan_file import PlanDocument, read_files_beside, read_plan
from sky_melange.prices import current_book, known_accelerators, launchable_clouds, warnings_of
from sky_melange.prices.site import price_site, utc_now
from sky_melange.workload_file import read_policy


def check_plan_file(
    plan: Path, *, workload: Path | None, policy: Path | None, limits: Limits, offline: bool
) -> CheckReport:
    """Every check of a plan.json or its folder. Raises InputError with the mistakes in a file."""
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
    today = Today(book=book, profiles=pipeline.profiles_for(wanted, book, folder), now=utc_now(), offline=offline)
    warnings = [*price_warnings(document, book), *_workload_warning(document, workload, wanted)]
    return check_plan(document, files, today, Asked(workload=wanted, limits=limits, policy=rules), warnings)


def _require_self_contained(document: PlanDocument) -> None:
    """A plan made with files beside its workload can only be checked where those are."""
    asked = document.workload
    files = [*asked.profiles.files, *([] if asked.prices.overrides is None else [asked.prices.overrides])]
    if files:
        message = f"was made with files beside its workload ({', '.join(map(str, files))}); give --workload"
        raise InputError([Mistake(source=str(document.path), message=message)])


def _book(workload: Workload, *, offline: bool) -> PriceBook:
    """Today's prices. How old they may be, and which there must be, is a check here, so that the report shows it."""
    policy = replace(workload.prices, max_age_hours=None, require_clouds=())
    return current_book(policy, site=price_site(), now=utc_now(), offline=offline)


def price_warnings(document: PlanDocument, book: PriceBook) -> list[str]:
    """What went wrong with the prices of the plan's clouds."""
    used = {
        "",
        *(group.cloud for group in document.plan.groups),
        *(machine.cloud for machine in document.plan.overhead),
    }
    states = tuple(state for state in book.states if state.cloud in used)
    return list(warnings_of(replace(book, states=states), utc_now()))


def _workload_warning(document: PlanDocument, path: Path | None, wanted: Workload) -> list[str]:
    if path is None or pipeline.workload_digest(path, wanted) == document.plan.inputs.workload:
        return []
    return [f"{path} is not the file that the plan was made from; the plan is checked against it as it is now."]
