"""`up` and `down` of a plan on GPUs that one has, against a fake SkyPilot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import yaml
from fake_cloud import FakeCloud

from sky_melange.domain.offer import PriceProvenance
from sky_melange.domain.own_gpus import OWN_GPUS, OwnGpus
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import CandidateFilter, Workload
from sky_melange.skypilot.launch.launch import remove
from sky_melange.skypilot.launch.record import read_record
from sky_melange.skypilot.launch.steps import steps_down

Make = Callable[..., Any]
STATED = PriceProvenance(source=OWN_GPUS, detail="own, as stated", fetched_at="")
PLACES = {"chat-l4": ("kubernetes", "prod/eu"), "chat-l40s": ("ssh", "lab")}


def on_own_gpus(plan: Plan, workload: Workload) -> tuple[Plan, Workload]:
    """The first two of the plan's groups, and the router, on one's own."""
    own = tuple(
        OwnGpus(infra=infra, accelerator="L4", per_node=4, nodes=1, usd_per_gpu_hour=0.8)
        for infra in ("k8s/prod/eu", "ssh/lab")
    )
    groups = tuple(
        replace(
            group, cloud=PLACES[group.name][0], region=PLACES[group.name][1], instance_type=own[0].pod(1), price=STATED
        )
        if group.name in PLACES
        else group
        for group in plan.groups
    )
    router = replace(plan.overhead[0], cloud="kubernetes", region="prod/eu", instance_type="2CPU--4GB", price=STATED)
    workload = replace(workload, candidates=CandidateFilter(own=own))
    return replace(plan, groups=groups, overhead=(router, *plan.overhead[1:])), workload


def test_pods_are_started_and_stopped_like_machines(bench: Any, any_plan: Make, any_workload: Make) -> None:
    plan, workload = on_own_gpus(any_plan(), any_workload())
    cloud = FakeCloud()
    addresses = bench.up(plan, workload, cloud)
    assert set(cloud.tasks) == {"chat-l4", "chat-l40s", "chat-h100", "chat-router"}
    assert addresses["ROUTER_ENDPOINT"]
    asked = {
        name: yaml.safe_load((bench.folder / f"{name}.sky.yaml").read_text(encoding="utf-8"))["resources"]
        for name in ("chat-l4", "chat-l40s", "chat-h100")
    }
    pod = {"cpus": 4, "memory": 16, "accelerators": {"L4": 1}, "use_spot": False, "ports": 8000}
    assert asked["chat-l4"] == {"infra": "k8s/prod/eu", **pod}
    assert asked["chat-l40s"] == {"infra": "ssh/lab", **pod}
    assert "instance_type" in asked["chat-h100"]
    router = yaml.safe_load((bench.folder / "router.sky.yaml").read_text(encoding="utf-8"))["resources"]
    assert router == {"infra": "k8s/prod/eu", "instance_type": "2CPU--4GB", "ports": 8080}
    before = list(cloud.events)
    bench.up(plan, workload, cloud)
    assert cloud.events == before
    record = read_record(bench.folder, "chat")
    remove(record, cloud, steps_down(record.started), bench.said.append)
    assert cloud.running == {}
