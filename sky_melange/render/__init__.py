"""Turns a plan into files and text. `OUTPUTS` makes the files of a plan folder; nothing here reprices."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.fleet import FleetPlan
from sky_melange.domain.front_door import needs_router
from sky_melange.domain.hours import Scaling
from sky_melange.domain.launch_files import PROJECT_CONFIG_FILE
from sky_melange.domain.plan import Plan
from sky_melange.domain.scaling import scaling_of
from sky_melange.domain.workload import Workload
from sky_melange.render import (
    plan_json,
    project_config,
    router_haproxy,
    router_litellm,
    router_sky_yaml,
    schedule_json,
    shared_machine_yaml,
    skypilot_yaml,
)
from sky_melange.render.router_names import HAPROXY_FILE, HOOK_FILE, LITELLM_FILE, LUA_FILE, TASK_FILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Files of a plan folder. The same plan gives the same bytes: no clock, no environment."""

    render: Callable[[Plan, Workload], dict[str, str]]
    """File name -> text; {} where this plan needs none of them."""

    files: tuple[str, ...]
    """Every name that it may write, beside the groups' own (`ReplicaGroup.file`): `plan` replaces these."""


OUTPUTS: Final[Mapping[str, Output]] = {
    "plan": Output(render=plan_json.render, files=(plan_json.FILE_NAME,)),
    "skypilot": Output(render=skypilot_yaml.render, files=()),
    "schedule": Output(render=schedule_json.render, files=(schedule_json.FILE_NAME,)),
    "project_config": Output(render=project_config.render, files=(PROJECT_CONFIG_FILE,)),
    "router_haproxy": Output(render=router_haproxy.render, files=(HAPROXY_FILE, LUA_FILE)),
    "router_litellm": Output(render=router_litellm.render, files=(LITELLM_FILE, HOOK_FILE)),
    "router_sky_yaml": Output(render=router_sky_yaml.render, files=(TASK_FILE,)),
}


def render_files(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> text of everything that a plan folder holds."""
    files: dict[str, str] = {}
    for output in OUTPUTS.values():
        files.update(output.render(plan, workload))
    return files


def render_fleet_files(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> dict[str, str]:
    """The same of what a fleet's folder holds beside its plans and fleet.json: shared machines, the router of all."""
    files = shared_machine_yaml.render(fleet, plans)
    if fleet.router is not None:
        files |= router_haproxy.render_fleet(fleet.name, plans)
        files |= router_litellm.render_fleet(fleet.name, plans)
        files |= router_sky_yaml.render_fleet(fleet.router, plans)
    return files


def fleet_router_files() -> tuple[str, ...]:
    """The names of all files that a fleet's router may have."""
    return (*OUTPUTS["router_haproxy"].files, *OUTPUTS["router_litellm"].files, *OUTPUTS["router_sky_yaml"].files)


def output_files() -> frozenset[str]:
    """The names of all files that a plan may write into its folder, but those of its groups."""
    return frozenset(name for output in OUTPUTS.values() for name in output.files)


def launch_steps(plan: Plan, workload: Workload, *, folder: str) -> str:
    """What to do next with a written plan folder."""
    lines = [
        f"Wrote {folder}: plan.json and {len(plan.groups)} SkyPilot file{'s' if len(plan.groups) != 1 else ''}. Next:",
        f"  sky-melange validate {shlex.quote(folder)}",
        f"  cd {shlex.quote(folder)}",
    ]
    lines += [f"  {skypilot_yaml.launch_command(group, workload)}" for group in plan.groups]
    if needs_router(plan.groups, workload):
        lines.append(f"  {router_sky_yaml.launch_command(plan, workload)}")
    lines.append(f"Or all of it: sky-melange up {shlex.quote(folder)}")
    if scaling_of(plan, workload) is Scaling.SCHEDULE:
        lines.append(f"From then on, every 5 minutes: sky-melange scale {shlex.quote(folder)}")
    return "\n".join(lines)
