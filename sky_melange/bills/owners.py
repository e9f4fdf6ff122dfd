"""Which line of which plan a charge belongs to: by the names that SkyPilot gives its clusters, else by the machine.

SkyPilot tags each machine with its cluster's name: the service and the number of the replica, or the cluster, and then
a hash of the user; names that a cloud finds too long are cut, and have two characters of a hash before that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final

from sky_melange.domain.bill import Charge
from sky_melange.domain.front_door import ROUTER_PURPOSE
from sky_melange.domain.planned_bill import PlannedLine, Purchase

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
