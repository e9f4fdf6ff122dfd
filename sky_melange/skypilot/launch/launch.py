"""A plan folder, or a fleet's, on its way up or down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sky_melange.domain.fleet import FleetPlan
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.skypilot.launch.cloud import Cloud, ClusterState, LaunchError, ServiceState, Task
from sky_melange.skypilot.launch.record import Record
from sky_melange.skypilot.launch.steps import Step
from sky_melange.skypilot.launch.units import Unit, UnitKind, machine_units, router_unit, wanted_units


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
        machines, router = machine_units(self.fleet.machines, self.files), self.fleet.router_machine
        return machines if router is None else (*machines, router_unit(router.cluster, self.files))


def remove(record: Record, cloud: Cloud, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Takes units down and forgets them. Those that SkyPilot does not know are forgotten only.

    Raises LaunchError, after all were tried, naming those that may still run.
    """
    running = running_names(cloud, {step.name: step.kind for step in steps})
    gone = [step.name for step in steps if step.name not in running]
    record.forget(gone)
    tickets: dict[str, str] = {}
    failures: list[str] = []
    for step in steps:
        if step.name not in running:
            continue
        say(f"{step.name}: taking it down")
        begin = cloud.begin_service_down if step.kind is UnitKind.SERVICE else cloud.begin_cluster_down
        try:
            ticket = begin(step.name)
            if step.kind is UnitKind.ROUTER:
                cloud.finish(ticket)
                record.forget([step.name])
            else:
                tickets[step.name] = ticket
        except LaunchError as error:
            failures.append(f"  {step.name}: {error}")
    for name, ticket in tickets.items():
        try:
            cloud.finish(ticket)
            record.forget([name])
        except LaunchError as error:
            failures.append(f"  {name}: {error}")
    if failures:
        raise LaunchError("these may still run, and cost:\n" + "\n".join(failures) + "\nRun the same command again.")


def running_names(cloud: Cloud, kinds: Mapping[str, UnitKind]) -> set[str]:
    """Those of the units that SkyPilot knows."""
    services, clusters = states_of(cloud, kinds)
    return {*services, *clusters}


def states_of(
    cloud: Cloud, kinds: Mapping[str, UnitKind]
) -> tuple[Mapping[str, ServiceState], Mapping[str, ClusterState]]:
    """The services and the clusters that SkyPilot knows; it is not asked about kinds that there are none of."""
    services = [name for name, kind in kinds.items() if kind is UnitKind.SERVICE]
    clusters = [name for name, kind in kinds.items() if kind is not UnitKind.SERVICE]
    return cloud.services(services) if services else {}, cloud.clusters(clusters) if clusters else {}
