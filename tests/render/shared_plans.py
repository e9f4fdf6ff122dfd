"""A machine that two workloads share, made by hand: two engines of one, and one of the other."""

from __future__ import annotations

from dataclasses import replace

from plans import LARGE, PRICE, group, plan, workload

from sky_melange.domain.fleet import (
    FleetConstraints,
    FleetInputs,
    FleetPlan,
    SharedEngine,
    SharedMachine,
)
from sky_melange.domain.machine import MachinePart
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import LaunchMode, Objective, Workload

MODELS = {"chat": "meta-llama/Llama-3.1-8B-Instruct", "code": "Qwen/Qwen3-32B"}


def shared(first_port: int = 8000) -> tuple[FleetPlan, list[tuple[Plan, Workload]]]:
    """One of the eight GPUs is idle."""
    sizes = {"chat": (2, 1), "code": (1, 4)}
    engines = {"chat": "vllm", "code": "sglang"}
    plans = []
    for name, (instances, gpus) in sizes.items():
        fraction = gpus / 6
        part = MachinePart(accelerators=8, price_fraction=fraction)
        given = LARGE | {
            "accelerators_per_instance": gpus,
            "tensor_parallel": gpus,
            "instances": instances,
            "price_usd_per_hour": LARGE["price_usd_per_hour"] * fraction,
            "engine": engines[name],
            "engine_args": (),
        }
        settings = workload(
            LaunchMode.CLUSTER, id=MODELS[name], secrets=("HF_TOKEN",), api_key_secret=f"{name.upper()}_KEY"
        )
        a_plan = plan(group(f"{name}-h100-x{gpus}", **given, part=part), name=name)
        plans.append((a_plan, replace(settings, name=name)))
    machine = SharedMachine(
        name="both-shared-h100-x8",
        **{key: LARGE[key] for key in ("cloud", "region", "instance_type", "accelerator", "catalog_accelerator")},
        accelerators_per_instance=8,
        zone=None,
        use_spot=False,
        price_usd_per_hour=LARGE["price_usd_per_hour"],
        price=PRICE,
        disk_gb=1024,
        engines=(
            SharedEngine(workload="code", group="code-h100-x4", gpus=(0, 1, 2, 3), port=first_port),
            SharedEngine(workload="chat", group="chat-h100-x1", gpus=(4,), port=first_port + 1),
            SharedEngine(workload="chat", group="chat-h100-x1", gpus=(5,), port=first_port + 2),
        ),
        file="both-shared-h100-x8.sky.yaml",
    )
    fleet = FleetPlan(
        name="both",
        objective=Objective.LEAST_COST,
        status="optimal",
        mip_gap=0.0,
        members=(),
        shared=(),
        usd_per_hour=LARGE["price_usd_per_hour"],
        mean_usd_per_hour=LARGE["price_usd_per_hour"],
        shared_usd_per_hour=0.0,
        constraints=FleetConstraints(),
        inputs=FleetInputs(fleet_file=None, fleet_sha256=""),
        budget=None,
        machines=(machine,),
    )
    return fleet, plans
