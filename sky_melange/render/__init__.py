"""Turns a plan into files and text. `RENDERERS` makes the files of a plan folder; a renderer never reprices."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Final

from sky_melange.domain.front_door import needs_router
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.render import plan_json, project_config, router_haproxy, router_litellm, router_sky_yaml, skypilot_yaml

Renderer = Callable[[Plan, Workload], dict[str, str]]

RENDERERS: Final[dict[str, Renderer]] = {
    "plan": plan_json.render,
    "skypilot": skypilot_yaml.render,
    "project_config": project_config.render,
    "router_haproxy": router_haproxy.render,
    "router_litellm": router_litellm.render,
    "router_sky_yaml": router_sky_yaml.render,
}


def render_files(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> text of everything that a plan folder holds."""
    files: dict[str, str] = {}
    for render in RENDERERS.values():
        files.update(render(plan, workload))
    return files


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
    return "\n".join(lines)
