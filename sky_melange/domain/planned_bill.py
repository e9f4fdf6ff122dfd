"""A plan as lines of a bill: what is bought, at which price, and for how many instance-hours of any period. Exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from typing import Final

from sky_melange.domain.fleet import SharedMachine
from sky_melange.domain.front_door import ROUTER_PURPOSE
from sky_melange.domain.hours import DAY, WEEK, Scaling, Schedule
from sky_melange.domain.machine import Machine, WithGpus
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Overhead, Plan, ReplicaGroup
from sky_melange.domain.router import router_cluster
from sky_melange.domain.scaling import scaling_of, zone_of
from sky_melange.domain.workload import LaunchMode, Workload

CONTROLLER_CLUSTER: Final = "sky-serve-controller"
"""How the name of SkyServe's controller begins; the hash of its API server follows."""

_HOUR_S: Final = 3600


class Purchase(StrEnum):
    """How a machine is paid: by the hour, by the hour while nobody pays more, or through a term."""

    ON_DEMAND = "on demand"
    SPOT = "spot"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceHours:
    """Instance-hours in each hour of a cycle by the clocks of `time_zone`; one value: the same in every hour."""

    counts: tuple[Fraction, ...]
    time_zone: str = "UTC"

    def between(self, start_s: int, end_s: int) -> Fraction:
        """From one moment to another, seconds since 1970. An hour that clocks repeat counts twice, as it is billed."""
        if len(self.counts) == 1:
            return self.counts[0] * Fraction(max(0, end_s - start_s), _HOUR_S)
        zone = zone_of(self.time_zone)
        total, now_s = Fraction(0), start_s
        while now_s < end_s:
            local = datetime.fromtimestamp(now_s, UTC).astimezone(zone)
            hour = local.weekday() * DAY + local.hour if len(self.counts) == WEEK else local.hour
            next_s = min(end_s, now_s + _HOUR_S - local.minute * 60 - local.second)
            total += self.counts[hour] * Fraction(next_s - now_s, _HOUR_S)
            now_s = next_s
        return total


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLine(WithGpus):
    """One machine of a plan, bought in one way.

    `group` is "" for a machine beside the replicas; `name` is the group, or the purpose of that machine. `cluster`:
    the name that it is launched by, `is_numbered`: followed by a number (True), or not (False); None: by either.
    `price` is USD per hour of an instance, None: not known. `list_price` is that on demand or spot without a term,
    None: not known, as where the price is your own. `hours`: what is paid for; `used`: what runs of it.
    """

    workload: str
    model: str
    group: str
    name: str
    zone: str | None
    purchase: Purchase
    price: Fraction | None
    list_price: Fraction | None
    hours: InstanceHours
    used: InstanceHours
    cluster: str
    is_numbered: bool | None
    term: str = ""

    def cost(self, start_s: int, end_s: int) -> Fraction:
        """USD from one moment to another; 0 where the price is not known."""
        return (self.price or Fraction(0)) * self.hours.between(start_s, end_s)


def exact(value: float) -> Fraction:
    """The decimal that a float is written as: 0.1 is a tenth."""
    return Fraction(repr(value))


def planned_lines(plan: Plan, workload: Workload) -> tuple[PlannedLine, ...]:
    """Every machine of a plan: of each group those that are committed, those by the hour, then the overhead."""
    lines: list[PlannedLine] = []
    for index, group in enumerate(plan.groups):
        lines += _group_lines(plan, workload, group, _counts(plan, workload, index))
    return (*lines, *(_overhead_line(plan, workload, machine) for machine in plan.overhead))


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedLine:
    """The machines of one kind that workloads divide: a line of their own, and who pays how much of it.

    `parts` by workload and group: the fraction of the cost, by GPUs in use, and the parts of a machine.
    """

    line: PlannedLine
    parts: Mapping[tuple[str, str], tuple[Fraction, Fraction]]


def shared_lines(machines: Sequence[SharedMachine]) -> tuple[SharedLine, ...]:
    """A line for each kind of machine."""
    kinds: dict[Machine, list[SharedMachine]] = {}
    for each in machines:
        kinds.setdefault(each.machine, []).append(each)
    return tuple(_shared_line(each) for each in kinds.values())


