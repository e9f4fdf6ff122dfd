"""Composes the budget gate: a plan as it is, re-priced and re-verified today -> a report."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from sky_melange import pipeline
from sky_melange.check import checks
from sky_melange.check.attainment import attainment_checks
from sky_melange.check.checks import not_confirmed, prices_fresh, prices_known, without_prices
from sky_melange.check.policies import budget_checks, policy_checks
from sky_melange.check.repricing import Repricing, reprice
from sky_melange.check.reverify import violations_of
from sky_melange.domain.check import Check, CheckReport
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import Plan, mean_cost
from sky_melange.domain.profile import Profile
from sky_melange.domain.spending import Policy
from sky_melange.domain.unit_costs import unit_costs
from sky_melange.domain.workload import EVERY_CLOUD, Budget, LaunchMode, Workload
from sky_melange.errors import InfeasibleError, InputError, MissingDataError, Mistake, NotOptimalError
from sky_melange.optimizer.spot import unknown_surges
from sky_melange.plan_file import PlanDocument
from sky_melange.prices.own import with_own_gpus
from sky_melange.render import render_files
from sky_melange.render.engine_command import DTYPE_FLAGS
from sky_melange.render.plan_json import FILE_NAME

if TYPE_CHECKING:
    from sky_melange.pipeline.simulator import Simulator
    from sky_melange.traces.request_log import RequestLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the caller asks for; None: what the workload says, or no limit at all. The drift is a fraction.

    `default_max_age_hours` holds where neither `max_age_hours` nor the workload says how old prices may be.
    """

    usd_per_hour: float | None = None
    usd_per_month: float | None = None
    max_age_hours: float | None = None
    max_drift_fraction: float | None = None
    default_max_age_hours: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the plan is held against. `workload` None: the one that it was made for.

    `lock` is the comparison with the workload's file, which whoever reads files has made.
    """

    workload: Workload | None = None
    lock: Check | None = None
    limits: Limits = Limits()
    policy: Policy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Today:
    """What is known now: prices, profiles of the workload's model, and the time.

    `offline`: no price source was to be asked, so that old prices are meant to be used. `simulator` runs the plan
    again, where its workload sets an attainment; None: the plan's own word counts. `log`: the requests to replay.
    """

    book: PriceBook
    profiles: Sequence[Profile]
    now: datetime
    offline: bool = False
    simulator: Simulator | None = None
    log: RequestLog | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """By name: what the plan renders (`files_of`), and what lies beside it, None for a file that is missing."""

    expected: Mapping[str, str]
    found: Mapping[str, str | None]


def files_of(document: PlanDocument) -> dict[str, str]:
    """What the plan renders beside plan.json: file name -> text. Raises InputError for what no release ever wrote."""
    dtype = document.workload.model.dtype
    if dtype not in DTYPE_FLAGS:
        message = f"want one of {', '.join(DTYPE_FLAGS)}, found {dtype[:60]!r}"
        raise InputError([Mistake(source=str(document.path), key="workload.model.dtype", message=message)])
    return {name: text for name, text in render_files(document.plan, document.workload).items() if name != FILE_NAME}


def check_plan(
    document: PlanDocument,
    files: Files,
    today: Today,
    asked: Asked = Asked(),
    warnings: Collection[str] = (),
) -> CheckReport:
    """Every check."""
    plan, wanted, limits = document.plan, asked.workload or document.workload, asked.limits
    today = replace(today, book=with_own_gpus(today.book, wanted.candidates.own))
    priced = reprice(plan, today.book, today.now)
    violations, now_plan = violations_of(plan, document.workload, wanted, today.profiles)
    now_plan = replace(now_plan, groups=priced.groups_of(now_plan.groups))
    surges = unknown_surges(now_plan.groups, falls_back=wanted.launch.mode is LaunchMode.SERVE)
    units = None if priced.mean is None else unit_costs(priced.mean.total_usd_per_hour, wanted.traffic)
    budget = _budget(limits, wanted, document.workload)
    ages = (limits.max_age_hours, wanted.prices.max_age_hours, limits.default_max_age_hours)
    max_age_hours = next((hours for hours in ages if hours is not None), None)
    drift, doubted = _drift(plan, wanted, today, priced, limits.max_drift_fraction)
    bought = {group.cloud for group in plan.groups} | {machine.cloud for machine in plan.overhead}
    required = {name for name in wanted.prices.require_clouds if name != EVERY_CLOUD}
    problems = [
        *without_prices(today.book, {*bought, *(wanted.candidates.stated_clouds or ()), *required, *doubted}),
        *(() if today.offline else not_confirmed(today.book, bought, max_age_hours, today.now)),
    ]
    attainment, simulated = attainment_checks(now_plan, wanted, today.profiles, today.simulator, today.log)
    return CheckReport(
        plan_name=plan.name,
        plan_file=str(document.path),
        checks=(
            asked.lock or checks.lock(None, reason="there is no workload file here"),
            prices_known((*priced.groups, *priced.commitments)),
            prices_fresh(priced.ages, max_age_hours, problems),
            *budget_checks(priced.cost, budget, priced.overhead, surges, mean=priced.mean if plan.schedule else None),
            checks.serves(violations),
            *attainment,
            checks.files(files.expected, files.found),
            drift,
            *(policy_checks(now_plan, units, asked.policy) if asked.policy is not None else ()),
        ),
        price_changes=priced.paid,
        price_ages=priced.ages,
        planned=mean_cost(plan.cost, plan.groups, plan.schedule),
        today=priced.mean,
        planned_units=unit_costs(plan.mean_usd_per_hour, document.workload.traffic),
        today_units=units,
        warnings=(*warnings, *priced.overhead_warnings),
        simulated=simulated,
    )


def _budget(limits: Limits, wanted: Workload, planned: Workload) -> Budget:
    """Arguments over workload over plan, each of the two limits by itself."""

    def first(argument: float | None, name: str) -> float | None:
        stated = (getattr(w.budget, name) for w in (wanted, planned) if w.budget is not None)
        return next((value for value in (argument, *stated) if value is not None), None)

    return Budget(
        usd_per_hour=first(limits.usd_per_hour, "usd_per_hour"),
        usd_per_month=first(limits.usd_per_month, "usd_per_month"),
    )


def _drift(
    plan: Plan, workload: Workload, today: Today, priced: Repricing, limit: float | None
) -> tuple[Check, frozenset[str]]:
    """The check, and the clouds without prices whose last known ones would make it fail."""
    if limit is None or priced.cost is None:
        return checks.drift(priced.cost, None, limit), frozenset()
    best, problem = _solve_again(plan, workload, today)
    if best is not None:
        best = replace(best, cost=mean_cost(best.cost, best.groups, best.schedule))
    most = priced.cost.replicas_usd_per_hour * (1 - limit)
    doubted = frozenset(
        missing.cloud
        for missing in (() if best is None else best.missing_clouds)
        if missing.last_known is not None and (missing.last_known.alone_usd_per_hour or math.inf) < most
    )
    return checks.drift(priced.mean, best, limit, problem), doubted


def _solve_again(plan: Plan, workload: Workload, today: Today) -> tuple[Plan | None, str]:
    """The cheapest plan of today, or why there is none."""
    try:
        planned = pipeline.make_plan(
            workload,
            today.book,
            today.profiles,
            workload_digest=plan.inputs.workload,
            simulator=today.simulator,
            log=today.log,
        )
    except (InfeasibleError, MissingDataError, NotOptimalError) as error:
        return None, str(error)
    return planned.plan, ""
