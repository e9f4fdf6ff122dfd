"""Takes units down, and knows which there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sky_melange.skypilot.launch.cloud import Cloud, ClusterState, LaunchError, ServiceState
from sky_melange.skypilot.launch.record import Record
from sky_melange.skypilot.launch.steps import Step
from sky_melange.skypilot.launch.units import UnitKind


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
