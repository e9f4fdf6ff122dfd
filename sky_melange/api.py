"""The public API: `plan`, `plan_fleet`, `check`, `check_bill`, `diff`, `prices`; in SkyPilot `sky.melange`.

    from sky_melange import api

    result = api.plan("workload.yaml")
    print(result.plan.cost.total_usd_per_hour, [group.name for group in result.plan.groups])

Every function reads files and prices and writes nothing but the price cache. Mistakes are `sky_melange.errors`
exceptions: `InputError` lists every mistake of a file with its line, and each class has its exit code.
See docs/sdk.md.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

# The heavy modules are imported by the functions that need them: `import sky; sky.melange` costs next to nothing.
if TYPE_CHECKING:
    from sky_melange.domain.bill import BillReport
    from sky_melange.domain.check import CheckReport
    from sky_melange.domain.fleet import FleetPlan
    from sky_melange.domain.offer import Offer, PriceBook, PriceState, Quarantined
    from sky_melange.domain.plan import Plan
    from sky_melange.domain.plan_diff import PlanDiff
    from sky_melange.domain.workload import Workload
    from sky_melange.plan_file import PlanDocument

__all__ = [
    "FleetResult",
    "PathLike",
    "PlanResult",
    "PriceList",
    "check",
    "check_bill",
    "diff",
    "plan",
    "plan_fleet",
    "prices",
]

PathLike: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanResult:
    """A verified plan, and the workload that it serves, as read."""

    plan: Plan
    workload: Workload

    @property
    def json(self) -> str:
        """The bytes of plan.json, as the command line writes it."""
        return self.files["plan.json"]

    @property
    def files(self) -> Mapping[str, str]:
        """Everything that a plan folder holds: relative path -> text."""
        from sky_melange.render import render_files

        return render_files(self.plan, self.workload)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetResult:
    """What the plans of a fleet share and cost together, and the verified plan of each workload."""

    plan: FleetPlan
    members: tuple[PlanResult, ...]

    @property
    def json(self) -> str:
        """The bytes of fleet.json, as the command line writes it."""
        from sky_melange.render import fleet_json

        return fleet_json.text(self.plan, [(member.plan, member.workload) for member in self.members])


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """Prices as of `now`. `offers` may be used, cheapest per accelerator first; `quarantined` may not, and say why.

    `states` say where each cloud's prices come from and how they were come by, `warnings` what is wrong with them.
    """

    now: datetime
    offers: tuple[Offer, ...]
    quarantined: tuple[Quarantined, ...]
    states: tuple[PriceState, ...]
    warnings: tuple[str, ...]


def plan(  # noqa: PLR0913 - a keyword for each option
    workload: PathLike,
    *,
    offline: bool = False,
    formulation: str | None = None,
    objective: str | None = None,
    explain: bool = False,
    out: PathLike = "plan",
    simulate: bool = True,
) -> PlanResult:
    """The cheapest plan for a workload.yaml, as `sky-melange plan --no-files`.

    Args:
        workload: path of the file; the paths in it are relative to it.
        offline: use no network: the last good prices, else those embedded in this release.
        formulation: `exact` or `sliced`, in place of the file's.
        objective: `least_cost` or `most_traffic`, in place of the file's.
        explain: fill `plan.explanation`: what binds, and what would change the plan. Takes many more solves.
        out: the folder where the files are to lie; plan.json holds the way from there to the workload.
        simulate: where the workload sets `slo.attainment`, find the cheapest plan that holds it in simulation.

    Raises:
        InputError: mistakes in the file, all of them, or a keyword that names nothing.
        InfeasibleError, MissingDataError, NotOptimalError: there is no plan, with the reasons.
        PriceSourceError: no prices as fresh as `prices.max_age_hours`.
        CheckFailedError: the cheapest plan costs more than the workload's budget.

    """
    from sky_melange import pipeline
    from sky_melange.domain.workload import Formulation, Objective
    from sky_melange.prices.clouds import enabled_clouds

    planned = pipeline.plan_file(
        Path(workload),
        formulation=None if formulation is None else _choice(Formulation, "formulation", formulation),
        objective=None if objective is None else _choice(Objective, "objective", objective),
        is_explained=explain,
        book_of=lambda read: _book(read, offline=offline),
        folder=Path(out),
        simulator=pipeline.simulator() if simulate else None,
        enabled=enabled_clouds().clouds,
    )
    pipeline.check_budget(planned)
    return PlanResult(plan=planned.plan, workload=planned.workload)


def plan_fleet(fleet: PathLike, *, offline: bool = False, out: PathLike = "plan", simulate: bool = True) -> FleetResult:
    """The cheapest plans of a fleet.yaml, as `sky-melange plan FLEET --no-files`; arguments as of `plan`.

    Raises what `plan` does: with the mistakes of all files, or with the name of the workload.
    """
    from sky_melange import pipeline
    from sky_melange.pipeline.fleets import check_budgets
    from sky_melange.pipeline.fleets import plan_fleet as planned_fleet

    planned = planned_fleet(
        Path(fleet),
        book_of=lambda read: _book(read, offline=offline),
        folder=Path(out),
        simulator=pipeline.simulator() if simulate else None,
    )
    check_budgets(planned)
    members = tuple(PlanResult(plan=member.plan, workload=member.workload) for member in planned.members)
    return FleetResult(plan=planned.plan, members=members)


def check(  # noqa: PLR0913 - a keyword for each limit
    plan: PathLike,
    *,
    workload: PathLike | None = None,
    base: PathLike | None = None,
    policy: PathLike | None = None,
    max_usd_per_hour: float | None = None,
    max_usd_per_month: float | None = None,
    max_drift_fraction: float | None = None,
    max_age_hours: float | None = None,
    default_max_age_hours: float | None = None,
    offline: bool = False,
) -> CheckReport:
    """A committed plan against today's prices, its workload, the files beside it, budgets and a policy.

    Args:
        plan: path of a plan.json, or of its folder.
        workload: check against this workload.yaml; without it the one that the plan was made from is found.
        base: another plan.json, as that of the base branch: `report.change` says what changed against it.
        policy: path of a policy.yaml.
        max_usd_per_hour: budget, in place of the workload's.
        max_usd_per_month: budget for 730 hours, in place of the workload's.
        max_drift_fraction: solve again; the share by which a new plan may be cheaper (0.1: a tenth).
        max_age_hours: how old the prices used may be, in place of the workload's.
        default_max_age_hours: the same, where the workload does not say either.
        offline: use no network, and prices of any age within these limits. Otherwise prices that could not be
            confirmed and are older than 72 hours fail the check `prices-fresh`.

    Returns:
        The report. A check that does not hold is no exception: see `report.failed`.

    Raises:
        InputError: mistakes in a file.
        MissingDataError: a profile or cloud that is not known.

    """
    from sky_melange.check.plan_file import check_plan_file
    from sky_melange.check.report import Limits

    limits = {
        "max_usd_per_hour": max_usd_per_hour,
        "max_usd_per_month": max_usd_per_month,
        "max_age_hours": max_age_hours,
        "max_drift_fraction": max_drift_fraction,
        "default_max_age_hours": default_max_age_hours,
    }
    _require_limits(limits)
    return check_plan_file(
        Path(plan),
        workload=None if workload is None else Path(workload),
        base=None if base is None else Path(base),
        policy=None if policy is None else Path(policy),
        limits=Limits(
            usd_per_hour=max_usd_per_hour,
            usd_per_month=max_usd_per_month,
            max_age_hours=max_age_hours,
            max_drift_fraction=max_drift_fraction,
            default_max_age_hours=default_max_age_hours,
        ),
        offline=offline,
    )


def check_bill(  # noqa: PLR0913 - a keyword for each option
    plan: PathLike,
    billed: Sequence[PathLike],
    *,
    start_s: int | None = None,
    end_s: int | None = None,
    max_difference: str | None = None,
    cost_column: str = "EffectiveCost",
    billing_accounts: Sequence[str] = (),
    ignore_others: bool = False,
) -> BillReport:
    """A plan against what was billed for it, as `sky-melange check PLAN --billed FILE`.

    Args:
        plan: path of a plan.json, of its folder, or of a fleet's.
        billed: exports in the columns of FOCUS (CSV, Parquet), or of OpenCost (JSON, CSV).
        start_s: when the plan began to run, seconds since 1970; without it the first row of usage.
        end_s: when it ended; without it the last row.
        max_difference: USD, or a percentage of what is planned such as `5%`: see `report.is_failed`.
        cost_column: of FOCUS.
        billing_accounts: only rows of these.
        ignore_others: rows of neither the plan nor SkyPilot do not count.

    Raises:
        InputError: mistakes in a file, with their lines; a currency other than USD; two billing accounts of one cloud.

    """
    from sky_melange.bills import BillOptions, compare_bill
    from sky_melange.errors import InputError, Mistake
    from sky_melange.plan_file.fleet import is_fleet_folder, read_charged, read_fleet_plan

    path = Path(plan)
    plans = read_charged(path)
    machines = read_fleet_plan(path).plan.machines if is_fleet_folder(path) else ()
    for each, _ in plans:
        if len(each.whole_groups) < len(each.groups) and not machines:
            message = (
                "has engines on machines that a fleet shares: give the fleet's folder, whose plans divide the bill"
            )
            raise InputError([Mistake(source=str(plan), key=each.name, message=message)])
    options = BillOptions(
        start_s=start_s,
        end_s=end_s,
        cost_column=cost_column,
        accounts=tuple(billing_accounts),
        ignores_others=ignore_others,
    )
    return compare_bill(plans, [Path(path) for path in billed], options, max_difference, machines)


def diff(old: PathLike, new: PathLike) -> PlanDiff:
    """What changed between two plans, each a plan.json or its folder. Prices are those in the files.

    Raises InputError with the mistakes of both files.
    """
    from sky_melange.check.diff import Side, compare
    from sky_melange.errors import InputError, Mistake
    from sky_melange.plan_file import read_plan

    documents: list[PlanDocument] = []
    mistakes: list[Mistake] = []
    for path in (old, new):
        try:
            documents.append(read_plan(Path(path)))
        except InputError as error:
            mistakes.extend(error.mistakes)
    if mistakes:
        raise InputError(mistakes)
    before, after = (Side(plan=document.plan, workload=document.workload) for document in documents)
    return compare(before, after)


def prices(
    *,
    accelerator: str | None = None,
    cloud: str | None = None,
    region: str | None = None,
    spot: bool | None = None,
    offline: bool = False,
) -> PriceList:
    """Every GPU offer that passes the filters, as `sky-melange prices --all`.

    Args:
        accelerator: its canonical name, such as `H100` or `A100-80GB`.
        cloud: such as `aws`.
        region: exactly as the cloud names it.
        spot: only spot offers, or only on-demand ones.
        offline: use no network.

    Raises:
        InputError: an accelerator or cloud that does not exist.

    """
    from sky_melange.domain.workload import PricePolicy
    from sky_melange.prices import current_book, warnings_of
    from sky_melange.prices.names import check_filters
    from sky_melange.prices.site import price_site, utc_now
    from sky_melange.render import price_table

    check_filters(accelerator=accelerator, cloud=cloud)
    clouds = None if cloud is None else (cloud,)
    now = utc_now()
    book = current_book(PricePolicy(), site=price_site(), now=now, offline=offline, clouds=clouds)
    part = price_table.select(book, accelerator=accelerator, cloud=cloud, region=region, spot=spot)
    return PriceList(
        now=now,
        offers=tuple(price_table.cheapest(part.offers, everything=True)),
        quarantined=part.quarantined,
        states=part.states,
        warnings=tuple(warnings_of(book, now, clouds)),
    )


_Choice = TypeVar("_Choice", bound=StrEnum)


def _choice(choices: type[_Choice], keyword: str, value: str) -> _Choice:
    from sky_melange.errors import InputError, Mistake

    if value not in set(choices):
        raise InputError([Mistake(source=keyword, message=f"must be one of {', '.join(choices)}, found {value!r}")])
    return choices(value)


def _require_limits(limits: Mapping[str, float | None]) -> None:
    from sky_melange.errors import InputError, Mistake

    mistakes = [
        Mistake(source=keyword, message=f"must be a number {wanted}, found {value!r}")
        for keyword, value in limits.items()
        for wanted, least in [("above 0", 5e-324) if "_usd_" in keyword else ("that is not negative", 0.0)]
        if value is not None and not (math.isfinite(value) and value >= least)
    ]
    if mistakes:
        raise InputError(mistakes)


def _book(workload: Workload, *, offline: bool) -> PriceBook:
    from sky_melange.prices import current_book
    from sky_melange.prices.site import price_site, utc_now

    needed = workload.candidates.clouds
    return current_book(workload.prices, site=price_site(), now=utc_now(), offline=offline, needed=needed)
