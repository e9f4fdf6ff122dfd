"""What a plan folder says it launches: the few fields of plan.json that a launch can be held against."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from sky_melange.domain.hours import Scaling
from sky_melange.domain.offer import OWN_PRICES
from sky_melange.domain.plan import PLAN_SCHEMA_VERSION
from sky_melange.domain.workload import LaunchMode
from sky_melange.errors import InputError, Mistake
from sky_melange.plan_file.text import read_document

PLAN_FILE_NAME: Final = "plan.json"
_MAX_COUNT: Final = 1_000_000
_MAX_PRICE_USD_PER_HOUR: Final = 1_000_000_000.0
_LEAST_PRICE: Final = 5e-324

Sale: TypeAlias = tuple[str, str, str | None, str, str, int, bool]
"""(cloud, region, zone, instance type, catalog accelerator, count, spot). The type alone is not enough: one Google host
type is sold with many accelerators."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGroup:
    """One replica group as planned: which machine, how many of it, at what price per machine, in which file."""

    name: str
    cloud: str
    region: str
    zone: str | None
    instance_type: str
    catalog_accelerator: str
    accelerators_per_instance: int
    use_spot: bool
    instances: int
    price_usd_per_hour: float
    file: str
    autoscaled: tuple[int, int] | None = None
    """The fewest and the most instances that its hours need, where SkyServe scales between them."""
    is_own_price: bool = False
    """From the user's own list (`prices.overrides`): SkyPilot's catalogs do not know it."""

    @property
    def sale(self) -> Sale:
        """What is bought: a machine type with its accelerators, in a place. It has one price."""
        return (
            self.cloud,
            self.region,
            self.zone,
            self.instance_type,
            self.catalog_accelerator,
            self.accelerators_per_instance,
            self.use_spot,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLaunch:
    """All groups of a plan, and whether they are services or clusters (None where the plan does not say).

    `replicas_usd_per_hour` is the plan's own total over them, None where it states none.
    """

    groups: tuple[PlannedGroup, ...]
    mode: LaunchMode | None
    replicas_usd_per_hour: float | None


def read_planned_launch(folder: Path) -> PlannedLaunch:
    """Read `folder`/plan.json.

    Raises InputError, with every mistake found, when `plan_file` does not read the file as JSON, or it is of a newer
    schema or lacks what a launch needs.
    """
    path = folder / PLAN_FILE_NAME
    document = read_document(path)
    reader = _Reader(source=str(path))
    launch = reader.launch(document)
    if reader.mistakes:
        raise InputError(reader.mistakes)
    return launch


class _Reader:
    """Collects mistakes while reading, so that all are reported at once."""

    def __init__(self, *, source: str) -> None:
        self.source = source
        self.mistakes: list[Mistake] = []

    def launch(self, document: Mapping[str, Any]) -> PlannedLaunch:
        version = document.get("schema_version")
        if type(version) is not int or version < 1:
            self._mistake("schema_version", f"must be 1 to {PLAN_SCHEMA_VERSION}, found {version!r}")
        elif version > PLAN_SCHEMA_VERSION:
            message = f"is {version}, this version reads 1 to {PLAN_SCHEMA_VERSION}: upgrade sky-melange"
            self._mistake("schema_version", message)
            raise InputError(self.mistakes)
        entries = document.get("groups")
        if not isinstance(entries, list) or not entries:
            self._mistake("groups", "must list at least one replica group")
            entries = []
        bounds = self._bounds(document, len(entries))
        groups = tuple(self._group(f"groups[{index}]", entry, bounds[index]) for index, entry in enumerate(entries))
        self._refuse_repeated("name", [group.name for group in groups])
        self._refuse_repeated("file", [group.file for group in groups])
        self._refuse_two_prices(groups)
        return PlannedLaunch(
            groups=groups,
            mode=self._mode(document.get("launch_mode")),
            replicas_usd_per_hour=self._replicas_cost(document.get("cost")),
        )

    def _bounds(self, document: Mapping[str, Any], groups: int) -> Sequence[tuple[int, int] | None]:
        """For each group; None where SkyServe does not scale it."""
        none = [None] * groups
        workload, schedule = document.get("workload"), document.get("schedule")
        launch = workload.get("launch") if isinstance(workload, dict) else None
        if schedule is None or not isinstance(launch, dict) or launch.get("scaling") != Scaling.AUTOSCALE:
            return none
        periods = schedule.get("periods") if isinstance(schedule, dict) else None
        if not isinstance(periods, list) or not periods:
            self._mistake("schedule.periods", "must list at least one period")
            return none
        counts = [period.get("instances") if isinstance(period, dict) else None for period in periods]
        if not all(_are_counts(each, groups) for each in counts):
            self._mistake("schedule.periods", f"each must have instances of all {groups} groups, at least 1 of each")
            return none
        ranges = [(min(each), max(each)) for each in zip(*counts, strict=True)]
        return [None if fewest == most else (fewest, most) for fewest, most in ranges]

    def _mode(self, mode: object) -> LaunchMode | None:
        if mode is None:
            return None
        if isinstance(mode, str) and mode in set(LaunchMode):
            return LaunchMode(mode)
        self._mistake("launch_mode", f"must be {' or '.join(LaunchMode)}, found {_shown(mode)}")
        return None

    def _replicas_cost(self, cost: object) -> float | None:
        if not isinstance(cost, dict) or "replicas_usd_per_hour" not in cost:
            return None
        return self._price(cost, "cost", "replicas_usd_per_hour", least=0.0)

    def _group(self, key: str, entry: object, autoscaled: tuple[int, int] | None) -> PlannedGroup:
        fields: Mapping[str, Any] = entry if isinstance(entry, dict) else {}
        if fields is not entry:
            self._mistake(key, "must be an object")
        spot = fields.get("use_spot")
        if not isinstance(spot, bool):
            self._mistake(f"{key}.use_spot", f"must be true or false, found {_shown(spot)}")
        origin = fields.get("price")
        own = isinstance(origin, dict) and origin.get("source") == OWN_PRICES
        return PlannedGroup(
            name=self._text(fields, key, "name"),
            cloud=self._text(fields, key, "cloud"),
            region=self._text(fields, key, "region"),
            zone=self._text(fields, key, "zone") if fields.get("zone") is not None else None,
            instance_type=self._text(fields, key, "instance_type"),
            catalog_accelerator=self._text(fields, key, "catalog_accelerator"),
            accelerators_per_instance=self._count(fields, key, "accelerators_per_instance"),
            use_spot=spot is True,
            instances=self._count(fields, key, "instances"),
            price_usd_per_hour=self._price(fields, key, "price_usd_per_hour", least=0.0 if own else _LEAST_PRICE),
            file=self._text(fields, key, "file"),
            autoscaled=autoscaled,
            is_own_price=own,
        )

    def _text(self, fields: Mapping[str, Any], key: str, name: str) -> str:
        value = fields.get(name)
        if isinstance(value, str) and value and value.isprintable():
            return value
        self._mistake(f"{key}.{name}", f"must be a text of printable characters, found {_shown(value)}")
        return ""

    def _count(self, fields: Mapping[str, Any], key: str, name: str) -> int:
        value = fields.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_COUNT:
            return value
        self._mistake(f"{key}.{name}", f"must be a whole number of at least 1, found {_shown(value)}")
        return 1

    def _price(self, fields: Mapping[str, Any], key: str, name: str, *, least: float = _LEAST_PRICE) -> float:
        value = fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            pass
        elif least <= value < _MAX_PRICE_USD_PER_HOUR:
            return float(value)
        self._mistake(f"{key}.{name}", f"must be a positive price in USD per hour, found {_shown(value)}")
        return 1.0

    def _refuse_repeated(self, name: str, values: Sequence[str]) -> None:
        for value, times in Counter(values).items():
            if value and times > 1:
                self._mistake("groups", f"{times} groups have the {name} {value!r}; each needs its own")

    def _refuse_two_prices(self, groups: Sequence[PlannedGroup]) -> None:
        prices: dict[Sale, float] = {}
        for group in groups:
            if group.is_own_price:  # beside the listed price of the same machine: capacity that is paid for already
                continue
            known = prices.setdefault(group.sale, group.price_usd_per_hour)
            if not math.isclose(known, group.price_usd_per_hour, abs_tol=5e-5):
                name = f"{group.instance_type} in {group.cloud}/{group.region}"
                self._mistake("groups", f"{name} has two prices: {known} and {group.price_usd_per_hour}")

    def _mistake(self, key: str, message: str) -> None:
        self.mistakes.append(Mistake(source=self.source, key=key, message=message))


def _are_counts(found: object, groups: int) -> bool:
    return (
        isinstance(found, list)
        and len(found) == groups
        and all(type(count) is int and 1 <= count <= _MAX_COUNT for count in found)
    )


def _shown(value: object) -> str:
    """A value for a message, at most one short line of it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
