"""What was billed for one line, and why it is not what was planned. Exact: fractions throughout.

A line is planned at one price p. With H hours billed, of which W begin in the period, P hours planned in it, and R of
those while something of the line ran: price is billed - p·H, count is p·(W - R), hours are p·(H - W + R - P). Their sum
is billed - p·P.

Which line of which plan a charge belongs to: by the names that SkyPilot gives its clusters, else by the machine.

SkyPilot tags each machine with its cluster's name: the service and the number of the replica, or the cluster, and then
a hash of the user; names that a cloud finds too long are cut, and have two characters of a hash before that.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Final

from sky_melange.domain.bill import Cause, Charge, cents
from sky_melange.domain.front_door import ROUTER_PURPOSE
from sky_melange.domain.planned_bill import InstanceHours, PlannedLine, Purchase

_USER_HASH: Final = re.compile(r"-[0-9a-f]{8}$")
_CUT: Final = re.compile(r"(.+)-[0-9a-z]{2}")
_MOST_REMEMBERED: Final = 20_000
_SHORTEST_CUT: Final = 26
"""No cloud of SkyPilot's cuts names of clusters to fewer characters."""


class Via(StrEnum):
    """How a charge was attributed."""

    TAGS = "tags"
    MACHINE = "machine"
    NONE = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The units that a charge may belong to: one, or several that it fits alike, or none."""

    units: tuple[int, ...]
    via: Via


@dataclass(frozen=True, kw_only=True)
class Unit:
    """The lines of one group, or of one machine beside them: indices into all lines."""

    lines: tuple[int, ...]
    first: PlannedLine

    @cached_property
    def machine(self) -> re.Pattern[str] | None:
        """Its instance type in the words of a bill; None: it has none."""
        name = self.first.instance_type.lower()
        if not name:
            return None
        spellings = {name, name.removeprefix("standard_").replace("_", " ")}
        return re.compile(f"(?<![a-z0-9.])(?:standard_)?({'|'.join(map(re.escape, sorted(spellings)))})(?![a-z0-9])")

    def is_sold(self, charge: Charge) -> bool:
        """Whether the charge is of its machine, in its region, on demand or spot as planned."""
        is_spot = self.first.purchase is Purchase.SPOT
        return (
            charge.cloud == self.first.cloud
            and charge.region == self.first.region.lower()
            and (not charge.pricing or is_spot == (charge.pricing == "Dynamic"))
            and self.machine is not None
            and self.machine.search(charge.machine) is not None
        )


class Owners:
    """Finds the unit of a charge; what was found once is remembered, since bills have few kinds of rows."""

    def __init__(self, lines: Sequence[PlannedLine]) -> None:
        found: dict[tuple[str, str, str], list[int]] = {}
        for index, line in enumerate(lines):
            found.setdefault((line.workload, line.group, line.name), []).append(index)
        self.units = tuple(Unit(lines=tuple(at), first=lines[at[0]]) for at in found.values())
        self._found: dict[tuple[str, ...], Found] = {}

    def of(self, charge: Charge) -> Found:
        """The unit, or all that it may be."""
        key = (*charge.planned, charge.cluster, charge.cloud, charge.region, charge.machine, charge.pricing)
        found = self._found.get(key)
        if found is None:
            if len(self._found) >= _MOST_REMEMBERED:
                self._found.clear()
            found = self._found[key] = self._look(charge)
        return found

    def _look(self, charge: Charge) -> Found:
        workload, group = charge.planned
        if workload:
            named = [
                n for n, unit in enumerate(self.units) if (unit.first.workload, unit.first.name) == (workload, group)
            ]
            return Found(units=tuple(named), via=Via.TAGS)
        if charge.cluster:
            return Found(units=self._narrowed(self._of_cluster(charge.cluster), charge), via=Via.TAGS)
        return Found(units=tuple(n for n, unit in enumerate(self.units) if unit.is_sold(charge)), via=Via.MACHINE)

    def _of_cluster(self, name: str) -> list[int]:
        plain = re.sub("[._]", "-", name).lower()
        own = _USER_HASH.sub("", plain)
        exact = [n for n, unit in enumerate(self.units) if _is_of(unit.first, own) or _is_of(unit.first, plain)]
        cut = _CUT.fullmatch(own)
        if exact or cut is None or len(plain) < _SHORTEST_CUT:
            return exact
        return [n for n, unit in enumerate(self.units) if f"{_plain(unit.first)}-".startswith(cut[1])]

    def _narrowed(self, units: Sequence[int], charge: Charge) -> tuple[int, ...]:
        """Those of its machine, where names alone leave several."""
        sold = [n for n in units if self.units[n].is_sold(charge)] if len(units) > 1 else []
        return tuple(sold or units)


_HOUR_S: Final = 3600
_NONE: Final = Fraction(0)


@dataclass(slots=True)
class Billed:
    """What was billed for one line, by one way of attributing."""

    machines: Decimal = Decimal(0)
    extras: Decimal = Decimal(0)
    credits: Decimal = Decimal(0)
    rows: int = 0
    lacks_hours: bool = False
    hours: dict[tuple[int, int, int], list[Fraction]] = field(default_factory=dict)
    """(resource, start, end) -> hours, hours of GPUs, the longest of its parts."""

    def add(self, charge: Charge, resource: int) -> None:
        """One row."""
        self.rows += 1
        if charge.category != "Usage" or charge.is_correction:
            self.credits += charge.cost
            return
        if not charge.is_machine:
            self.extras += charge.cost
            return
        self.machines += charge.cost
        if charge.hours is None and charge.gpu_hours is None:
            self.lacks_hours = True
            return
        found = self.hours.setdefault((resource, charge.start_s, charge.end_s), [_NONE, _NONE, _NONE])
        if charge.gpu_hours is not None:
            found[1] += charge.gpu_hours
        elif charge.cloud == "gcp":
            found[2] = max(found[2], charge.hours or _NONE)
        else:
            found[0] += charge.hours or _NONE

    def join(self, other: Billed) -> None:
        """Takes in what was attributed in another way; none of its rows is among those here."""
        self.machines += other.machines
        self.extras += other.extras
        self.credits += other.credits
        self.rows += other.rows
        self.lacks_hours |= other.lacks_hours
        for key, hours in other.hours.items():
            mine = self.hours.get(key, [_NONE, _NONE, _NONE])
            self.hours[key] = [one + more for one, more in zip(mine, hours, strict=True)]

    @property
    def total(self) -> Decimal:
        """All of it."""
        return self.machines + self.extras + self.credits


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactLine:
    """A line before cents."""

    planned: Fraction
    machines: Fraction
    causes: Mapping[Cause, Fraction]
    planned_hours: Fraction
    billed_hours: Fraction | None
    late: Fraction
    via: Via

    @property
    def billed(self) -> Fraction:
        """Planned and all that differs."""
        return self.planned + sum(self.causes.values(), _NONE)

    def part(self, of_cost: Fraction, of_hours: Fraction) -> ExactLine:
        """What one of those pays who divide a machine, in hours of its part."""
        return ExactLine(
            planned=self.planned * of_cost,
            machines=self.machines * of_cost,
            causes={cause: usd * of_cost for cause, usd in self.causes.items()},
            planned_hours=self.planned_hours * of_hours,
            billed_hours=None if self.billed_hours is None else self.billed_hours * of_hours,
            late=self.late * of_hours,
            via=self.via,
        )

    def in_cents(self, difference: Decimal) -> Mapping[Cause, Decimal]:
        """The causes that there are, adding up to a difference."""
        there = [(cause, usd) for cause, usd in self.causes.items() if usd]
        return dict(zip((cause for cause, _ in there), cents([usd for _, usd in there], difference), strict=True))


def exact_line(line: PlannedLine, billed: Billed, via: Via, period: tuple[int, int]) -> ExactLine:
    """The line in a period, from what was billed for it."""
    planned_hours = line.hours.between(*period)
    price = line.price or _NONE
    planned = price * planned_hours
    machines = Fraction(billed.machines)
    causes = {Cause.EXTRAS: Fraction(billed.extras), Cause.CREDITS: Fraction(billed.credits)}
    late = _NONE
    billed_hours: Fraction | None = None
    if billed.lacks_hours:
        causes[Cause.UNSPLIT] = machines - planned
    else:
        within, late, running = _hours(billed, line.accelerators_per_instance, period)
        billed_hours = within + late
        while_running = planned_while(line.hours, running, period)
        causes[Cause.PRICE] = machines - price * billed_hours
        causes[Cause.COUNT] = price * (within - while_running)
        causes[Cause.HOURS] = price * (late + while_running - planned_hours)
    return ExactLine(
        planned=planned,
        machines=machines,
        causes=causes,
        planned_hours=planned_hours,
        billed_hours=billed_hours,
        late=late,
        via=via,
    )


Running = dict[tuple[int, int], Fraction]
"""(start, end) -> the part of it in which something ran."""


def _hours(billed: Billed, gpus: int, period: tuple[int, int]) -> tuple[Fraction, Fraction, Running]:
    """Instance-hours that begin in the period, those that do not, and when something ran."""
    within, late = _NONE, _NONE
    running: Running = {}
    for (_, start_s, end_s), (hours, of_gpus, of_parts) in billed.hours.items():
        length = Fraction(end_s - start_s, _HOUR_S)
        found = hours
        if of_gpus and gpus:
            found += of_gpus / gpus
        else:
            found += min(length, of_parts or of_gpus)
        if not period[0] <= start_s < period[1]:
            late += found
            continue
        within += found
        if found > 0 and length:
            share = min(Fraction(1), found / length)
            running[start_s, end_s] = max(share, running.get((start_s, end_s), _NONE))
    return within, late, running


def planned_while(hours: InstanceHours, running: Running, period: tuple[int, int]) -> Fraction:
    """Planned instance-hours in the time in which something of the line ran; of rows that overlap the longest part."""
    edges = sorted({min(edge, period[1]) for span in running for edge in span})
    starts = sorted(running.items())
    total, at = _NONE, 0
    open_: list[tuple[Fraction, int]] = []
    for start_s, end_s in pairwise(edges):
        while at < len(starts) and starts[at][0][0] <= start_s:
            (_, until_s), share = starts[at]
            heapq.heappush(open_, (-share, until_s))
            at += 1
        while open_ and open_[0][1] <= start_s:
            heapq.heappop(open_)
        if open_:
            total += hours.between(start_s, end_s) * -open_[0][0]
    return total


def _is_of(line: PlannedLine, name: str) -> bool:
    cluster = _plain(line)
    if not cluster:
        return False
    if not line.group:
        # The controller's name ends with the hash of an API server, which any number of plans share.
        return name == cluster or (line.name != ROUTER_PURPOSE and name.startswith(f"{cluster}-"))
    number = name.removeprefix(f"{cluster}-")
    is_numbered = number != name and number.isdecimal()
    return is_numbered or (line.is_numbered is None and name == cluster)


def _plain(line: PlannedLine) -> str:
    return re.sub("[._]", "-", line.cluster).lower()
