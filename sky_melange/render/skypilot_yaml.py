"""One SkyPilot YAML for each replica group: a SkyServe service or a cluster of identical nodes.

The same group gives the same bytes: SkyServe reuses running replicas only when nothing outside `service:` changed, so
neither times nor counts nor costs enter the part below it.
"""

from __future__ import annotations

import json
import math
import shlex
from functools import cache
from typing import TYPE_CHECKING, Final

from sky_melange.domain.engine import ENGINES, version_gap
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.workload import LaunchMode, Workload
from sky_melange.render.engine_command import PORT, engine_arguments
from sky_melange.resources import cloud_features, data_path

if TYPE_CHECKING:
    import jinja2

INITIAL_DELAY_SECONDS: Final = 3600
"""Until the first probe must succeed: machine, engine install and weights. Ready sooner costs nothing."""

STREAM_TIMEOUT_SECONDS: Final = 3600
"""SkyServe's default of 120 s would cut long generations."""


def render(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> YAML text, one file a group."""
    return {group.file: render_group(group, workload) for group in plan.groups}


def render_group(group: ReplicaGroup, workload: Workload) -> str:
    """The YAML of one group. Values are quoted for YAML and, where a shell reads them, for the shell."""
    mode = workload.launch.mode
    text = (
        _environment()
        .get_template("skypilot.yaml.j2")
        .render(
            group=group,
            mode=mode.value,
            summary=summary(group),
            launch_command=launch_command(group, workload),
            infra="/".join(filter(None, (group.cloud, group.region, group.zone))),
            num_nodes=nodes_per_launch(group),
            secrets=workload.launch.all_secrets,
            api_key=workload.launch.api_key_secret,
            port=PORT,
            initial_delay_seconds=INITIAL_DELAY_SECONDS,
            stream_timeout_seconds=STREAM_TIMEOUT_SECONDS,
            engine=ENGINES[group.engine],
            version_gap=version_gap(group.engine, group.engine_version),
            command=engine_arguments(group, workload),
            gpus_of_replicas=_gpus_of_replicas(group),
        )
    )
    return text.rstrip("\n") + "\n"


def _gpus_of_replicas(group: ReplicaGroup) -> list[str]:
    """`0,1,2,3` and so on: the GPUs of each replica of an instance."""
    gpus = [str(gpu) for gpu in range(group.replicas_per_instance * group.tensor_parallel)]
    return [
        ",".join(gpus[first : first + group.tensor_parallel]) for first in range(0, len(gpus), group.tensor_parallel)
    ]


@cache
def _environment() -> jinja2.Environment:
    """Made once: compiling the template takes longer than rendering a group."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_path("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
        autoescape=False,  # noqa: S701 - the output is YAML; every value passes the yaml or shell filter
    )
    environment.filters["yaml"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.filters["shell"] = shlex.quote
    return environment


def nodes_per_launch(group: ReplicaGroup) -> int:
    """Nodes of one `sky launch`: all instances, or 1 on clouds where SkyPilot has no multi-node clusters."""
    return group.instances if cloud_features()[group.cloud].multi_node else 1


def launch_command(group: ReplicaGroup, workload: Workload) -> str:
    """What to type, once a group; where a cluster cannot span nodes, a loop over its instances."""
    secrets = "".join(f" --secret {shlex.quote(name)}" for name in workload.launch.all_secrets)
    if workload.launch.mode is LaunchMode.SERVE:
        return f"sky serve up -n {group.name} {group.file}{secrets}"
    launches = math.ceil(group.instances / nodes_per_launch(group))
    if launches == 1:
        return f"sky launch -c {group.name} {group.file}{secrets}"
    return f"for i in $(seq {launches}); do sky launch -y -d -c {group.name}-$i {group.file}{secrets}; done"


def summary(group: ReplicaGroup) -> str:
    """For people: `3 × g6e.xlarge (1 × L40S) on aws us-east-1`."""
    spot = "spot " if group.use_spot else ""
    place = " ".join(filter(None, (group.cloud, group.region, group.zone)))
    gpus = f"{group.accelerators_per_instance} × {group.accelerator}"
    return f"{group.instances} × {spot}{group.instance_type} ({gpus}) on {place}"
