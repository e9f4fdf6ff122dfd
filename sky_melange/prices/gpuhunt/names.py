"""gpuhunt's providers and GPUs in SkyPilot's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CLOUDS: Final[Mapping[str, str]] = {
    "aws": "aws",
    "azure": "azure",
    "gcp": "gcp",
    "lambdalabs": "lambda",
    "nebius": "nebius",
    "oci": "oci",
    "runpod": "runpod",
    "verda": "verda",
}
"""Provider -> cloud. Those whose prices need credentials or a query each (vastai, digitalocean …) are not asked."""

_BY_NAME_AND_GB: Final[Mapping[tuple[str, int], str]] = {
    ("A100", 80): "A100-80GB",
    ("V100", 32): "V100-32GB",
}

_BY_NAME: Final[Mapping[str, str]] = {
    "A4000": "RTXA4000",
    "A4500": "RTXA4500",
    "A5000": "RTXA5000",
    "A6000": "RTXA6000",
    "H100NVL": "H100-NVL",
    "H200NVL": "H200-NVL",
    "RTX3060Ti": "RTX3060-Ti",
    "RTX4000Ada": "RTX4000-Ada",
    "RTX4060Ti": "RTX4060-Ti",
    "RTX4070TiSUPER": "RTX4070-Ti-Super",
    "RTX6000Ada": "RTX6000-Ada",
}

ZONES_IN: Final[frozenset[str]] = frozenset({"gcp"})
"""Clouds whose locations are zones (`us-central1-a`) of the region before the last hyphen."""


def accelerator_of(name: str, memory_gb: float) -> str:
    """SkyPilot's name of a GPU, as its catalogs write it. Names that are the same in both pass through."""
    return _BY_NAME_AND_GB.get((name, round(memory_gb))) or _BY_NAME.get(name, name)


def region_and_zone(cloud: str, location: str) -> tuple[str, str]:
    """The region, and the zone or ""."""
    return (location.rpartition("-")[0], location) if cloud in ZONES_IN else (location, "")
