"""A plan folder on its way up or down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.skypilot.launch.cloud import Task
from sky_melange.skypilot.launch.record import Record
from sky_melange.skypilot.launch.units import Unit, wanted_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A plan folder on its way up. `files` by name; `secrets` by name, with their values; `say` shows progress."""

    plan: Plan
    workload: Workload
    folder: Path
    files: Mapping[str, str]
    record: Record
    secrets: Mapping[str, str]
    say: Callable[[str], None]

    def units(self) -> tuple[Unit, ...]:
        """All units, the router last."""
        return wanted_units(self.plan, self.workload, self.files)

    def task(self, unit: Unit, envs: Mapping[str, str] | None = None) -> Task:
        """The launch file of a unit with what is filled in. Secrets are those that the file asks for."""
        text = self.files[unit.file]
        secrets = {name: value for name, value in self.secrets.items() if f'"{name}": null' in text}
        return Task(text=text, folder=self.folder, envs=envs or {}, secrets=secrets)
