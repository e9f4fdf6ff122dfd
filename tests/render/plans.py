"""Plans made by hand, with every field set."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sky_melange.domain.buckets import TokenGrid, Traffic
from sky_melange.domain.offer import PriceProvenance
from sky_melange.domain.plan import Alternative, Cost, InputDigests, Overhead, Plan, ReplicaGroup, Route
from sky_melange.domain.profile import ProfileKind, ProfileProvenance
from sky_melange.domain.workload import Launch, LaunchMode, Model, RoutingPolicy, Slo, Workload

PRICE = PriceProvenance(source="test catalog", detail="row", fetched_at="2026-06-01")
PROFILE = ProfileProvenance(kind=ProfileKind.ESTIMATED, source="test", fetched_at="2026-05-01", error=None)


def group(name: str = "chat-l4", **changes: Any) -> ReplicaGroup:
    given: dict[str, Any] = {
        "name": name,
        "cloud": "aws",
        "region": "us-east-1",
        "zone": None,
        "instance_type": "g6.xlarge",
        "accelerator": "L4",
        "catalog_accelerator": "L4",
        "accelerators_per_instance": 1,
        "use_spot": False,
        "instances": 3,
        "replicas_per_instance": 1,
        "tensor_parallel": 1,
        "price_usd_per_hour": 0.8048,
        "price": PRICE,
        "utilization": 0.87,
        "max_concurrency": 24,
        "engine_version": "0.33.0",
        "engine_args": (("gpu-memory-utilization", "0.9"), ("max-num-batched-tokens", "8192")),
        "profile": PROFILE,
        "file": f"{name}.sky.yaml",
    }
    return ReplicaGroup(**(given | changes))


LARGE: dict[str, Any] = {
    "cloud": "lambda",
    "region": "us-west-1",
    "instance_type": "gpu_8x_h100_sxm5",
    "accelerator": "H100",
    "catalog_accelerator": "H100",
    "accelerators_per_instance": 8,
    "instances": 1,
    "price_usd_per_hour": 31.92,
    "utilization": 0.9,
}


def alternative(label: str, cost: float | None, *, instances: int | None = None, note: str = "") -> Alternative:
    given: dict[str, Any] = {"label": label, "cost_usd_per_hour": cost, "instances": instances, "note": note}
    if "accelerators" in {field.name for field in fields(Alternative)}:
        given["accelerators"] = instances
    if cost is not None:
        given["total_usd_per_hour"] = cost + 0.2
    return Alternative(**given)


def plan(*groups: ReplicaGroup, overhead: float | None = 0.2, **changes: Any) -> Plan:
    groups = groups or (group(),)
    replicas = sum(g.cost_usd_per_hour for g in groups)
    machine = Overhead(
        purpose="SkyServe controller",
        cloud="aws",
        region="us-east-1",
        instance_type="c6i.xlarge",
        price_usd_per_hour=overhead,
        price=PRICE,
    )
    beside = overhead or 0.0
    given: dict[str, Any] = {
        "name": "chat",
        "status": "optimal",
        "mip_gap": 0.0,
        "cost": Cost(
            replicas_usd_per_hour=replicas,
            overhead_usd_per_hour=beside,
            total_usd_per_hour=replicas + beside,
            worst_case_usd_per_hour=replicas + beside,
        ),
        "groups": groups,
        "overhead": (machine,),
        "policy": RoutingPolicy.SIZE_AWARE,
        "routing": (
            Route(input_tokens=100, output_tokens=50, rate_rps=3.0, shares=((groups[0].name, 1.0),)),
            Route(input_tokens=1000, output_tokens=50, rate_rps=1.0, shares=((groups[-1].name, 1.0),)),
        ),
        "alternatives": (alternative("L4", 2.4144, instances=3), alternative("H100", 31.92, instances=1)),
        "assumptions": ("Traffic: 4 req/s.", "Prices are list prices."),
        "warnings": ("Measure first.",),
        "inputs": InputDigests(workload="a" * 64, prices="b" * 64, profiles="c" * 64),
    }
    return Plan(**(given | changes))


def workload(mode: LaunchMode = LaunchMode.SERVE, **changes: Any) -> Workload:
    launch = {
        "mode": mode,
        **{key: changes.pop(key) for key in ("engine_args", "secrets", "api_key_secret") if key in changes},
    }
    model = {"id": "meta-llama/Llama-3.1-8B-Instruct", "dtype": "bfloat16", "max_model_len": 8192}
    model |= {key: changes.pop(key) for key in ("id", "dtype", "max_model_len") if key in changes}
    return Workload(
        name="chat",
        model=Model(**model),
        slo=Slo(tpot_s=0.04),
        traffic=Traffic(
            grid=TokenGrid(input_edges=(100, 1000), output_edges=(50,)), rates_rps=((3.0,), (1.0,)), origin="a test"
        ),
        launch=Launch(**launch),
        **changes,
    )
