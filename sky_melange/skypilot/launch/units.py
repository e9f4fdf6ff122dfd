"""What a plan runs: each replica group as a service or as clusters, and the router."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sky_melange.domain.engine import PORT
from sky_melange.domain.fleet import SharedMachine
from sky_melange.domain.front_door import needs_router
from sky_melange.domain.plan import Plan
from sky_melange.domain.router import router_cluster
from sky_melange.domain.workload import LaunchMode, Workload
from sky_melange.render.router_names import HAPROXY_FILE, HOOK_FILE, LITELLM_FILE, LUA_FILE, TASK_FILE
from sky_melange.render.skypilot_yaml import nodes_per_launch, replica_policies


class UnitKind(StrEnum):
    """What SkyPilot runs it as."""

    SERVICE = "service"
    CLUSTER = "cluster"
    ROUTER = "router"


@dataclass(frozen=True, kw_only=True)
class Launchable:
    """`base` is its name as planned; `name` what it is called (a cluster that replaces another has a version in it).

    `sha256` is of all files that define it. `group` is "" for the router. `instances` that it runs; of a service that
    SkyServe scales those that it begins with, the fewest.
    """

    __slots__ = ()
    kind: UnitKind
    base: str
    name: str
    group: str
    sha256: str
    instances: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit(Launchable):
    """One thing that SkyPilot runs. A cluster answers at all of its `ports`."""

    file: str
    ports: tuple[int, ...] = (PORT,)


def wanted_units(plan: Plan, workload: Workload, files: Mapping[str, str]) -> tuple[Unit, ...]:
    """The units of a plan, groups first, the router last. `files` by name, as they lie in the plan's folder."""
    units: list[Unit] = []
    policies = replica_policies(plan, workload)
    for group in plan.whole_groups:
        kind = UnitKind.SERVICE if workload.launch.mode is LaunchMode.SERVE else UnitKind.CLUSTER
        each = group.instances if kind is UnitKind.SERVICE else nodes_per_launch(group)
        if group.name in policies:
            each = policies[group.name].min_replicas
        count = 1 if kind is UnitKind.SERVICE else math.ceil(group.instances / each)
        for number in range(1, count + 1):
            name = group.name if count == 1 else f"{group.name}-{number}"
            units.append(
                Unit(
                    kind=kind,
                    base=name,
                    name=name,
                    group=group.name,
                    file=group.file,
                    sha256=digest(files[group.file]),
                    instances=each,
                )
            )
    if needs_router(plan.groups, workload):
        units.append(router_unit(router_cluster(plan.name), files))
    return tuple(units)


def router_unit(name: str, files: Mapping[str, str]) -> Unit:
    """The router of a plan, or of a fleet."""
    parts = [files[file] for file in (TASK_FILE, HAPROXY_FILE, LUA_FILE, LITELLM_FILE, HOOK_FILE) if file in files]
    return Unit(
        kind=UnitKind.ROUTER, base=name, name=name, group="", file=TASK_FILE, sha256=digest(*parts), instances=1
    )


def machine_units(machines: Sequence[SharedMachine], files: Mapping[str, str]) -> tuple[Unit, ...]:
    """The machines that the workloads of a fleet share. `files` by name, as they lie in the fleet's folder."""
    return tuple(
        Unit(
            kind=UnitKind.CLUSTER,
            base=machine.name,
            name=machine.name,
            group=machine.name,
            file=machine.file,
            sha256=digest(files[machine.file]),
            instances=1,
            ports=tuple(engine.port for engine in machine.engines),
        )
        for machine in machines
    )


def digest(*texts: str) -> str:
    """sha256 (hex) of texts in order."""
    whole = hashlib.sha256()
    for text in texts:
        whole.update(hashlib.sha256(text.encode()).digest())
    return whole.hexdigest()
