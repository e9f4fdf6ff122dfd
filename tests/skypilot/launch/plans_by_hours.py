"""Plans with hours, made of those without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sky_melange.domain.hours import Period, Scaling, Schedule
from sky_melange.domain.plan import Cost, Plan
from sky_melange.domain.workload import Workload
from sky_melange.render import render_files

OFFICE = tuple(0 if day < 5 and 8 <= hour < 18 else 2 if 1 <= hour < 6 else 1 for day in range(7) for hour in range(24))
"""A week: busy from 8 to 18 from Monday to Friday, quiet from 1 to 6 at night."""

COUNTS = ((5, 4, 3), (3, 2, 1), (1, 1, 1))
"""Of three groups, in the busy, middle and quiet hours."""


def by_hours(
    plan: Plan,
    *,
    counts: Sequence[tuple[int, ...]] = COUNTS,
    rates_rps: Sequence[float] = (6.0, 2.0, 0.5),
    period_of_hour: tuple[int, ...] = OFFICE,
    time_zone: str = "Europe/Berlin",
    startup_minutes: float = 12.0,
    **changes: float,
) -> Plan:
    """The plan with a schedule; its groups are those of the first of `counts`."""
    groups = tuple(replace(group, instances=n) for group, n in zip(plan.groups, counts[0], strict=True))
    periods = tuple(
        Period(rate_rps=rate, hours=period_of_hour.count(index), instances=each, cost_usd_per_hour=sum(each) * 0.8)
        for index, (rate, each) in enumerate(zip(rates_rps, counts, strict=True))
    )
    costs: Mapping[str, float] = {"usd_per_hour": 5.0, "fixed_usd_per_hour": 9.7, **changes}
    schedule = Schedule(
        time_zone=time_zone,
        period_of_hour=period_of_hour,
        periods=periods,
        startup_minutes=startup_minutes,
        starts=50,
        **costs,
    )
    return replace(plan, groups=groups, schedule=schedule, cost=Cost.of(groups, plan.overhead))


def scaled(workload: Workload, scaling: Scaling | None) -> Workload:
    """The workload with that `launch.scaling`."""
    return replace(workload, launch=replace(workload.launch, scaling=scaling))


def write_folder(folder: Path, plan: Plan, workload: Workload) -> Path:
    """The plan's folder."""
    for name, text in render_files(plan, workload).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
