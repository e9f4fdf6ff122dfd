"""Plan folders written by hand, without the renderer: a plan and one launch file per group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sky_melange.domain.buckets import TokenGrid, Traffic
from sky_melange.domain.offer import PriceProvenance
from sky_melange.domain.plan import Cost, InputDigests, Plan, ReplicaGroup
from sky_melange.domain.profile import ProfileKind, ProfileProvenance
from sky_melange.domain.workload import Launch, LaunchMode, Model, RoutingPolicy, Slo, Workload
from sky_melange.plan_file import PlanDocument

PROVENANCE = PriceProvenance(source="test", detail="written by hand", fetched_at="2026-07-01")
WORKLOAD = Workload(
    name="chat",
    model=Model(id="meta-llama/Llama-3.1-8B-Instruct", dtype="bfloat16", max_model_len=8192),
    slo=Slo(tpot_s=0.04),
    traffic=Traffic(grid=TokenGrid(input_edges=(100,), output_edges=(50,)), rates_rps=((3.0,),), origin="a test"),
)
MACHINES: Mapping[str, Mapping[str, Any]] = {
    "aws": {
        "cloud": "aws",
        "region": "us-east-1",
        "instance_type": "g6.2xlarge",
        "accelerator": "L4",
        "catalog_accelerator": "L4",
        "accelerators_per_instance": 1,
        "price_usd_per_hour": 0.9776,
    },
    "gcp": {
        "cloud": "gcp",
        "region": "us-central1",
        "instance_type": "g2-standard-4",
        "accelerator": "L4",
        "catalog_accelerator": "L4",
        "accelerators_per_instance": 1,
        "price_usd_per_hour": 0.70683,
    },
    "azure": {
        "cloud": "azure",
        "region": "eastus",
        "instance_type": "Standard_NC24ads_A100_v4",
        "accelerator": "A100-80GB",
        "catalog_accelerator": "A100-80GB",
        "accelerators_per_instance": 1,
        "price_usd_per_hour": 3.673,
    },
    "lambda": {
        "cloud": "lambda",
        "region": "us-west-3",
        "instance_type": "gpu_8x_h100_sxm5",
        "accelerator": "H100",
        "catalog_accelerator": "H100",
        "accelerators_per_instance": 8,
        "price_usd_per_hour": 31.92,
    },
    "runpod": {
        "cloud": "runpod",
        "region": "CA",
        "instance_type": "1x_A100-80GB_SECURE",
        "accelerator": "A100-80GB",
        "catalog_accelerator": "A100-80GB",
        "accelerators_per_instance": 1,
        "price_usd_per_hour": 1.64,
    },
    "nebius": {
        "cloud": "nebius",
        "region": "eu-north1",
        "instance_type": "gpu-h100-sxm_1gpu-16vcpu-200gb",
        "accelerator": "H100",
        "catalog_accelerator": "H100",
        "accelerators_per_instance": 1,
        "price_usd_per_hour": 2.95,
    },
    "fluidstack": {
        "cloud": "fluidstack",
        "region": "UTAH_USA",
        "instance_type": "H100_PCIE_80GB::1",
        "accelerator": "H100",
        "catalog_accelerator": "H100",
        "accelerators_per_instance": 1,
        "price_usd_per_hour": 2.89,
    },
    "verda": {
        "cloud": "verda",
        "region": "FIN-03",
        "instance_type": "1B300.30V",
        "accelerator": "B300",
        "catalog_accelerator": "B300",
        "accelerators_per_instance": 1,
        "price_usd_per_hour": 6.99,
    },
}
SINGLE_NODE_CLOUDS = frozenset({"runpod", "verda"})


def planned_group(cloud: str, name: str, **changes: Any) -> ReplicaGroup:
    """Two instances of the cloud's machine, on demand."""
    fields: dict[str, Any] = {
        **MACHINES[cloud],
        "name": name,
        "zone": None,
        "use_spot": False,
        "instances": 2,
        "replicas_per_instance": 1,
        "tensor_parallel": 1,
        "price": PROVENANCE,
        "utilization": 0.5,
        "max_concurrency": 8,
        "engine_version": "0.33.0",
        "engine_args": (),
        "profile": ProfileProvenance(kind=ProfileKind.ESTIMATED, source="test", fetched_at="2026-05-01", error=None),
        "file": f"{name}.yaml",
    }
    return ReplicaGroup(**(fields | changes))


def launch_config(group: ReplicaGroup, mode: str) -> dict[str, Any]:
    """The launch file that belongs to a group, as a mapping."""
    zone = f"/{group.zone}" if group.zone and group.cloud != "aws" else ""
    config: dict[str, Any] = {
        "name": group.name,
        "resources": {
            "infra": f"{group.cloud}/{group.region}{zone}",
            "instance_type": group.instance_type,
            "accelerators": {group.catalog_accelerator: group.accelerators_per_instance},
            "use_spot": group.use_spot,
            "disk_size": 256,
            "ports": 8000,
        },
        "envs": {"MODEL": "meta-llama/Llama-3.1-8B-Instruct"},
        "secrets": {"HF_TOKEN": None},
        "setup": "uv pip install vllm==0.33.0\n",
        "run": 'vllm serve "$MODEL" --port 8000\n',
    }
    if mode == "serve":
        config["service"] = {
            "replicas": group.instances,
            "readiness_probe": {"path": "/health", "initial_delay_seconds": 3600},
            "load_balancer": {"stream_timeout_seconds": 3600},
        }
    else:
        config["num_nodes"] = 1 if group.cloud in SINGLE_NODE_CLOUDS else group.instances
    return config


def write_plan(
    folder: Path, groups: Sequence[ReplicaGroup], files: Mapping[str, str | dict[str, Any]], mode: str = "serve"
) -> PlanDocument:
    """The plan of these groups, with the launch files written into its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (folder / name).write_text(text, encoding="utf-8")
    plan = Plan(
        name="chat",
        status="optimal",
        mip_gap=0.0,
        cost=Cost.of(groups, ()),
        groups=tuple(groups),
        overhead=(),
        policy=RoutingPolicy.SIZE_AWARE,
        routing=(),
        alternatives=(),
        assumptions=(),
        warnings=(),
        inputs=InputDigests(workload="a" * 64, prices="b" * 64, profiles="c" * 64),
    )
    workload = replace(WORKLOAD, launch=Launch(mode=LaunchMode(mode)))
    return PlanDocument(path=folder / "plan.json", plan=plan, workload=workload)
