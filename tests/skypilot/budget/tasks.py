"""Tasks to ask the guard about, and their prices by a reading of the catalogs that shares nothing with SkyPilot's."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from typing import Any


def service(
    name: str = "chat", replicas: int | None = 3, policy: dict[str, Any] | None = None, **resources: Any
) -> Any:
    asked = resources or {"infra": "gcp", "instance_type": "a2-highgpu-1g", "accelerators": "A100:1"}
    count = {"replica_policy": policy} if policy is not None else {"replicas": replicas}
    return {
        "name": name,
        "resources": {"ports": 8000, **asked},
        "service": {"readiness_probe": "/", **count},
        "run": "serve",
    }


def cluster(name: str = "train", nodes: int = 1, **resources: Any) -> Any:
    asked = resources or {"infra": "gcp", "instance_type": "a2-highgpu-1g", "accelerators": "A100:1"}
    return {"name": name, "num_nodes": nodes, "resources": asked, "run": "train"}


def gcp_price(catalog: str, instance_type: str, accelerator: str, count: int = 1, *, spot: bool = False) -> float:
    """The cheapest sum of host and accelerators within a zone, USD/h."""
    column = "SpotPrice" if spot else "Price"
    hosts: defaultdict[str, list[float]] = defaultdict(list)
    cards: defaultdict[str, list[float]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(catalog)):
        if not row[column]:
            continue
        if row["InstanceType"] == instance_type:
            hosts[row["AvailabilityZone"]].append(float(row[column]))
        elif row["AcceleratorName"] == accelerator and float(row["AcceleratorCount"]) == count:
            cards[row["AvailabilityZone"]].append(float(row[column]))
    return min(min(hosts[zone]) + min(cards[zone]) for zone in hosts if zone in cards)


def aws_price(catalog: str, instance_type: str, *, spot: bool = False) -> float:
    column = "SpotPrice" if spot else "Price"
    rows = csv.DictReader(io.StringIO(catalog))
    return min(float(row[column]) for row in rows if row["InstanceType"] == instance_type and row[column])