def _shared_line(machines: Sequence[SharedMachine]) -> SharedLine:
    first = machines[0]
    engines, gpus = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for engine in (engine for machine in machines for engine in machine.engines):
        engines[engine.workload, engine.group] += 1
        gpus[engine.workload, engine.group] += len(engine.gpus)
    # Several are numbered.
    is_numbered = not first.name.endswith(f"-x{first.accelerators_per_instance}")
    name = first.name.rpartition("-")[0] if is_numbered else first.name
    price, always = exact(first.price_usd_per_hour), InstanceHours(counts=(Fraction(len(machines)),))
    line = PlannedLine(
        workload="",
        model="",
        group=name,
        name=name,
        cloud=first.cloud,
        region=first.region,
        zone=first.zone,
        instance_type=first.instance_type,
        accelerator=first.accelerator,
        accelerators_per_instance=first.accelerators_per_instance,
        purchase=Purchase.ON_DEMAND,
        price=price,
        list_price=price if first.price.is_listed else None,
        hours=always,
        used=always,
        cluster=name,
        is_numbered=None,
    )
    parts = {key: (Fraction(gpus[key], gpus.total()), Fraction(count, len(machines))) for key, count in engines.items()}
    return SharedLine(line=line, parts=parts)


def _counts(plan: Plan, workload: Workload, index: int) -> tuple[tuple[Fraction, ...], Schedule | None]:
    """The instances of a group in each hour of the cycle; the schedule where the clock decides them."""
    schedule = plan.schedule
    scaling = scaling_of(plan, workload)
    if schedule is None or scaling is Scaling.FIXED:
        return (Fraction(plan.groups[index].instances),), None
    if scaling is Scaling.AUTOSCALE and schedule.autoscaling is not None:
        return (exact(schedule.autoscaling.mean_instances[index]),), None
    counts = tuple(Fraction(schedule.periods[period].instances[index]) for period in schedule.period_of_hour)
    return counts, schedule


def _group_lines(
    plan: Plan, workload: Workload, group: ReplicaGroup, counted: tuple[tuple[Fraction, ...], Schedule | None]
) -> list[PlannedLine]:
    counts, schedule = counted
    zone = "UTC" if schedule is None else schedule.time_zone
    committed = Fraction(0 if group.committed is None else group.committed.instances)
    is_serve = workload.launch.mode is LaunchMode.SERVE
    price = exact(group.price_usd_per_hour)

    def line(
        purchase: Purchase, paid: InstanceHours, used: InstanceHours, rate: Fraction, term: str = ""
    ) -> PlannedLine:
        return PlannedLine(
            workload=plan.name,
            model=workload.model.id,
            group=group.name,
            name=group.name,
            cloud=group.cloud,
            region=group.region,
            zone=group.zone,
            instance_type=group.instance_type,
            accelerator=group.accelerator,
            accelerators_per_instance=group.accelerators_per_instance,
            purchase=purchase,
            price=rate,
            list_price=price if group.price.is_listed else None,
            hours=paid,
            used=used,
            cluster=group.name,
            is_numbered=True if is_serve else None,
            term=term,
        )

    lines = []
    if group.committed is not None and committed:
        used = InstanceHours(counts=tuple(min(count, committed) for count in counts), time_zone=zone)
        rate = exact(group.committed.price_usd_per_hour)
        lines = [line(Purchase.COMMITTED, InstanceHours(counts=(committed,)), used, rate, group.committed.kind.value)]
    rest = [max(Fraction(0), count - committed) for count in counts]
    if any(rest) or not lines:
        paid = InstanceHours(counts=_with_starts(rest, schedule), time_zone=zone)
        by_the_hour = Purchase.SPOT if group.use_spot else Purchase.ON_DEMAND
        lines.append(line(by_the_hour, paid, paid, price))
    return lines


def _with_starts(counts: Sequence[Fraction], schedule: Schedule | None) -> tuple[Fraction, ...]:
    """What is paid in each hour: the instances of the hour, and those that start then for the next."""
    if schedule is None:
        return tuple(counts)
    ahead = exact(schedule.startup_minutes) / 60
    return tuple(
        count + max(Fraction(0), counts[(hour + 1) % len(counts)] - count) * ahead for hour, count in enumerate(counts)
    )


def _overhead_line(plan: Plan, workload: Workload, machine: Overhead) -> PlannedLine:
    price = exact(machine.price_usd_per_hour) if machine.price_usd_per_hour is not None else None
    always = InstanceHours(counts=(Fraction(1),))
    listed = machine.price is not None and machine.price.is_listed
    names = {CONTROLLER_PURPOSE: CONTROLLER_CLUSTER, ROUTER_PURPOSE: router_cluster(plan.name)}
    return PlannedLine(
        workload=plan.name,
        model=workload.model.id,
        group="",
        name=machine.purpose,
        cloud=machine.cloud,
        region=machine.region,
        zone=None,
        instance_type=machine.instance_type,
        accelerator="",
        accelerators_per_instance=0,
        purchase=Purchase.ON_DEMAND,
        price=price,
        list_price=price if listed else None,
        hours=always,
        used=always,
        cluster=machine.cluster or names.get(machine.purpose, ""),
        is_numbered=False,
    )
