"""router.sky.yaml: a SkyPilot task on a machine without GPU that runs the router."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from sky_melange.domain.front_door import ROUTER_PURPOSE, needs_router
from sky_melange.domain.own_gpus import infra_of
from sky_melange.domain.plan import Overhead, Plan
from sky_melange.domain.router import RouterKind, router_cluster
from sky_melange.domain.workload import Workload
from sky_melange.render.router_litellm import MASTER_KEY, api_base_variable
from sky_melange.render.router_names import (
    HAPROXY_FILE,
    HOOK_FILE,
    LITELLM_FILE,
    LUA_FILE,
    TASK_FILE,
    check_names,
    endpoint_variables,
)
from sky_melange.render.templates import template_environment

LITELLM_VERSION: Final = "1.106.2"
"""The version that the hook is tested with."""

CPUS: Final = 2
MEMORY_GIB: Final = 4
_ANYWHERE: Final = Overhead(
    purpose=ROUTER_PURPOSE, cloud="", region="", instance_type="", price_usd_per_hour=None, price=None
)


def render(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> YAML text; empty when the plan needs no router."""
    if not needs_router(plan.groups, workload):
        return {}
    machine = next((machine for machine in plan.overhead if machine.purpose == ROUTER_PURPOSE), _ANYWHERE)
    return _files(router_cluster(plan.name), machine, [(plan, workload)])


def render_fleet(machine: Overhead, plans: Sequence[tuple[Plan, Workload]]) -> dict[str, str]:
    """The router of a fleet, on a machine that says the name of its cluster."""
    return _files(machine.cluster, machine, plans)


def _files(cluster: str, machine: Overhead, plans: Sequence[tuple[Plan, Workload]]) -> dict[str, str]:
    for plan, workload in plans:
        check_names(plan, workload)
    settings = plans[0][1].router
    is_haproxy = settings.kind is RouterKind.HAPROXY
    variables = _variables(plans)
    keys = [workload.launch.api_key_secret for _, workload in plans]
    text = (
        template_environment()
        .get_template("router.sky.yaml.j2")
        .render(
            cluster=cluster,
            groups=[group for plan, _ in plans for group in plan.groups],
            machine=machine,
            infra=infra_of(machine.cloud, machine.region),
            cpus=CPUS,
            memory_gib=MEMORY_GIB,
            kind=settings.kind.value,
            port=settings.port,
            variables=variables,
            api_bases=[(name, api_base_variable(name)) for name in variables],
            secrets=_secrets(plans),
            api_keys=list(dict.fromkeys(key for key in keys if key is not None)),
            files=[HAPROXY_FILE, LUA_FILE] if is_haproxy else [LITELLM_FILE, HOOK_FILE],
            requirement=f"litellm[proxy]=={LITELLM_VERSION}",
            launch_command=_launch_command(cluster, plans),
        )
    )
    return {TASK_FILE: text}


def _variables(plans: Sequence[tuple[Plan, Workload]]) -> list[str]:
    return [
        name
        for plan, workload in plans
        for group in plan.groups
        for name in endpoint_variables(group, workload.launch.mode)
    ]


def _secrets(plans: Sequence[tuple[Plan, Workload]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, workload in plans for name in router_secrets(workload)))


def router_secrets(workload: Workload) -> tuple[str, ...]:
    """HAProxy needs the replicas' key. LiteLLM has one of its own too, and loads a tokenizer as the engines do."""
    if workload.router.kind is RouterKind.HAPROXY:
        return tuple(filter(None, [workload.launch.api_key_secret]))
    return tuple(dict.fromkeys((MASTER_KEY, *workload.launch.all_secrets)))


def launch_command(plan: Plan, workload: Workload) -> str:
    """What to type once every group answers."""
    return _launch_command(router_cluster(plan.name), [(plan, workload)])


def _launch_command(cluster: str, plans: Sequence[tuple[Plan, Workload]]) -> str:
    secrets = [f"--secret {shlex.quote(name)}" for name in _secrets(plans)]
    options = [*(f"--env {name}=HOST:PORT" for name in _variables(plans)), *secrets]
    return f"sky launch -c {cluster} {TASK_FILE} {' '.join(options)}"
