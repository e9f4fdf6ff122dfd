"""Plan folders written by hand, without the renderer: a plan.json and one launch file per group."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

Group = dict[str, Any]

MACHINES: Mapping[str, Group] = {
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


def planned_group(cloud: str, name: str, **changes: Any) -> Group:
    """One entry of plan.json's `groups`: two instances, on demand."""
    group = {
        **MACHINES[cloud],
        "name": name,
        "zone": None,
        "use_spot": False,
        "instances": 2,
        "replicas_per_instance": 1,
        "tensor_parallel": 1,
        "file": f"{name}.yaml",
    }
    return {**group, **changes}


def launch_config(group: Group, mode: str) -> dict[str, Any]:
    """The launch file that belongs to a group, as a mapping."""
    zone = f"/{group['zone']}" if group["zone"] and group["cloud"] != "aws" else ""
    config: dict[str, Any] = {
        "name": group["name"],
        "resources": {
            "infra": f"{group['cloud']}/{group['region']}{zone}",
            "instance_type": group["instance_type"],
            "accelerators": {group["catalog_accelerator"]: group["accelerators_per_instance"]},
            "use_spot": group["use_spot"],
            "disk_size": 256,
            "ports": 8000,
        },
        "envs": {"MODEL": "meta-llama/Llama-3.1-8B-Instruct"},
        "secrets": {"HF_TOKEN": None},
        "setup": "uv pip install vllm==0.24.0\n",
        "run": 'vllm serve "$MODEL" --port 8000\n',
    }
    if mode == "serve":
        config["service"] = {
            "replicas": group["instances"],
            "readiness_probe": {"path": "/health", "initial_delay_seconds": 3600},
            "load_balancer": {"stream_timeout_seconds": 3600},
        }
    else:
        config["num_nodes"] = 1 if group["cloud"] in SINGLE_NODE_CLOUDS else group["instances"]
    return config


def write_plan(
    folder: Path, groups: Sequence[Group], files: Mapping[str, str | dict[str, Any]], **changes: Any
) -> Path:
    """Write plan.json and the launch files; `changes` replace top-level fields of the plan."""
    folder.mkdir(parents=True, exist_ok=True)
    plan: dict[str, Any] = {"schema_version": 1, "name": "chat", "groups": list(groups)}
    if "cost" not in changes:
        total = sum(group["price_usd_per_hour"] * group["instances"] for group in groups)
        plan["cost"] = {"replicas_usd_per_hour": total}
    (folder / "plan.json").write_text(json.dumps({**plan, **changes}), encoding="utf-8")
    for name, content in files.items():
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
