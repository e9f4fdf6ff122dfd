"""What the workloads of a fleet share: machines, launched before the plans, and the router, launched after them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sky_melange.render.router_names import endpoint_variables
from sky_melange.skypilot.launch.cloud import Cloud, LaunchError
from sky_melange.skypilot.launch.launch import MachineLaunch
from sky_melange.skypilot.launch.ready import Patience, plain_address, wait_for_router, wait_until_ready
from sky_melange.skypilot.launch.report import UnitStatus
from sky_melange.skypilot.launch.steps import Action, Step
from sky_melange.skypilot.launch.units import UnitKind
from sky_melange.skypilot.launch.up import start, start_router, write_endpoints


def bring_up_machines(launch: MachineLaunch, cloud: Cloud, steps: Sequence[Step], patience: Patience) -> dict[str, str]:
    """Launches what is not there, and waits for every engine; the addresses by variable. Removes nothing.

    Raises LaunchError as `bring_up` does.
    """
    kept = [step for step in steps if step.action is not Action.REMOVE and step.kind is not UnitKind.ROUTER]
    start(launch, cloud, kept)
    units = [step.unit for step in kept if step.unit is not None]
    found = wait_until_ready(launch, cloud, units, patience)
    hosts = {unit.base: found[unit.name].hosts for unit in units}
    addresses = _addresses(launch, hosts)
    write_endpoints(launch.folder, addresses)
    return addresses


def bring_up_router(
    launch: MachineLaunch, cloud: Cloud, step: Step, addresses: Mapping[str, str], patience: Patience
) -> str:
    """Launches the router of all with the addresses of all groups; where it answers. Raises LaunchError."""
    if step.unit is None:
        raise LaunchError(f"{step.name} is no unit of the fleet")
    start_router(launch, cloud, step.unit, addresses)
    port = next(workload.router.port for _, workload in launch.plans.values())
    address = plain_address(cloud.endpoint(step.name, port), step.name)
    wait_for_router(step.name, cloud, address, patience)
    return address


def _addresses(launch: MachineLaunch, hosts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """By variable; `hosts` of each machine are in the order of its engines."""
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for machine in launch.fleet.machines:
        for engine, host in zip(machine.engines, hosts[machine.name], strict=True):
            found[engine.workload, engine.group].append(host)
    addresses: dict[str, str] = {}
    for name, (plan, workload) in launch.plans.items():
        for group in plan.groups:
            if group.part is not None:
                variables = endpoint_variables(group, workload.launch.mode)
                addresses.update(zip(variables, found[name, group.name], strict=True))
    return addresses


def engine_statuses(launch: MachineLaunch, cloud: Cloud) -> tuple[UnitStatus, ...]:
    """Of each machine that was started, whether every engine of it answers; and of the router."""
    started = launch.record.started
    clusters = cloud.clusters(list(started))
    units = {(unit.base, unit.sha256): unit for unit in launch.units()}
    routers = {unit.base for unit in launch.units() if unit.kind is UnitKind.ROUTER}
    found = []
    for name, entry in sorted(started.items()):
        cluster, unit = clusters.get(name), units.get((entry.base, entry.sha256))
        ports = () if unit is None else unit.ports
        hosts = () if cluster is None else tuple(f"{host}:{port}" for host in cluster.hosts for port in ports)
        dead = [host for host in hosts if not cloud.answers(host)] if cluster is not None and cluster.is_up else []
        status = "not running" if cluster is None else cluster.status
        if dead:
            status += f", no engine answers at {', '.join(dead)}"
        is_up = cluster is not None and cluster.is_up and not dead and entry.is_launched
        found.append(
            UnitStatus(
                name=name,
                kind=entry.kind,
                group=entry.group,
                status=status,
                is_ready=is_up,
                # The digest of a router covers addresses, too.
                is_as_planned=unit is not None or entry.base in routers,
                addresses=hosts,
            )
        )
    return tuple(found)
