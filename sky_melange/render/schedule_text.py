"""A plan by the hours: what it costs on average, its periods, and a picture of how many instances run when."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from sky_melange.domain.front_door import ROUTER_PURPOSE
from sky_melange.domain.hours import DAY, DAYS, WEEK, Autoscaling, Scaling, Schedule
from sky_melange.domain.plan import Plan
from sky_melange.domain.scaling import most_usd_per_hour, scaling_of
from sky_melange.domain.workload import Workload
from sky_melange.render.money import hourly, monthly
from sky_melange.render.skypilot_yaml import replica_policies

PERIOD_HEAD: Final = ("Up to req/s", "Hours", "Instances", "USD/h", "Within targets")
PERIOD_NUMBERS: Final = (0, 1, 3, 4)

_BARS: Final = " ▁▂▃▄▅▆▇█"


def as_run(plan: Plan, workload: Workload) -> Schedule | None:
    """The schedule; of an autoscaled plan with at least the instances that SkyServe never goes below."""
    schedule = plan.schedule
    if schedule is None or scaling_of(plan, workload) is not Scaling.AUTOSCALE:
        return schedule
    policies = replica_policies(plan, workload)
    least = [policies[g.name].min_replicas if g.name in policies else g.instances for g in plan.groups]
    periods = []
    for period in schedule.periods:
        counts = tuple(map(max, period.instances, least))
        paid = (group.costs(count) for group, count in zip(plan.groups, counts, strict=True))
        cost = math.fsum((plan.cost.overhead_usd_per_hour, *paid))
        # What was simulated is the fleet of the clock.
        attainment = period.attainment if counts == period.instances else None
        periods.append(replace(period, instances=counts, cost_usd_per_hour=cost, attainment=attainment))
    return replace(schedule, periods=tuple(periods))


def period_title(schedule: Schedule) -> str:
    """Of the table under PERIOD_HEAD."""
    return "By the hour" if schedule.autoscaling is None else "By the hour, at least"


def clock_sentence(plan: Plan, schedule: Schedule, workload: Workload | None = None) -> str:
    """`By the clock: USD 20.4672 per hour on average …`"""
    if schedule.autoscaling is not None:
        return _autoscaled_sentence(plan, schedule, schedule.autoscaling, workload)
    totals = [sum(period.instances) for period in schedule.periods]
    saved = 1 - schedule.usd_per_hour / schedule.fixed_usd_per_hour if schedule.fixed_usd_per_hour > 0 else 0.0
    against = (
        f"{saved:.1%} less than the cheapest fleet found for the same traffic around the clock "
        f"({hourly(schedule.fixed_usd_per_hour)})"
        if saved > 0
        else "no less than the same traffic around the clock"
    )
    return (
        f"By the clock: USD {hourly(schedule.usd_per_hour)} per hour on average ({monthly(schedule.usd_per_hour)} a "
        f"month), {against}; between {min(totals)} and {max(totals)} instances, {schedule.starts} started in "
        f"{'a week' if schedule.hours == WEEK else 'a day'}. The {_dearest(schedule)} hour costs "
        f"{hourly(plan.cost.total_usd_per_hour)}; its instances are those of the table. "
        + (
            "Hours have no reserve (headroom_fraction: 0): a week with higher peaks than `hours` misses its targets."
            if schedule.headroom_fraction == 0
            else f"Each hour carries {schedule.headroom_fraction:.0%} more requests than `hours` says, up to the "
            f"busiest hour's rate{_in_set(schedule)} (headroom_fraction); beyond that a week with other peaks misses "
            "its targets."
        )
        + (
            f" Nothing runs in {schedule.idle_hours} of {schedule.hours} hours, which have no requests: what comes "
            f"then is refused. Instances start {schedule.startup_minutes:g} minutes before the next hour that has some."
            if schedule.idle_hours
            else ""
        )
        + _of_sizes(schedule)
    )


def _in_set(schedule: Schedule) -> str:
    return "" if schedule.periods[0].sizes is None else " with the same sizes"


def _dearest(schedule: Schedule) -> str:
    return "busiest" if schedule.periods[0].sizes is None else "dearest"


def _of_sizes(schedule: Schedule) -> str:
    raised = schedule.raised_usd_per_hour
    if raised is None:
        return ""
    if schedule.usd_per_hour > raised:
        return (
            " Each hour is planned with its own sizes. With the sizes of all hours, and rates raised where requests "
            f"are larger, {hourly(raised)} is planned, but not simulated: requests may miss their targets."
        )
    saved = 1 - schedule.usd_per_hour / raised if raised > 0 else 0.0
    return (
        f" Each hour is planned with its own sizes: {_against(saved)} with the sizes of all hours and rates raised "
        f"where requests are larger ({hourly(raised)}, not simulated)."
    )


def _autoscaled_sentence(plan: Plan, schedule: Schedule, told: Autoscaling, workload: Workload | None) -> str:
    mean, most_usd = math.fsum(told.mean_instances), most_usd_per_hour(plan.groups, plan.cost, schedule)
    saved = 1 - schedule.usd_per_hour / schedule.fixed_usd_per_hour if schedule.fixed_usd_per_hour > 0 else 0.0
    return (
        f"Autoscaled: USD {hourly(schedule.usd_per_hour)} per hour on average ({monthly(schedule.usd_per_hour)} a "
        f"month) and {told.attainment:.2%} of the requests within their targets, in a replay of `hours` by SkyServe's "
        f"rules; {_against(saved)} the cheapest fleet found around the clock ({hourly(schedule.fixed_usd_per_hour)}). "
        f"{mean:.1f} instances on average"
        + (f", started as if {told.headroom_fraction:.0%} more requests came" if told.headroom_fraction else "")
        + (f", never under {told.least_fraction:.0%} of the most" if told.least_fraction else "")
        + f"; by the clock without reserve they cost {hourly(told.scheduled_usd_per_hour)}."
        + _of_half(schedule, told)
        + (
            f" Where more requests come than `hours` says, SkyServe starts up to {schedule.headroom_fraction:.0%} more "
            f"than the table has (headroom_fraction), at USD {hourly(most_usd)} per hour."
            if schedule.headroom_fraction
            else ""
        )
        + (
            " Where no requests come, SkyServe stops the last instance too; the first request then starts one, which "
            f"takes {schedule.startup_minutes:g} minutes, and requests until it serves are refused."
            if schedule.idle_hours
            and not told.least_fraction
            and all(machine.purpose != ROUTER_PURPOSE for machine in plan.overhead)
            and not (workload is not None and workload.router.of_fleet)
            else ""
        )
    )


def _of_half(schedule: Schedule, told: Autoscaling) -> str:
    if told.half_usd_per_hour is None:
        return ""
    return (
        " Requests that stop and come back at once miss their targets until instances have started. Half of the most "
        "always running (launch.min_running_fraction: 0.5) makes that less; with the same reserve it costs "
        f"{hourly(told.half_usd_per_hour)} ({told.half_usd_per_hour / schedule.usd_per_hour - 1:+.1%})."
    )


def _against(saved: float) -> str:
    return f"{saved:.1%} less than" if saved >= 0 else f"{-saved:.1%} more than"


def period_rows(plan: Plan, schedule: Schedule) -> Iterator[tuple[str, ...]]:
    """Under PERIOD_HEAD, those with the most work first."""
    for period in schedule.periods:
        counts = zip(period.instances, plan.groups, strict=True)
        yield (
            f"{period.rate_rps:.4g}{'' if period.sizes is None else f' {period.sizes}'}",
            str(period.hours),
            ", ".join(f"{count} {group.name}" for count, group in counts),
            hourly(period.cost_usd_per_hour),
            "" if period.attainment is None else f"{period.attainment:.2%}",
        )


def picture(schedule: Schedule) -> Iterator[str]:
    """A line a day: a bar an hour, as high as so many instances run of the most."""
    totals = [sum(period.instances) for period in schedule.periods]
    most = max(totals)
    yield f"Instances by the hour, 0 to 23 h {schedule.time_zone} (█ is {most})"
    for day in range(schedule.hours // DAY):
        own = [totals[period] for period in schedule.period_of_hour[day * DAY : (day + 1) * DAY]]
        bars = "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in own)
        name = f"{DAYS[day][:3]} " if schedule.hours == WEEK else ""
        least, largest = min(own), max(own)
        yield f"{name}{bars}  {least if least == largest else f'{least} to {largest}'}"
