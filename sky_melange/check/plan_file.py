"""The gate over files: a committed plan.json, what lies beside it, and the prices of this moment -> a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from sky_melange import pipeline
from sky_melange.check import checks
from sky_melange.check.diff import Side, compare, workload_changes
from sky_melange.check.report import Asked, Files, Limits, Today, check_plan, files_of
from sky_melange.domain.check import CheckReport
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import Plan
from sky_melange.domain.plan_diff import PlanDiff
from sky_melange.domain.spending import Policy
from sky_melange.domain.workload import Objective, Workload
from sky_melange.errors import InputError, Mistake
from sky_melange.pipeline.digests import WORKLOAD_ENDINGS
from sky_melange.plan_file import PlanDocument, read_files_beside, read_plan
from sky_melange.prices import current_book, embedded_regions, known_accelerators, plannable_clouds, warnings_of
from sky_melange.prices.site import price_site, utc_now
from sky_melange.workload_file import file_text, read_policy

_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """What a plan is held against: `workload`, and the folder whose files it names.

    `differences` are those between the file and what was planned; None, with the `reason`: they were not compared.
    """

    workload: Workload
    folder: Path
    differences: tuple[str, ...] | None
    reason: str = ""
    warnings: tuple[str, ...] = ()


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


def lock_of(document: PlanDocument, given: Path | None) -> Lock:
    """The workload that the plan names, or the one that is `given`.

    Raises InputError for a file with mistakes in it. One that is not there is a difference.
    """
    recorded = _recorded(document)
    path = given or recorded
    if path is None or (given is None and not path.exists() and not path.is_symlink()):
        says = "names no workload file" if path is None else f"was made from {path}, which is not there"
        asked = document.workload
        if asked.profiles.files or asked.prices.overrides is not None:
            message = f"{says}, and with files beside it; give --workload"
            raise InputError([Mistake(source=str(document.path), message=message)])
        difference = _unsealed(document) or f"{document.path} {says}; plan again, or give --workload"
        return Lock(workload=document.workload, folder=document.path.parent, differences=(difference,))
    if given is None and path.is_symlink():
        message = "is a link; the workload of a plan is a plain file, or given with --workload"
        raise InputError([Mistake(source=str(path), message=message)])
    if given is None and not path.is_file():
        message = "is not a regular file; the workload of a plan must be one, or be given with --workload"
        raise InputError([Mistake(source=str(path), message=message)])
    text = file_text(path)
    wanted, warnings = _read(path, text, document)
    if given is not None and recorded is not None and recorded.is_file() and not recorded.samefile(given):
        reason = f"not compared, since the plan was made from {recorded} and is checked against {given}"
        return Lock(workload=wanted, folder=path.parent, differences=None, reason=reason, warnings=warnings)
    is_edited = pipeline.workload_digest(path, text) != document.plan.inputs.workload
    wanted = _as_planned(wanted, document.workload, document.plan)
    unsealed = _unsealed(document)
    differences = (unsealed,) if unsealed else tuple(_differences(path, wanted, document.workload, is_edited=is_edited))
    return Lock(workload=wanted, folder=path.parent, differences=differences, warnings=warnings)


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


def _unsealed(document: PlanDocument) -> str:
    says = "was made by an earlier release, which did not lock the workload; plan again"
    return "" if document.is_sealed else f"{document.path} {says}"


def _recorded(document: PlanDocument) -> Path | None:
    """Raises InputError for a path that `plan` never writes."""
    name = document.plan.inputs.workload_file
    if name is None:
        return None
    if PurePosixPath(name).is_absolute() or not name.endswith(WORKLOAD_ENDINGS):
        message = f"want a path relative to the plan that ends in .yaml or .yml, found {name[:80]!r}"
        raise InputError([Mistake(source=str(document.path), key="inputs.workload_file", message=message)])
    return document.path.parent / name


def _read(path: Path, text: str, document: PlanDocument) -> tuple[Workload, tuple[str, ...]]:
    """The workload as it is now; where a file that it names is missing, with what was counted from that then."""
    try:
        return pipeline.read(path, text=text, dtype=document.workload.model.dtype), ()
    except InputError as error:
        try:
            wanted = pipeline.read(path, planned=document.workload, text=text)
        except InputError:
            raise error from None
        return wanted, (f"{error}; the traffic and running groups are those of the plan.",)


def _as_planned(wanted: Workload, planned: Workload, plan: Plan) -> Workload:
    """The file's workload with what `plan` finds: clouds, the fleet's router and losses, what ran, the most traffic."""
    wanted = pipeline.with_clouds_of(wanted, planned)
    wanted = replace(wanted, router=replace(wanted.router, of_fleet=planned.router.of_fleet))
    keep, kept = wanted.constraints.keep, planned.constraints.keep
    if keep is not None and kept is not None and keep.plan == kept.plan:
        # The plan may have been written in the place of the one that ran.
        constraints = replace(wanted.constraints, keep=replace(keep, groups=kept.groups))
        wanted = replace(wanted, constraints=constraints)
    losses = max(wanted.constraints.tolerate_replica_losses, plan.fleet_losses)
    wanted = replace(wanted, constraints=replace(wanted.constraints, tolerate_replica_losses=losses))
    if wanted.objective is planned.objective is Objective.MOST_TRAFFIC or plan.served_fraction < 1:
        factor = planned.traffic.request_rate_rps / wanted.traffic.request_rate_rps
        rates = tuple(tuple(rate * factor for rate in row) for row in wanted.traffic.rates_rps)
        if _are_close(rates, planned.traffic.rates_rps):
            rates = planned.traffic.rates_rps
        wanted = replace(wanted, traffic=replace(wanted.traffic, rates_rps=rates))
    return wanted


def _are_close(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> bool:
    first, second = ([rate for row in rates for rate in row] for rates in (one, other))
    return len(first) == len(second) and all(
        abs(a - b) <= _TOLERANCE * max(a, b) for a, b in zip(first, second, strict=True)
    )


def _differences(path: Path, wanted: Workload, planned: Workload, *, is_edited: bool) -> Iterator[str]:
    if wanted.prices.overrides is not None:
        # plan.json has only the name.
        wanted = replace(wanted, prices=replace(wanted.prices, overrides=Path(wanted.prices.overrides.name)))
    changes = workload_changes(planned, wanted)
    for change in changes:
        yield f"{change.key}: {change.note or f'{change.old} when planned, {change.new} in {path}'}"
    if wanted != planned and not changes:
        yield f"{path} asks for other figures in the last digits"
    elif is_edited and not changes:
        yield f"{path} was edited since; what it asks for is the same"
