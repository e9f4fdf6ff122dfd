"""prices/opinions/*.csv: independent dated price lists, reduced to what can be compared with an offer."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

HEADER = (
    "cloud",
    "region",
    "instance_type",
    "accelerator",
    "count",
    "price_usd_per_hour",
    "spot_price_usd_per_hour",
    "date",
    "source",
)
AWS_LIST = "price-checks/aws-gpu-on-demand-2026-01.json"
GCP_LIST = "price-checks/gcp-gpu-instances-all-in-2026-07-30.yml.gz"
PROVIDER_LIST = "price-checks/gpu-offerings-21-providers-2026-05.json"

CLOUDS_LIST = "carbon/cloud_prices.json"

AWS_GPUS = re.compile(r"^(g4ad|g4dn|g5|g5g|g6|g6e|g7e|gr6|p2|p3|p3dn|p4d|p4de|p5|p5e|p5en|p6-b200|p6-b300)\.")
"""Families with whole GPUs. The list's own GPU names are not kept: it calls the T4g of g5g an ARM Mali."""

GCP_GPUS = {
    "a100": "A100",
    "a100-80gb": "A100-80GB",
    "h100-80gb": "H100",
    "h100-80gb-mega": "H100",
    "l4": "L4",
    "rtx6000": "RTXPRO6000",
}

PROVIDERS = {"digitalocean": "do", "lambda": "lambda", "runpod": "runpod", "verda": "verda"}
"""Provider of the list -> cloud. Vast is left out: the list gives the cheapest live offer of one moment there."""

PROVIDER_TIERS = {"on-demand": "price", "secure": "price", "spot": "spot"}
"""RunPod's community tier is left out: SkyPilot rents from its secure tier."""

PROVIDER_GPUS = {
    "A100 PCIe": "A100-80GB-PCIE",
    "A100 PCIe 40": "A100-PCIE",
    "A100 SXM": "A100-80GB",
    "A100 SXM 40": "A100",
    "A100 SXM4 40": "A100",
    "A100 SXM4 80GB": "A100-80GB",
    "A10": "A10",
    "A6000": "RTXA6000",
    "B200": "B200",
    "B200 SXM6": "B200",
    "B300 SXM6": "B300",
    "GH200": "GH200",
    "H100 NVL": "H100-NVL",
    "H100 PCIe": "H100-PCIE",
    "H100 SXM": "H100",
    "H100 SXM5": "H100",
    "H200": "H200",
    "H200 SXM5": "H200",
    "HGX B300": "B300",
    "HGX H100": "H100",
    "HGX H200": "H200",
    "L40S": "L40S",
    "MI300X": "MI300X",
    "Quadro RTX 6000": "RTX6000",
    "RTX 4090": "RTX4090",
    "RTX 6000 Ada": "RTX6000-Ada",
    "RTX A6000": "RTXA6000",
    "RTX PRO 6000": "RTXPRO6000",
    "V100": "V100",
}


def opinion_files(data: Path) -> dict[str, list[tuple[str, ...]]]:
    """Content of every opinions/*.csv by file name."""
    return {
        "aws-on-demand-2026-01.csv": [HEADER, *sorted(_aws(data / AWS_LIST))],
        "aws-azure-2026-10.csv": [HEADER, *sorted(_aws_and_azure(data / CLOUDS_LIST))],
        "gcp-all-in-2026-07.csv": [HEADER, *sorted(_gcp(data / GCP_LIST))],
        "providers-2026-05.csv": [HEADER, *sorted(_providers(data / PROVIDER_LIST))],
    }


def _aws(path: Path) -> Iterator[tuple[str, ...]]:
    for machine in json.loads(path.read_text(encoding="utf-8")):
        if not AWS_GPUS.match(machine["name"]):
            continue
        for region, prices in machine["pricing"].items():
            if prices.get("onDemand"):
                count = _plain(machine["gpuCount"])
                price = _plain(prices["onDemand"])
                source = "tsaol/aws-gpu"
                yield ("aws", region, machine["name"], "", count, price, "", "2026-01-21", source)


def _aws_and_azure(path: Path) -> Iterator[tuple[str, ...]]:
    """List prices of one region each. It names GPUs in its own way, which is not kept."""
    document = json.loads(path.read_text(encoding="utf-8"))
    for offer in document["offers"]:
        count, price = _plain(offer["gpus"]), _plain(offer["price_per_hour"])
        place = (offer["cloud"], offer["region"], offer["instance"])
        yield (*place, "", count, price, "", document["captured_at"], "chimeraforge 0.76.0")


def _gcp(path: Path) -> Iterator[tuple[str, ...]]:
    pricing = yaml.safe_load(gzip.decompress(path.read_bytes()))
    for name, machine in pricing["compute"]["instance"].items():
        found = [(accelerator, machine[key]) for key, accelerator in GCP_GPUS.items() if key in machine]
        if not found:
            continue
        accelerator, count = found[0]
        if count != int(count):
            continue
        for region, cost in machine["cost"].items():
            spot = _plain(cost["hour_spot"]) if cost.get("hour_spot") else ""
            price = _plain(cost["hour"])
            source = "Cyclenerd/google-cloud-pricing-cost-calculator"
            yield ("gcp", region, name, accelerator, _plain(count), price, spot, "2026-07-30", source)


def _providers(path: Path) -> Iterator[tuple[str, ...]]:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for offer in json.loads(path.read_text(encoding="utf-8")):
        cloud = PROVIDERS.get(offer["provider_id"])
        tier = PROVIDER_TIERS.get(offer["tier"])
        accelerator = _provider_gpu(offer)
        notes = " ".join(offer.get("caveats") or []) + (offer.get("notes") or "")
        if cloud and tier and accelerator and "estimated" not in notes and "approximate" not in notes:
            entry = found.setdefault((cloud, accelerator), {"date": offer["collected_at"]})
            entry[tier] = offer["price_usd_hour"]
    for (cloud, accelerator), entry in found.items():
        price, spot = entry.get("price"), entry.get("spot")
        if price is None or (spot is not None and spot > price):
            # A spot price above the list's own on-demand price (RunPod) says nothing about anyone else's.
            spot = None
        if price is not None or spot is not None:
            texts = ("" if price is None else _plain(price), "" if spot is None else _plain(spot))
            yield (cloud, "", "", accelerator, "1", *texts, entry["date"], "tardellirs/gpu-pricing")


def _provider_gpu(offer: dict[str, Any]) -> str | None:
    name = re.sub(r"^(NVIDIA|AMD|Tesla) ", "", offer["gpu_model"])
    return PROVIDER_GPUS.get(f"{name} {offer['vram_gb']}") or PROVIDER_GPUS.get(name)


def _plain(value: float) -> str:
    return f"{round(value, 6):.6f}".rstrip("0").rstrip(".")
