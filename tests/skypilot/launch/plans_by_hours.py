"""Plans with hours, made of those without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sky_melange.domain.hours import Hours, Period, Scaling, Schedule
from sky_melange.domain.plan import Cost, Plan
from sky_melange.domain.workload import Workload
from sky_melange.render import render_files
from sky_melange.skypilot.launch.record import Record, Started
from sky_melange.skypilot.launch.units import wanted_units

OFFICE = tuple(0 if day < 5 and 8 <= hour < 18 else 2 if 1 <= hour < 6 else 1 for day in range(7) for hour in range(24))
"""A week: busy from 8 to 18 from Monday to Friday, quiet from 1 to 6 at night."""

COUNTS = ((5, 4, 3), (3, 2, 1), (1, 1, 1))
"""Of three groups, in the busy, middle and quiet hours."""

FRACTIONS = (1.0, 1 / 3, 1 / 12)
"""Of the busiest hour's rate."""

STARTUP_MINUTES = 12.0
ZONE = "Europe/Berlin"


def by_hours(
    plan: Plan,
    *,
    counts: Sequence[tuple[int, ...]] = COUNTS,
    period_of_hour: tuple[int, ...] = OFFICE,
    time_zone: str = ZONE,
    startup_minutes: float = STARTUP_MINUTES,
    **changes: float,
) -> Plan:
    """The plan with a schedule; its groups are those of the first of `counts`, the rest follows from them."""
    groups = tuple(replace(group, instances=n) for group, n in zip(plan.groups, counts[0], strict=True))
    prices = [group.price_usd_per_hour for group in groups]
    peak_rps = math.fsum(route.rate_rps for route in plan.routing)
    overhead_usd_per_hour = Cost.of((), plan.overhead).total_usd_per_hour
    periods = tuple(
        Period(
            rate_rps=peak_rps * fraction,
            hours=period_of_hour.count(index),
            instances=each,
            cost_usd_per_hour=math.fsum(map(math.prod, zip(prices, each, strict=True))) + overhead_usd_per_hour,
        )
        for index, (fraction, each) in enumerate(zip(FRACTIONS, counts, strict=False))
    )
    runs = [counts[period] for period in period_of_hour]
    started = [
        [max(0, now - before) for now, before in zip(runs[hour], runs[hour - 1], strict=True)]
        for hour in range(len(runs))
    ]
    starts_usd = (
        startup_minutes / 60 * sum(price * n for each in started for price, n in zip(prices, each, strict=True))
    )
    paid_usd = math.fsum([starts_usd, *(period.hours * period.cost_usd_per_hour for period in periods)])
    costs = {
        "usd_per_hour": paid_usd / len(runs),
        "fixed_usd_per_hour": periods[0].cost_usd_per_hour,
        **changes,
    }
    schedule = Schedule(
        time_zone=time_zone,
        period_of_hour=period_of_hour,
        periods=periods,
        startup_minutes=startup_minutes,
        starts=sum(map(sum, started)),
        **costs,
    )
    return replace(
        plan, groups=groups, schedule=schedule, cost=Cost.of(groups, plan.overhead), hosted_api=None, emissions=None
    )


def scaled(workload: Workload, scaling: Scaling | None, *, time_zone: str = ZONE) -> Workload:
    """The workload with that `launch.scaling`, and the hours of `OFFICE`."""
    peak_rps = math.fsum(bucket.rate_rps for bucket in workload.traffic.buckets())
    hours = Hours(rates_rps=tuple(peak_rps * FRACTIONS[period] for period in OFFICE), time_zone=time_zone)
    launch = replace(workload.launch, scaling=scaling, startup_minutes=STARTUP_MINUTES)
    return replace(workload, launch=launch, traffic=replace(workload.traffic, hours=hours))


def write_folder(folder: Path, plan: Plan, workload: Workload) -> Path:
    """The plan's folder, as `plan` writes it."""
    for name, text in render_files(plan, workload).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def note_services(folder: Path, plan: Plan, workload: Workload) -> None:
    """The record of a plan whose services `up` has started."""
    record = Record(path=folder / "launch.json", plan=plan.name, started={})
    units = wanted_units(plan, workload, render_files(plan, workload))
    record.note(*(Started.of(unit, is_launched=True) for unit in units if unit.group))
