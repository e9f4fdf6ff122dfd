"""Waits until what was launched answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sky_melange.render.router_names import endpoint_variables
from sky_melange.skypilot.launch.cloud import Cloud, ClusterState, LaunchError, ServiceState
from sky_melange.skypilot.launch.launch import Launch, LaunchFolder, states_of
from sky_melange.skypilot.launch.units import Unit, UnitKind

MAX_SILENCES: Final = 5
"""Times in a row that SkyPilot may fail to say what runs: a wait of an hour outlives a hiccup."""

_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long readiness is waited for. `now_s` and `sleep` are the clock's."""

    timeout_s: float
    poll_s: float
    now_s: Callable[[], float]
    sleep: Callable[[float], None]


class Readiness(NamedTuple):
    """Of one unit: addresses that answer, how many there are to be, SkyPilot's word for it, addresses (host:port)."""

    ready: int
    wanted: int
    status: str
    hosts: tuple[str, ...]


def wait_for_groups(launch: Launch, cloud: Cloud, units: Sequence[Unit], patience: Patience) -> dict[str, str]:
    """The addresses by variable, once all answer: see `wait_until_ready`."""
    return _variables(launch, units, wait_until_ready(launch, cloud, units, patience) if units else {})


def wait_until_ready(
    launch: LaunchFolder, cloud: Cloud, units: Sequence[Unit], patience: Patience
) -> dict[str, Readiness]:
    """Until every instance answers; at the end of patience one of each unit is enough, and all engines of a machine.

    Raises LaunchError when a service has failed, when a unit does not answer in time, or when SkyPilot cannot be asked
    several times in a row.
    """
    deadline = patience.now_s() + patience.timeout_s
    shown: dict[str, Readiness] = {}
    silences = 0
    while True:
        try:
            services, clusters = states_of(cloud, {unit.name: unit.kind for unit in units})
            silences = 0
        except LaunchError as error:
            silences += 1
            launch.say(f"SkyPilot does not answer: {error}")
            if silences >= MAX_SILENCES:
                raise
        else:
            found = {unit.name: _readiness(cloud, unit, services, clusters) for unit in units}
            for name, state in found.items():
                if shown.get(name) != state:
                    launch.say(f"{name}: {state.status}, {state.ready} of {state.wanted} ready")
            shown = found
            if all(state.ready >= state.wanted for state in found.values()):
                break
        if patience.now_s() >= deadline:
            _accept_partly_ready(launch, units, shown, patience)
            break
        patience.sleep(patience.poll_s)
    return shown


def _accept_partly_ready(
    launch: LaunchFolder, units: Sequence[Unit], found: Mapping[str, Readiness], patience: Patience
) -> None:
    idle = [unit.name for unit in units if unit.name not in found or found[unit.name].ready < len(unit.ports)]
    if idle:
        raise LaunchError(
            f"not ready within {patience.timeout_s / 60:g} minutes: {', '.join(idle)}. They keep starting, and cost: "
            "run the same command again to go on waiting, or `sky-melange down` to end it"
        )
    launch.say("some replicas are still starting; the router sends what it can to those that answer")


def _readiness(
    cloud: Cloud, unit: Unit, services: Mapping[str, ServiceState], clusters: Mapping[str, ClusterState]
) -> Readiness:
    service, cluster = services.get(unit.name), clusters.get(unit.name)
    hosts: tuple[str, ...] = ()
    if service is not None and unit.kind is UnitKind.SERVICE:
        if service.has_failed:
            raise LaunchError(f"{unit.name} has failed ({service.status}): see `sky serve logs {unit.name} 1`")
        if service.endpoint is not None:
            hosts = (plain_address(service.endpoint, unit.name),)
        return Readiness(service.ready_replicas if hosts else 0, unit.instances, service.status, hosts)
    if cluster is not None and unit.kind is UnitKind.CLUSTER:
        pairs = ((host, port) for host in cluster.hosts for port in unit.ports)
        hosts = tuple(plain_address(f"{host}:{port}", unit.name) for host, port in pairs)
        ready = sum(cloud.answers(host) for host in hosts) if cluster.is_up else 0
        return Readiness(ready, unit.instances * len(unit.ports), cluster.status, hosts)
    return Readiness(0, unit.instances * len(unit.ports), "not known to SkyPilot yet", ())


def _variables(launch: Launch, units: Sequence[Unit], found: Mapping[str, Readiness]) -> dict[str, str]:
    addresses: dict[str, str] = {}
    for group in launch.plan.groups:
        variables = endpoint_variables(group, launch.workload.launch.mode)
        if group.part is not None:
            addresses.update({name: plain_address(launch.shared[name], group.name) for name in variables})
            continue
        hosts = [host for unit in units if unit.group == group.name for host in found[unit.name].hosts]
        if len(hosts) != len(variables):
            raise LaunchError(f"{group.name} has {len(hosts)} addresses, its plan {len(variables)}; see `sky status`")
        addresses.update(zip(variables, hosts, strict=True))
    return addresses


def wait_for_router(name: str, cloud: Cloud, address: str, patience: Patience) -> None:
    """Until the router says that every kind of request has a server. Raises LaunchError when it does not in time."""
    deadline = patience.now_s() + min(patience.timeout_s, 600.0)
    while not cloud.answers(address):
        if patience.now_s() >= deadline:
            raise LaunchError(f"the router at {address} does not answer; see `sky logs {name}`, then run this again")
        patience.sleep(min(patience.poll_s, 5.0))


def plain_address(text: str, name: str) -> str:
    """host:port of an endpoint as SkyPilot states it; nothing else may reach a configuration."""
    plain = text.removeprefix("http://").rstrip("/")
    if _ADDRESS.fullmatch(plain) is None:
        raise LaunchError(f"{name} answers at {text[:80]!r}, which the router cannot use: want http://host:port")
    return plain
