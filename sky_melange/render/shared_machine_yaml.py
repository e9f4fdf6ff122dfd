"""One SkyPilot YAML for a machine that workloads share: each engine on GPUs of its own, at a port of its own."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sky_melange.domain.engine import ENGINES, Engine
from sky_melange.domain.fleet import FleetPlan, SharedMachine
from sky_melange.domain.own_gpus import infra_of
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.workload import Workload
from sky_melange.render.engine_command import engine_arguments
from sky_melange.render.templates import template_environment


def render(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> dict[str, str]:
    """File name -> YAML text, one file a machine; `plans` of the members."""
    by_name = {plan.name: (plan, workload) for plan, workload in plans}
    return {machine.file: _text(machine, list(_engines(machine, by_name))) for machine in fleet.machines}


def launch_command(machine: SharedMachine, workloads: Sequence[Workload]) -> str:
    """What to type for one machine."""
    secrets = "".join(f" --secret {shlex.quote(name)}" for name in _secrets(workloads))
    return f"sky launch -c {machine.name} {machine.file}{secrets}"


def _secrets(workloads: Sequence[Workload]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for workload in workloads for name in workload.launch.all_secrets))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Engine:
    """What the launch file says of an engine."""

    port: int
    gpus: str
    group: ReplicaGroup
    workload: Workload

    @property
    def engine(self) -> Engine:
        return ENGINES[self.group.engine]

    @property
    def api_key(self) -> str | None:
        return self.workload.launch.api_key_secret

    @property
    def command(self) -> tuple[str, ...]:
        return engine_arguments(self.group, self.workload, port=self.port)


def _engines(machine: SharedMachine, plans: Mapping[str, tuple[Plan, Workload]]) -> Iterator[_Engine]:
    for each in machine.engines:
        plan, workload = plans[each.workload]
        yield _Engine(
            port=each.port,
            gpus=",".join(map(str, each.gpus)),
            group=next(group for group in plan.groups if group.name == each.group),
            workload=workload,
        )


def _text(machine: SharedMachine, engines: Sequence[_Engine]) -> str:
    workloads = [each.workload for each in engines]
    return (
        template_environment()
        .get_template("shared_machine.sky.yaml.j2")
        .render(
            machine=machine,
            engines=engines,
            summary=summary(machine),
            launch_command=launch_command(machine, workloads),
            infra=infra_of(machine.cloud, machine.region, machine.zone),
            secrets=_secrets(workloads),
            installed=list(dict.fromkeys(each.engine for each in engines)),
        )
    )


def summary(machine: SharedMachine) -> str:
    """For people: `p5.48xlarge (8 × H100) on aws us-east-1, shared by chat and code`."""
    place = " ".join(filter(None, (machine.cloud, machine.region, machine.zone)))
    sharing = " and ".join(dict.fromkeys(engine.workload for engine in machine.engines))
    gpus = f"{machine.accelerators_per_instance} × {machine.accelerator}"
    return f"{machine.instance_type} ({gpus}) on {place}, shared by {sharing}"
