"""What to do so that what runs becomes what is planned. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sky_melange.errors import InputError, Mistake
from sky_melange.skypilot.launch.record import Started
from sky_melange.skypilot.launch.units import Unit, UnitKind


class Action(StrEnum):
    """What is done with a unit."""

    START = "start"
    UPDATE = "update"
    KEEP = "keep"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do, and why. `unit` for all but `remove`; `group` that it belongs to, "" for the router."""

    action: Action
    kind: UnitKind
    name: str
    why: str
    group: str
    unit: Unit | None = None


def steps_up(wanted: Sequence[Unit], started: Mapping[str, Started], running: Collection[str]) -> tuple[Step, ...]:
    """New and changed groups, then the router, then what is no longer wanted: the new runs before the old goes.

    `running` are the names that SkyPilot knows, of those wanted and started. Raises InputError when one of the wanted
    runs without our doing.
    """
    foreign = sorted(unit.name for unit in wanted if unit.name in running and not _ours(unit, started))
    if foreign:
        message = (
            f"SkyPilot already runs {', '.join(foreign)}, which this folder did not start; take it down, give the "
            "workload another name, or pass --adopt to bring it in line with the plan"
        )
        raise InputError([Mistake(source="launch.json", message=message)])
    steps = [_step(unit, started, running) for unit in wanted]
    needed = {step.name for step in steps}
    old = [entry for entry in started.values() if entry.name not in needed]
    removals = [
        Step(action=Action.REMOVE, kind=entry.kind, name=entry.name, why="no longer in the plan", group=entry.group)
        for entry in sorted(old, key=lambda entry: (entry.kind is not UnitKind.ROUTER, entry.name))
    ]
    return (*steps, *removals)


def steps_down(started: Mapping[str, Started]) -> tuple[Step, ...]:
    """The router first, so that nothing is sent to groups that go."""
    entries = sorted(started.values(), key=lambda entry: (entry.kind is not UnitKind.ROUTER, entry.name))
    return tuple(
        Step(action=Action.REMOVE, kind=entry.kind, name=entry.name, why="", group=entry.group) for entry in entries
    )


def _ours(unit: Unit, started: Mapping[str, Started]) -> bool:
    return unit.name in started


def _step(unit: Unit, started: Mapping[str, Started], running: Collection[str]) -> Step:
    known = [entry for entry in started.values() if entry.base == unit.base and entry.kind is unit.kind]
    same = next((entry for entry in known if entry.sha256 == unit.sha256), None)
    if same is not None:
        resumed = _resumed(replace(unit, name=same.name), same, is_running=same.name in running)
        if resumed.action is Action.KEEP and resumed.unit is not None:
            # As many as `scale` left it with, which has its hours.
            return replace(resumed, unit=replace(resumed.unit, instances=same.instances))
        return resumed
    if not known:
        return _to(Action.START, unit, "it is new")
    if unit.kind is UnitKind.CLUSTER:
        return _to(Action.START, replace(unit, name=_next_name(unit.base, known)), "its plan changed")
    return _to(Action.UPDATE if unit.name in running else Action.START, unit, "its plan changed")


def _resumed(unit: Unit, entry: Started, *, is_running: bool) -> Step:
    """A unit that was started as it is wanted. To ask again for one that SkyPilot knows ends the same."""
    if not is_running:
        return _to(Action.START, unit, "it does not run" if entry.is_launched else "its start was interrupted")
    if entry.is_launched:
        return _to(Action.KEEP, unit, "it runs as planned")
    return _to(Action.UPDATE if unit.kind is UnitKind.SERVICE else Action.START, unit, "its start was interrupted")


def _to(action: Action, unit: Unit, why: str) -> Step:
    return Step(action=action, kind=unit.kind, name=unit.name, why=why, group=unit.group, unit=unit)


def _next_name(base: str, known: Sequence[Started]) -> str:
    """`chat-l4`, then `chat-l4-v2`, `chat-l4-v3`: a cluster cannot change, so another replaces it."""
    pattern = re.compile(rf"{re.escape(base)}-v([0-9]+)")
    versions = [int(match.group(1)) for entry in known if (match := pattern.fullmatch(entry.name))]
    return f"{base}-v{max(versions, default=1) + 1}"
