"""A plan folder, or a fleet's, on its way up or down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sky_melange.domain.fleet import FleetPlan
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.skypilot.launch.cloud import Task
from sky_melange.skypilot.launch.record import Record
from sky_melange.skypilot.launch.units import Unit, machine_units, router_unit, wanted_units


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFolder:
    """A folder whose files are launched. `files` by name; `secrets` by name, with values; `say` shows progress."""

    folder: Path
    files: Mapping[str, str]
    record: Record
    secrets: Mapping[str, str]
    say: Callable[[str], None]

    def task(self, unit: Unit, envs: Mapping[str, str] | None = None) -> Task:
        """The launch file of a unit with what is filled in. Secrets are those that the file asks for."""
        text = self.files[unit.file]
        secrets = {name: value for name, value in self.secrets.items() if f'"{name}": null' in text}
        return Task(text=text, folder=self.folder, envs=envs or {}, secrets=secrets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch(LaunchFolder):
    """A plan's. `shared`: addresses by variable of engines that run on machines which the fleet has launched."""

    plan: Plan
    workload: Workload
    shared: Mapping[str, str] = field(default_factory=dict)

    def units(self) -> tuple[Unit, ...]:
        """All units, the router last."""
        return wanted_units(self.plan, self.workload, self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineLaunch(LaunchFolder):
    """That of a fleet whose workloads share machines, or a router, with their plans by name."""

    fleet: FleetPlan
    plans: Mapping[str, tuple[Plan, Workload]]

    def units(self) -> tuple[Unit, ...]:
        """The shared machines, then the router of all."""
        machines, router = machine_units(self.fleet.machines, self.files), self.fleet.router
        return machines if router is None else (*machines, router_unit(router.cluster, self.files))
