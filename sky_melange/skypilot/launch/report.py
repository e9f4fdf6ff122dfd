"""What runs of a plan, and what is to be done about it, for people and for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sky_melange.domain.hours import Scaling
from sky_melange.domain.scaling import Wanted, scaling_of, wanted_at
from sky_melange.skypilot.launch.cloud import Cloud, ClusterState, ServiceState
from sky_melange.skypilot.launch.launch import Launch, states_of
from sky_melange.skypilot.launch.record import Started
from sky_melange.skypilot.launch.steps import Step
from sky_melange.skypilot.launch.units import UnitKind


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatus:
    """One started unit. `status` in SkyPilot's words; `addresses` as SkyPilot states them.

    `hour`: what the schedule of the plan says of it now, in words; None: no schedule scales it.
    """

    name: str
    kind: UnitKind
    group: str
    status: str
    is_ready: bool
    is_as_planned: bool
    addresses: tuple[str, ...]
    hour: str | None = None

    def as_json(self) -> dict[str, object]:
        """As plain JSON values."""
        return {**dataclasses.asdict(self), "addresses": list(self.addresses)}

    def line(self) -> str:
        """For people."""
        plan = f"  ({self.hour})" if self.hour else ""
        plan += "" if self.is_as_planned or self.hour else "  (not as planned: run `sky-melange up`)"
        return f"{self.name}  {self.kind.value}  {self.status}  {' '.join(self.addresses) or '-'}{plan}"


def unit_statuses(launch: Launch, cloud: Cloud, now: datetime) -> tuple[UnitStatus, ...]:
    """Of everything that was started, by name. `now`, with a time zone, decides what a schedule wants."""
    started = launch.record.started
    services, clusters = states_of(cloud, {name: entry.kind for name, entry in started.items()})
    planned = {(unit.base, unit.sha256) for unit in launch.units()}
    routers = {unit.base for unit in launch.units() if unit.kind is UnitKind.ROUTER}
    found = tuple(
        _status(
            entry,
            services.get(name) if entry.kind is UnitKind.SERVICE else clusters.get(name),
            # The digest of the router covers the addresses too, which only `up` compares.
            is_as_planned=(entry.base, entry.sha256) in planned or entry.base in routers,
        )
        for name, entry in sorted(started.items())
    )
    if launch.plan.schedule is None or scaling_of(launch.plan, launch.workload) is not Scaling.SCHEDULE:
        return found
    # However often `scale` is run, it starts instances at most that much sooner than they take to start.
    wanted = wanted_at(launch.plan.schedule, now, every_minutes=60)
    index_of = {group.name: index for index, group in enumerate(launch.plan.groups)}
    return tuple(
        _by_the_hour(launch, status, services[status.name], wanted, index_of[status.group])
        if status.is_as_planned and status.name in services
        else status
        for status in found
    )


def _by_the_hour(launch: Launch, status: UnitStatus, state: ServiceState, wanted: Wanted, index: int) -> UnitStatus:
    """Whether a service is as its schedule wants it: with as many as serve now, or as the next hour needs."""
    entry, serving = launch.record.started[status.name], wanted.serving[index]
    asked = entry.instances if state.asked_replicas is None else state.asked_replicas
    is_right = serving <= asked <= wanted.running[index]
    says = f"as the schedule says for {wanted.hour}"
    if not is_right:
        says = f"the schedule says {serving} for {wanted.hour}: run `sky-melange scale`"
    return replace(
        status,
        hour=f"{asked} of {launch.plan.groups[index].instances}, {says}",
        is_as_planned=is_right,
        is_ready=entry.is_launched and state.ready_replicas >= serving,
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
