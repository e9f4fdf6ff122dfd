"""Brings what runs in line with a plan: groups, then the router, then what is no longer wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sky_melange.domain.launch_files import ENDPOINTS_FILE
from sky_melange.render.router_names import endpoint_variables
from sky_melange.skypilot.launch.cloud import Cloud, LaunchError
from sky_melange.skypilot.launch.launch import Launch, LaunchFolder, MachineLaunch, remove, running_names
from sky_melange.skypilot.launch.ready import (
    Patience,
    plain_address,
    wait_for_groups,
    wait_for_router,
    wait_until_ready,
)
from sky_melange.skypilot.launch.record import Started, write_whole
from sky_melange.skypilot.launch.report import UnitStatus
from sky_melange.skypilot.launch.steps import Action, Step, steps_up
from sky_melange.skypilot.launch.units import Unit, UnitKind, digest

ROUTER_VARIABLE: Final = "ROUTER_ENDPOINT"


def planned_steps(launch: Launch | MachineLaunch, cloud: Cloud | None, *, adopt: bool = False) -> tuple[Step, ...]:
    """What `bring_up` would do. Without a cloud: by the record alone, as if all that it names still ran."""
    units = launch.units()
    if cloud is None:
        running = set(launch.record.started)
    else:
        kinds = {entry.name: entry.kind for entry in launch.record.started.values()}
        running = running_names(cloud, kinds | {unit.name: unit.kind for unit in units})
    started = dict(launch.record.started)
    if adopt:
        for unit in units:
            if unit.name in running and unit.name not in started:
                started[unit.name] = replace(Started.of(unit, is_launched=True), sha256="")
    steps = steps_up(units, started, running)
    changes = (Action.START, Action.UPDATE)
    moves = any(step.action in changes for step in steps if step.kind is not UnitKind.ROUTER)
    return tuple(_router_step(step, started, running, moves=moves) for step in steps)


def bring_up(launch: Launch, cloud: Cloud, steps: Sequence[Step], patience: Patience) -> dict[str, str]:
    """Carries the steps out; the addresses by variable, those of the router under `ROUTER_ENDPOINT`.

    Raises LaunchError when something fails or is not ready in time: the rest went on, all of it is in the record, and
    the next call resumes.
    """
    groups = [step for step in steps if step.unit is not None and step.kind is not UnitKind.ROUTER]
    router = next((step.unit for step in steps if step.unit is not None and step.kind is UnitKind.ROUTER), None)
    start(launch, cloud, groups)
    units = [step.unit for step in groups if step.unit is not None]
    addresses = wait_for_groups(launch, cloud, units, patience)
    write_endpoints(launch.folder, addresses)
    if router is not None:
        start_router(launch, cloud, router, addresses)
        addresses[ROUTER_VARIABLE] = plain_address(
            cloud.endpoint(router.name, launch.workload.router.port), router.name
        )
        # In an hour without requests, whose groups were stopped, it has no server to answer for.
        if any(unit.instances for unit in units):
            wait_for_router(router.name, cloud, addresses[ROUTER_VARIABLE], patience)
        write_endpoints(launch.folder, addresses)
    remove(launch.record, cloud, [step for step in steps if step.action is Action.REMOVE], launch.say)
    return addresses


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


def _router_step(step: Step, started: Mapping[str, Started], running: set[str], *, moves: bool) -> Step:
    """The router is defined by the addresses too: it changes when a group may have got another one."""
    if step.kind is not UnitKind.ROUTER or step.unit is None:
        return step
    if step.name not in started or step.name not in running:
        return replace(step, action=Action.START, why="it is new" if step.name not in started else "it does not run")
    if moves:
        return replace(step, action=Action.UPDATE, why="the plan or the addresses of groups may have changed")
    return replace(step, action=Action.KEEP, why="it runs as planned, unless an address changed")


def start(launch: LaunchFolder, cloud: Cloud, steps: Sequence[Step]) -> None:
    """Asks for all groups, then waits for each. The first service alone: it brings the controller."""
    failures: list[str] = []
    tickets: list[tuple[Unit, str]] = []
    has_controller = any(step.action is not Action.START for step in steps)
    for step in steps:
        if step.unit is None or step.action is Action.KEEP:
            continue
        launch.say(f"{step.name}: {step.action} ({step.why})")
        # Before SkyPilot is asked: what is interrupted here must be found again.
        launch.record.note(Started.of(step.unit, is_launched=False))
        try:
            ticket = _begin(launch, cloud, step, step.unit)
            if step.kind is UnitKind.SERVICE and not has_controller:
                cloud.finish(ticket)
                has_controller = True
                launch.record.note(Started.of(step.unit, is_launched=True))
                continue
            tickets.append((step.unit, ticket))
        except LaunchError as error:
            failures.append(f"  {step.name}: {error}")
    for unit, ticket in tickets:
        try:
            cloud.finish(ticket)
            launch.record.note(Started.of(unit, is_launched=True))
        except LaunchError as error:
            failures.append(f"  {unit.name}: {error}")
    if failures:
        raise LaunchError(
            "not everything was launched:\n" + "\n".join(failures) + "\nWhat was launched runs and costs. Run the same "
            "command again to go on from there, or `sky-melange down` to end it."
        )


def _begin(launch: LaunchFolder, cloud: Cloud, step: Step, unit: Unit) -> str:
    task = launch.task(unit)
    if unit.kind is UnitKind.CLUSTER:
        return cloud.begin_cluster(unit.name, task)
    if step.action is Action.UPDATE:
        return cloud.begin_service_update(unit.name, task)
    return cloud.begin_service(unit.name, task)


def start_router(launch: LaunchFolder, cloud: Cloud, unit: Unit, addresses: Mapping[str, str]) -> None:
    """Starts the router, or has it take other addresses. Does nothing where it runs with these."""
    unit = replace(unit, sha256=digest(unit.sha256, *(f"{name}={value}" for name, value in sorted(addresses.items()))))
    known = launch.record.started.get(unit.name)
    is_same = known is not None and known.is_launched and known.sha256 == unit.sha256
    if is_same and unit.name in cloud.clusters([unit.name]):
        return
    launch.say(f"{unit.name}: {'starting' if known is None else 'updating'} the router")
    launch.record.note(Started.of(unit, is_launched=False))
    cloud.finish(cloud.begin_cluster(unit.name, launch.task(unit, dict(addresses))))
    launch.record.note(Started.of(unit, is_launched=True))


def write_endpoints(folder: Path, addresses: Mapping[str, str]) -> None:
    """Writes where everything answers into `endpoints.env`. Raises LaunchError."""
    text = "".join(f"{name}={value}\n" for name, value in addresses.items())
    try:
        write_whole(folder / ENDPOINTS_FILE, text)
    except OSError as error:
        raise LaunchError(f"{ENDPOINTS_FILE} cannot be written ({error.strerror or error})") from error


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
