"""One SkyPilot YAML for each replica group: a SkyServe service, of a fixed size or autoscaled, or a cluster of nodes.

The same group gives the same bytes: SkyServe reuses running replicas only when nothing outside `service:` changed, so
neither times nor counts nor costs enter the part below it.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sky_melange.domain.engine import ENGINES, PORT, version_gap
from sky_melange.domain.hours import Scaling
from sky_melange.domain.own_gpus import OWN_CLOUDS, infra_of, pod_size
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.scaling import DECISION_SECONDS, ReplicaPolicy, most_replicas, scaling_of
from sky_melange.domain.workload import LaunchMode, Workload
from sky_melange.render.engine_command import engine_arguments
from sky_melange.render.router_haproxy import health_checks_rps
from sky_melange.render.templates import template_environment
from sky_melange.resources import cloud_features

if TYPE_CHECKING:
    pass

INITIAL_DELAY_SECONDS: Final = 3600
"""Until the first probe must succeed: machine, engine install and weights. Ready sooner costs nothing."""

STREAM_TIMEOUT_SECONDS: Final = 3600
"""SkyServe's default of 120 s would cut long generations."""


def render(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> YAML text, one file a group that has machines of its own."""
    policies = replica_policies(plan, workload)
    return {group.file: render_group(group, workload, policies.get(group.name)) for group in plan.whole_groups}


def replica_policies(plan: Plan, workload: Workload) -> Mapping[str, ReplicaPolicy]:
    """By group; those that run as many instances in every hour have none, nor has a plan that is not autoscaled.

    The target is such that SkyServe wants at least a period's instances at the rate of that period, and before that by
    the reserve of `Autoscaling`. It counts the router's health checks as requests, and so does the target. More than
    the busiest hour's instances run where more requests come, by the reserve of the hours.
    """
    schedule = plan.schedule
    if schedule is None or scaling_of(plan, workload) is not Scaling.AUTOSCALE:
        return {}
    checks_rps = health_checks_rps(plan, workload)
    told = schedule.autoscaling
    ahead = 1.0 if told is None else 1 + told.headroom_fraction
    policies: dict[str, ReplicaPolicy] = {}
    for index, group in enumerate(plan.groups):
        peak_rps = math.fsum(route.routed_rps * dict(route.shares).get(group.name, 0.0) for route in plan.routing)
        busiest, counts = schedule.periods[0], [period.instances[index] for period in schedule.periods]
        # The router's checks are requests to SkyServe: it would start what it has stopped.
        fewest, most = max(min(counts), 1 if checks_rps.get(group.name) else 0), max(counts)
        if group.committed is not None:
            # They are paid for whether they run or not.
            fewest = max(fewest, group.committed.term.instances)
        if told is not None:
            fewest = max(fewest, math.ceil(most * told.least_fraction - 1e-9))
            most = most_replicas(most, schedule)
        if fewest == most:
            continue
        targets = [
            (peak_rps * period.rate_rps / busiest.rate_rps / ahead + checks_rps.get(group.name, 0.0)) / count
            for number, (period, count) in enumerate(zip(schedule.periods, counts, strict=True))
            if count > fewest or not number
        ]
        if min(targets) <= 0:
            continue
        startup_s = schedule.startup_minutes * 60
        policies[group.name] = ReplicaPolicy(
            min_replicas=fewest,
            max_replicas=most,
            target_qps_per_replica=_rounded_down(min(targets)),
            upscale_delay_seconds=_decisions(startup_s / 10, least_s=20, most_s=300),
            downscale_delay_seconds=_decisions(startup_s * 4, least_s=1800, most_s=3600),
        )
    return policies


def _rounded_down(value: float) -> float:
    """To six digits."""
    scale = 10.0 ** (5 - math.floor(math.log10(value)))
    return math.floor(value * scale) / scale


def _decisions(seconds: float, *, least_s: int, most_s: int) -> int:
    """A delay in whole intervals of SkyServe's decisions, within bounds."""
    return round(min(max(seconds, least_s), most_s) / DECISION_SECONDS) * DECISION_SECONDS


def render_group(group: ReplicaGroup, workload: Workload, policy: ReplicaPolicy | None = None) -> str:
    """The YAML of one group. Values are quoted for YAML and, where a shell reads them, for the shell."""
    mode = workload.launch.mode
    text = (
        template_environment(is_launch_file=True)
        .get_template("skypilot.yaml.j2")
        .render(
            group=group,
            policy=policy,
            mode=mode.value,
            summary=summary(group),
            launch_command=launch_command(group, workload),
            infra=infra_of(group.cloud, group.region, group.zone),
            pod=pod_size(group.instance_type) if group.cloud in OWN_CLOUDS else None,
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
    gpus = f"{group.gpus_text} × {group.accelerator}"
    return f"{group.instances} × {spot}{group.instance_type} ({gpus}) on {place}"
