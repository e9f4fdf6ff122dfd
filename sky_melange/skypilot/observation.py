"""What SkyPilot made of one launch file, as the child process reports it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One part of SkyPilot that the file went through: `schema`, `task`, `service` or `optimizer`."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Resources that a file asks for (None where it leaves the choice to SkyPilot) or that SkyPilot picked.

    `place`: cloud, region and zone. `is_sized`: vCPUs and memory are named.
    """

    place: tuple[str | None, str | None, str | None]
    instance_type: str | None
    accelerators: Mapping[str, float] | None
    use_spot: bool
    is_sized: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One file. `replicas` is (least, most) of a service, None for a cluster; `price_usd_per_hour` of one machine.

    `multi_node` is False where the cloud launches single machines only.
    """

    steps: tuple[Step, ...]
    asked: tuple[Resources, ...]
    num_nodes: int
    multi_node: bool
    replicas: tuple[int, int | None] | None
    picked: Resources | None
    price_usd_per_hour: float | None


def observation_from_json(data: Mapping[str, Any]) -> Observation:
    """Read one entry of the child's response."""
    picked, service = data["picked"], data.get("service")
    return Observation(
        steps=tuple(Step(name=name, passed=passed, detail=detail) for name, passed, detail in data["steps"]),
        asked=tuple(_resources(entry) for entry in data["asked"]),
        num_nodes=data.get("num_nodes", 1),
        multi_node=data.get("multi_node", True),
        replicas=None if service is None else (service["min"], service["max"]),
        picked=None if picked is None else _resources(picked),
        price_usd_per_hour=None if picked is None else picked["price_usd_per_hour"],
    )


def _resources(data: Mapping[str, Any]) -> Resources:
    return Resources(
        place=(data["cloud"], data["region"], data["zone"]),
        instance_type=data["instance_type"],
        accelerators=data["accelerators"],
        use_spot=data["use_spot"],
        is_sized=data.get("is_sized", False),
    )
