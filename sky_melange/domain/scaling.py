"""What the hours of a plan ask for: how many instances at a moment, or the bounds within which SkyServe decides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from sky_melange.domain.hours import WEEK, Scaling, Schedule
from sky_melange.domain.plan import Cost, Plan, ReplicaGroup
from sky_melange.domain.workload import LaunchMode, Workload
from sky_melange.errors import InputError

DECISION_SECONDS: Final = 20
"""SkyServe's autoscaler decides so often."""

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_QUARTER: Final = timedelta(minutes=15)
"""Time zones differ from UTC by whole quarters of an hour, and clocks change at whole quarters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaPolicy:
    """What SkyServe's autoscaler is given: replicas are instances of the group, requests those that reach its service.

    Delays are how long SkyServe must want more, or fewer, replicas before it acts.
    """

    min_replicas: int
    max_replicas: int
    target_qps_per_replica: float
    upscale_delay_seconds: int
    downscale_delay_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a schedule wants at a moment, in the order of `Plan.groups`.

    `hour` of the cycle in words. `serving`: instances that must serve now; `running`: those that must have been
    started, which are more where an hour that needs them is near.
    """

    hour: str
    serving: tuple[int, ...]
    running: tuple[int, ...]


def scaling_of(plan: Plan, workload: Workload) -> Scaling:
    """How the instances of a plan are scaled. Clusters are not: SkyPilot cannot change the nodes of one that runs."""
    schedule, asked = plan.schedule, workload.launch.scaling
    if schedule is None or workload.launch.mode is LaunchMode.CLUSTER:
        return Scaling.FIXED
    if asked is not None:
        return asked
    return Scaling.SCHEDULE if schedule.usd_per_hour < schedule.fixed_usd_per_hour else Scaling.FIXED


def most_replicas(instances: int, schedule: Schedule) -> int:
    """The most that SkyServe may start of a group with so many in the busiest hour."""
    return math.ceil(instances * (1 + schedule.headroom_fraction) - 1e-9)


def most_usd_per_hour(groups: Sequence[ReplicaGroup], cost: Cost, schedule: Schedule) -> float:
    """What an autoscaled plan costs while all run that SkyServe may start."""
    most = (group.costs(most_replicas(group.instances, schedule)) for group in groups)
    return math.fsum((cost.overhead_usd_per_hour, *most))


def counts_by_hour(schedule: Schedule) -> tuple[tuple[int, ...], ...]:
    """For each hour of the cycle the instances of each group."""
    return tuple(schedule.periods[period].instances for period in schedule.period_of_hour)


def wanted_at(schedule: Schedule, moment: datetime, *, every_minutes: float) -> Wanted:
    """For a moment with a time zone, where the next look is `every_minutes` later.

    An instance is started `startup_minutes` before the hour that needs it, and earlier by as much as the next look may
    be late. The hours are those that the clocks in the schedule's time zone show: one that clocks skip does not come,
    one that they repeat comes twice. Raises InputError for a time zone that is not known.
    """
    zone = zone_of(schedule.time_zone)
    counts = counts_by_hour(schedule)
    start = moment.astimezone(UTC)
    ready = start + timedelta(minutes=schedule.startup_minutes)
    ahead = {_hour(schedule, each.astimezone(zone)) for each in (start, ready)}
    ahead |= {_hour(schedule, each.astimezone(zone)) for each in _quarters(start, ready, every_minutes)}
    now = _hour(schedule, start.astimezone(zone))
    return Wanted(
        hour=hour_words(schedule, now),
        serving=counts[now],
        running=tuple(max(each) for each in zip(*(counts[hour] for hour in sorted(ahead)), strict=True)),
    )


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its IANA name. Raises InputError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        message = f"{name[:60]!r} is not a time zone that this machine knows: use an IANA name such as Europe/Berlin"
        raise InputError(f"{message}; where there is no time zone database, `pip install tzdata`") from error


def hour_words(schedule: Schedule, hour: int) -> str:
    """`Tuesday 03:00`, or `03:00` of every day."""
    day = f"{_DAYS[hour // 24]} " if len(schedule.period_of_hour) == WEEK else ""
    return f"{day}{hour % 24:02d}:00"


def _hour(schedule: Schedule, local: datetime) -> int:
    return local.weekday() * 24 + local.hour if len(schedule.period_of_hour) == WEEK else local.hour


def _quarters(start: datetime, ready: datetime, every_minutes: float) -> Iterator[datetime]:
    """The quarters of an hour after `start` and before the last moment that the next look would be too late for."""
    end = ready + timedelta(minutes=every_minutes)
    quarter = start.replace(minute=start.minute // 15 * 15, second=0, microsecond=0) + _QUARTER
    while quarter < end:
        yield quarter
        quarter += _QUARTER
