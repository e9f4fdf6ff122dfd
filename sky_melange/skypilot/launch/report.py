"""What runs of a plan, and what is to be done about it, for people and for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sky_melange.skypilot.launch.cloud import Cloud, ClusterState, ServiceState
from sky_melange.skypilot.launch.launch import Launch
from sky_melange.skypilot.launch.record import Started
from sky_melange.skypilot.launch.removal import states_of
from sky_melange.skypilot.launch.steps import Step
from sky_melange.skypilot.launch.units import UnitKind


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatus:
    """One started unit. `status` in SkyPilot's words; `addresses` as SkyPilot states them."""

    name: str
    kind: UnitKind
    group: str
    status: str
    is_ready: bool
    is_as_planned: bool
    addresses: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """As plain JSON values."""
        return {**dataclasses.asdict(self), "addresses": list(self.addresses)}

    def line(self) -> str:
        """For people."""
        plan = "" if self.is_as_planned else "  (not as planned: run `sky-melange up`)"
        return f"{self.name}  {self.kind.value}  {self.status}  {' '.join(self.addresses) or '-'}{plan}"


def unit_statuses(launch: Launch, cloud: Cloud) -> tuple[UnitStatus, ...]:
    """Of everything that was started, by name."""
    started = launch.record.started
    services, clusters = states_of(cloud, {name: entry.kind for name, entry in started.items()})
    wanted = {(unit.base, unit.sha256) for unit in launch.units()}
    routers = {unit.base for unit in launch.units() if unit.kind is UnitKind.ROUTER}
    return tuple(
        _status(
            entry,
            services.get(name) if entry.kind is UnitKind.SERVICE else clusters.get(name),
            # The digest of the router covers the addresses too, which only `up` compares.
            is_as_planned=(entry.base, entry.sha256) in wanted or entry.base in routers,
        )
        for name, entry in sorted(started.items())
    )


def steps_json(steps: Sequence[Step]) -> list[dict[str, object]]:
    """Steps as plain JSON values; `group` is null for the router, which serves all."""
    return [
        {
            "action": step.action.value,
            "kind": step.kind.value,
            "name": step.name,
            "group": step.group or None,
            "why": step.why,
        }
        for step in steps
    ]


def launch_json(launch: Launch, steps: Sequence[Step], addresses: Mapping[str, str] | None) -> dict[str, object]:
    """What `up` does or would do, and its cost in USD per hour. `addresses`, where it answers: None in a dry run."""
    return {
        "steps": steps_json(steps),
        "groups_usd_per_hour": {group.name: group.cost_usd_per_hour for group in launch.plan.groups},
        "machines": _machines(launch),
        "cost": dataclasses.asdict(launch.plan.cost),
        "endpoints": None if addresses is None else dict(addresses),
    }


def _machines(launch: Launch) -> list[dict[str, object]]:
    """Every machine of the plan, by group or purpose: where, which, how many, and what one of them costs in USD/h."""
    keys = ("cloud", "region", "zone", "instance_type", "use_spot", "instances", "price_usd_per_hour")
    groups = [{"for": g.name, **{key: getattr(g, key) for key in keys}} for g in launch.plan.groups]
    return groups + [
        {"for": m.purpose, **{key: getattr(m, key, {"instances": 1, "use_spot": False}.get(key)) for key in keys}}
        for m in launch.plan.overhead
    ]


def _status(entry: Started, state: ServiceState | ClusterState | None, *, is_as_planned: bool) -> UnitStatus:
    status, is_ready = "not running", False
    addresses: tuple[str, ...] = ()
    if isinstance(state, ServiceState):
        status = f"{state.status}, {state.ready_replicas} of {entry.instances} ready"
        is_ready = state.ready_replicas >= entry.instances
        addresses = (state.endpoint,) if state.endpoint else ()
    elif isinstance(state, ClusterState):
        status, is_ready, addresses = state.status, state.is_up, state.hosts
    return UnitStatus(
        name=entry.name,
        kind=entry.kind,
        group=entry.group,
        status=status,
        is_ready=is_ready and entry.is_launched,
        is_as_planned=is_as_planned,
        addresses=addresses,
    )
