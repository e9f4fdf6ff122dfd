"""A plan by the hours: what it costs on average, its periods, and a picture of how many instances run when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sky_melange.domain.hours import DAY, DAYS, WEEK, Schedule
from sky_melange.domain.plan import Plan
from sky_melange.render.money import hourly, monthly

PERIOD_HEAD: Final = ("Up to req/s", "Hours", "Instances", "USD/h", "Within targets")
PERIOD_NUMBERS: Final = (0, 1, 3, 4)

_BARS: Final = "▁▂▃▄▅▆▇█"


def clock_sentence(plan: Plan, schedule: Schedule) -> str:
    """`By the clock: USD 20.4672 per hour on average …`"""
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
        f"{'a week' if schedule.hours == WEEK else 'a day'}. The busiest hour costs "
        f"{hourly(plan.cost.total_usd_per_hour)}; its instances are those of the table. There is no reserve for a week "
        "with other peaks than `hours`: give them some, or set `launch.scaling: autoscale` (docs/hours.md)."
    )


def period_rows(plan: Plan, schedule: Schedule) -> Iterator[tuple[str, ...]]:
    """Under PERIOD_HEAD, the busiest first."""
    for period in schedule.periods:
        counts = zip(period.instances, plan.groups, strict=True)
        yield (
            f"{period.rate_rps:.4g}",
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
        bars = "".join(_BARS[max(0, -(-count * len(_BARS) // most) - 1)] for count in own)
        name = f"{DAYS[day][:3]} " if schedule.hours == WEEK else ""
        least, largest = min(own), max(own)
        yield f"{name}{bars}  {least if least == largest else f'{least} to {largest}'}"
