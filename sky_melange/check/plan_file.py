"""The gate over files: a committed plan.json, what lies beside it, and the prices of this moment -> a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sky_melange import pipeline
from sky_melange.check import checks
from sky_melange.check.diff import Side, compare
from sky_melange.check.lock import lock_of
from sky_melange.check.report import Asked, Files, Limits, Today, check_plan, files_of
from sky_melange.domain.check import CheckReport
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan_diff import PlanDiff
from sky_melange.domain.policy import Policy
from sky_melange.domain.workload import Workload
from sky_melange.errors import InputError
from sky_melange.plan_file import PlanDocument, read_files_beside, read_plan
from sky_melange.prices import current_book, embedded_regions, known_accelerators, plannable_clouds, warnings_of
from sky_melange.prices.site import price_site, utc_now
from sky_melange.workload_file import read_policy


def check_plan_file(
    plan: Path, *, workload: Path | None, base: Path | None = None, policy: Path | None, limits: Limits, offline: bool
) -> CheckReport:
    """Every check of a plan.json or its folder. Raises InputError with the mistakes in a file."""
    document = read_plan(plan)
    lock = lock_of(document, workload)
    wanted = lock.workload
    told: list[str] = []
    rules = None if policy is None else policy_in(policy, told)
    expected = files_of(document)
    files = Files(expected=expected, found=read_files_beside(document.path, expected))
    book = _book(wanted, offline=offline)
    today = Today(book=book, profiles=pipeline.profiles_for(wanted, book, lock.folder), now=utc_now(), offline=offline)
    if wanted.slo.attainment is not None:
        log = pipeline.arrivals_log(wanted, workload or pipeline.workload_file_of(document))
        today = replace(today, simulator=pipeline.simulator(), log=log)
    asked = Asked(workload=wanted, lock=checks.lock(lock.differences, reason=lock.reason), limits=limits, policy=rules)
    change, unread = _change(base, document)
    warnings = [*price_warnings(document, book), *lock.warnings, *unread, *told]
    return replace(check_plan(document, files, today, asked, warnings), change=change)


def policy_in(path: Path, told: list[str]) -> Policy:
    """A policy.yaml with its names checked; `told` gets what is not read as it is spelled."""
    return read_policy(
        path,
        known_accelerators=known_accelerators(),
        known_clouds=plannable_clouds(),
        known_regions=embedded_regions,
        tell=lambda readings: told.extend(map(str, readings)),
    )


def _change(base: Path | None, document: PlanDocument) -> tuple[PlanDiff | None, tuple[str, ...]]:
    """What changed against `base`; a base that cannot be read is a warning, since it decides nothing."""
    if base is None:
        return None, ()
    try:
        old = read_plan(base)
    except InputError as error:
        return None, (
            f"The plan to compare with cannot be read, so the change is not known: {str(error).splitlines()[0]}",
        )
    before, after = (Side(plan=each.plan, workload=each.workload) for each in (old, document))
    return compare(before, after), ()


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
