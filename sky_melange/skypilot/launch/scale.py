"""Brings the services of a plan to the instances that its schedule wants at a moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sky_melange.domain.scaling import Wanted
from sky_melange.errors import InputError, Mistake
from sky_melange.skypilot.launch.cloud import Cloud, LaunchError, ServiceState, Task
from sky_melange.skypilot.launch.launch import Launch
from sky_melange.skypilot.launch.record import Started
from sky_melange.skypilot.launch.steps import Action
from sky_melange.skypilot.launch.units import Unit, UnitKind
from sky_melange.skypilot.launch_files import sections, written


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One service. `before`: the replicas that SkyServe is asked for by now; None: not known, or it does not run.

    `serving`: as in `Wanted`; `ready`: replicas that answer, None where SkyPilot was not asked. `problem`: why it is
    not, or may not be, as the schedule wants it.
    """

    unit: Unit
    before: int | None
    wanted: int
    serving: int
    ready: int | None
    action: Action
    problem: str | None = None

    def as_json(self) -> dict[str, object]:
        """As plain JSON values."""
        return {
            "name": self.unit.name,
            "action": self.action.value,
            "before": self.before,
            "wanted": self.wanted,
            "wanted_now": self.serving,
            "ready": self.ready,
            "problem": self.problem,
        }

    def line(self) -> str:
        """For people."""
        before = "?" if self.before is None else self.before
        counts = f"{before} -> {self.wanted}" if self.action is Action.UPDATE else f"{self.wanted}"
        ready = "" if self.ready is None else f", {self.ready} ready"
        if self.problem is not None:
            return f"problem {self.unit.name}  {counts} wanted{ready}  ({self.problem})"
        return f"{self.action.value:7} {self.unit.name}  {counts}{ready}"


def planned_scales(launch: Launch, cloud: Cloud | None, wanted: Wanted) -> tuple[Scale, ...]:
    """What is to be done with each service, in the order of the plan's groups. Without a cloud: by the record alone."""
    units = [unit for unit in launch.units() if unit.kind is UnitKind.SERVICE]
    states = None if cloud is None else cloud.services([unit.name for unit in units])
    return tuple(
        _scale(launch, unit, states, serving=serving, running=running)
        for unit, serving, running in zip(units, wanted.serving, wanted.running, strict=True)
    )


def bring_to(launch: Launch, cloud: Cloud, scales: Sequence[Scale]) -> tuple[Scale, ...]:
    """Carries the updates out, increases first. An update that fails is the `problem` of its service.

    What is asked of SkyPilot is in the record before: an interrupted update is asked for again by the next call.
    """
    updates = [scale for scale in scales if scale.action is Action.UPDATE]
    tasks = {scale.unit.name: sized_task(launch, scale) for scale in updates}
    done = {
        scale.unit.name: Started.of(replace(scale.unit, instances=scale.wanted), is_launched=True) for scale in scales
    }
    # SkyServe may have been asked for as many by an earlier call that was killed, or by hand.
    kept = [done[scale.unit.name] for scale in scales if scale.action is Action.KEEP and scale.problem is None]
    unknown = [entry for entry in kept if launch.record.started[entry.name] != entry]
    if unknown:
        launch.record.note(*unknown)
    failures: dict[str, str] = {}
    tickets: dict[str, str] = {}
    for scale in sorted(updates, key=lambda each: each.wanted < (each.before or 0)):
        name = scale.unit.name
        launch.say(f"{name}: {scale.before} -> {scale.wanted} instances")
        launch.record.note(replace(done[name], is_launched=False))
        try:
            tickets[name] = cloud.begin_service_update(name, tasks[name])
        except LaunchError as error:
            failures[name] = str(error)
    for name, ticket in tickets.items():
        try:
            cloud.finish(ticket)
            launch.record.note(done[name])
        except LaunchError as error:
            failures[name] = str(error)
    return tuple(
        replace(scale, problem=f"the update failed: {failures[scale.unit.name]}")
        if scale.unit.name in failures
        else scale
        for scale in scales
    )


def sized_task(launch: Launch, scale: Scale) -> Task:
    """The launch file of a service with another number of replicas, and the rest as it was launched.

    SkyServe keeps running replicas only where nothing outside `service:` changes.
    """
    task = launch.task(scale.unit)
    config = sections(task.text)
    service = config.get("service")
    if isinstance(service, dict) and "replicas" in service:
        service["replicas"] = scale.wanted
    elif isinstance(service, dict) and isinstance(service.get("replica_policy"), dict):
        service["replica_policy"] |= {"min_replicas": scale.wanted, "max_replicas": scale.wanted}
    else:
        message = "has no `service.replicas` to set: plan again, then `sky-melange up`"
        raise InputError([Mistake(source=str(launch.folder / scale.unit.file), message=message)])
    return replace(task, text=written(config))


def _scale(
    launch: Launch, unit: Unit, states: Mapping[str, ServiceState] | None, *, serving: int, running: int
) -> Scale:
    entry = launch.record.started.get(unit.name)
    state = None if states is None else states.get(unit.name)
    is_running = entry is not None and (states is None or state is not None)
    before = entry.instances if entry is not None and is_running else None
    if state is not None and state.asked_replicas is not None:
        before = state.asked_replicas
    problem = _obstacle(launch, unit, state, is_running=is_running)
    action = Action.KEEP
    if problem is None and entry is not None and (before != running or not entry.is_launched):
        action = Action.UPDATE
    elif problem is None and state is not None and state.ready_replicas < serving:
        ready = f"{state.ready_replicas} of the {serving} instances of this hour are ready"
        problem = f"{ready}; SkyServe starts the others, see `sky serve status {unit.name}`"
    return Scale(
        unit=unit,
        before=before,
        wanted=running,
        serving=serving,
        ready=None if state is None else state.ready_replicas,
        action=action,
        problem=problem,
    )


def _obstacle(launch: Launch, unit: Unit, state: ServiceState | None, *, is_running: bool) -> str | None:
    """Why a service cannot be scaled; None: it can."""
    entry, up = launch.record.started.get(unit.name), f"run `sky-melange up {launch.folder}`"
    if entry is None:
        return f"it was not started from here: {up}"
    if entry.sha256 != unit.sha256:
        return f"the plan changed since it was launched: {up}"
    if not is_running:
        return f"it does not run: {up}"
    if state is not None and state.has_failed:
        return f"it has failed ({state.status}): see `sky serve logs {unit.name} 1`, then {up}"
    return None
