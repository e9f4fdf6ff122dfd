"""What the figures of a schedule owe each other, the plan that it belongs to, and the hours that it is for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from sky_melange.domain.hours import DAY, WEEK, Hours, Scaling, Schedule, starts_in
from sky_melange.domain.plan import Plan, terms_of
from sky_melange.domain.workload import Workload

_TOLERANCE = 1e-9


def schedule_faults(plan: Plan, workload: Workload) -> tuple[str, ...]:
    """Each as `key: what is wrong`; empty where there are none, or no schedule."""
    if plan.schedule is None:
        return ()
    shape = tuple(_shape(plan, workload))
    return shape or (*_rates(plan, workload), *_instances(plan, workload), *_costs(plan), *_attainment(plan, workload))


def _shape(plan: Plan, workload: Workload) -> Iterator[str]:
    """What the other rules take for granted."""
    schedule, hours = plan.schedule, workload.traffic.hours
    if schedule is None:
        return
    if hours is None:
        yield "schedule: the workload in this file has no traffic.hours; plan again"
        return
    if schedule.hours not in (DAY, WEEK) or schedule.hours != len(hours.rates_rps):
        wanted = len(hours.rates_rps)
        yield f"schedule.period_of_hour: has {schedule.hours} hours, traffic.hours has {wanted}; plan again"
    if sorted(set(schedule.period_of_hour)) != list(range(len(schedule.periods))):
        yield (
            f"schedule.period_of_hour: must name each of the {len(schedule.periods)} periods, from 0, at least once, "
            "and no other"
        )
    yield from _sizes(schedule, hours)
    for number, period in enumerate(schedule.periods):
        if len(period.instances) != len(plan.groups):
            yield (
                f"schedule.periods[{number}].instances: want one for each of the {len(plan.groups)} groups, found "
                f"{len(period.instances)}"
            )
    if not math.isclose(schedule.headroom_fraction, hours.headroom_fraction, abs_tol=_TOLERANCE):
        yield (
            f"schedule.headroom_fraction: is {schedule.headroom_fraction:g}, traffic.hours has "
            f"{hours.headroom_fraction:g}; plan again"
        )
    told = schedule.autoscaling
    if told is not None and len(told.mean_instances) != len(plan.groups):
        yield f"schedule.autoscaling.mean_instances: want one for each of the {len(plan.groups)} groups; plan again"
    if told is not None and not (told.attainment <= 1 and told.least_fraction <= 1):
        yield "schedule.autoscaling: attainment and least_fraction are at most 1"
    if told is not None and workload.launch.scaling is not Scaling.AUTOSCALE:
        yield "schedule.autoscaling: launch.scaling is not autoscale; plan again"
    asked = workload.launch.min_running_fraction
    if told is not None and told.least_fraction < asked:
        yield f"schedule.autoscaling.least_fraction: is {told.least_fraction:g}, launch asks for {asked:g}; plan again"
    if schedule.time_zone != hours.time_zone:
        yield f"schedule.time_zone: is {schedule.time_zone[:60]!r}, but traffic.hours is in {hours.time_zone[:60]!r}"


def _rates(plan: Plan, workload: Workload) -> Iterator[str]:
    schedule, hours = plan.schedule, workload.traffic.hours
    if schedule is None or hours is None:
        return
    planned_rps = hours.planned_rps(workload.launch.scaling)
    for number, period in enumerate(schedule.periods):
        own = [rate for rate, of in zip(planned_rps, schedule.period_of_hour, strict=True) if of == number]
        if period.hours != len(own):
            yield f"schedule.periods[{number}].hours: is {period.hours}, but period_of_hour names it {len(own)} times"
        if not max(own) <= period.rate_rps * (1 + _TOLERANCE):
            yield (
                f"schedule.periods[{number}].rate_rps: is {period.rate_rps!r}, but traffic.hours needs {max(own)!r} in "
                "one of its hours; plan again"
            )
    busiest_rps = hours.busiest_rps if hours.sizes else (workload.traffic.request_rate_rps,)
    for each, planned in zip(_names(hours), busiest_rps, strict=True):
        rated = [(number, period.rate_rps) for number, period in enumerate(schedule.periods) if period.sizes == each]
        if any(one <= other for (_, one), (_, other) in pairwise(rated)):
            yield "schedule.periods: must be in the order of their rates, the busiest first"
        number, peak = rated[0]
        if not math.isclose(peak, planned, rel_tol=1e-6):
            wanted = f"but the plan is for {planned!r} in the busiest hour"
            yield f"schedule.periods[{number}].rate_rps: is {peak!r}, {wanted}"


def _sizes(schedule: Schedule, hours: Hours) -> Iterator[str]:
    """Hours with requests belong to periods with their sizes, and each set of sizes has a period."""
    names = _names(hours)
    if {period.sizes for period in schedule.periods} != set(names):
        listed = ", ".join(each or "none" for each in names)
        yield f"schedule.periods: their sizes must be those of traffic.hours ({listed[:200]}), each at least once"
        return
    for hour, (number, of) in enumerate(zip(schedule.period_of_hour, hours.sizes_of_hour, strict=False)):
        if of >= 0 and number < len(schedule.periods) and schedule.periods[number].sizes != names[of]:
            yield f"schedule.period_of_hour[{hour}]: is of a period with other sizes than traffic.hours has; plan again"


def _names(hours: Hours) -> list[str | None]:
    """Of the sets of sizes; None alone where there are none."""
    return [each.name for each in hours.sizes] or [None]


def _instances(plan: Plan, workload: Workload) -> Iterator[str]:
    schedule = plan.schedule
    if schedule is None:
        return
    counts = [period.instances for period in schedule.periods]
    if counts[0] != tuple(group.instances for group in plan.groups):
        yield "schedule.periods[0].instances: must be those of the groups; plan again instead of editing"
    for number, row in enumerate(counts):
        may_stop = not schedule.periods[number].rate_rps and workload.constraints.may_stop
        if min(row) < (0 if may_stop else 1):
            yield f"schedule.periods[{number}].instances: every group runs at least one instance in each hour"
        if number and any(now > before for now, before in zip(row, counts[number - 1], strict=True)):
            yield f"schedule.periods[{number}].instances: no group runs more in a quieter period"
    starts = sum(starts_in(schedule.period_of_hour, counts))
    if schedule.starts != starts:
        yield f"schedule.starts: is {schedule.starts}, but the counts change by {starts} upwards in a cycle"


def _costs(plan: Plan) -> Iterator[str]:
    schedule = plan.schedule
    if schedule is None:
        return
    beside = math.fsum(machine.price_usd_per_hour or 0.0 for machine in plan.overhead)
    prices = [group.price_usd_per_hour for group in plan.groups]
    for number, period in enumerate(schedule.periods):
        paid = math.fsum((beside, *(g.costs(n) for g, n in zip(plan.groups, period.instances, strict=True))))
        if not _agree(period.cost_usd_per_hour, paid):
            yield (
                f"schedule.periods[{number}].cost_usd_per_hour: is {period.cost_usd_per_hour!r}, but its parts give "
                f"{paid!r}; plan again instead of editing"
            )
    mean = schedule.mean_usd_per_hour(prices, beside, terms_of(plan.groups))
    if not _agree(schedule.usd_per_hour, mean):
        yield (
            f"schedule.usd_per_hour: is {schedule.usd_per_hour!r}, but hours, starts and prices give {mean!r}; plan "
            "again instead of editing"
        )
    bound = schedule.bound_usd_per_hour
    if bound is not None and bound > schedule.usd_per_hour * (1 + _TOLERANCE):
        yield f"schedule.bound_usd_per_hour: is {bound!r}, more than the schedule itself costs"


def _attainment(plan: Plan, workload: Workload) -> Iterator[str]:
    schedule, target = plan.schedule, workload.slo.attainment
    for number, period in enumerate(() if schedule is None else schedule.periods):
        key = f"schedule.periods[{number}].attainment"
        if (period.attainment is None) != (plan.simulated is None or not period.rate_rps):
            yield f"{key}: is there where, and only where, the plan is simulated and requests come"
        elif period.attainment is not None and not (target or 0.0) <= period.attainment <= 1:
            yield f"{key}: is {period.attainment:g}, want slo.attainment ({target}) to 1; plan again"


def _agree(stated: float, computed: float) -> bool:
    return math.isclose(stated, computed, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
