"""Reads gpus.csv, the datasheet constants that GPU memory is taken from (never from a catalog's GpuInfo)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from sky_melange.resources import shipped_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One row of gpus.csv. None where the datasheet does not say; FLOP/s are dense (no sparsity)."""

    accelerator: str
    memory_gib: float
    memory_bandwidth_bytes_per_s: float | None
    bf16_flop_per_s: float | None
    fp8_flop_per_s: float | None
    source: str


@cache
def load_gpus() -> Mapping[str, Gpu]:
    """The GPUs by canonical name, sorted. Raises MissingDataError when the installation lacks the file."""
    gpus = [_gpu(row) for row in shipped_rows("catalogs", "gpus.csv")]
    return MappingProxyType({gpu.accelerator: gpu for gpu in sorted(gpus, key=lambda gpu: gpu.accelerator)})


def known_accelerators() -> tuple[str, ...]:
    """Canonical names of all GPUs in gpus.csv, sorted."""
    return tuple(load_gpus())


def _gpu(row: Mapping[str, str]) -> Gpu:
    return Gpu(
        accelerator=row["accelerator"],
        memory_gib=float(row["memory_gib"]),
        memory_bandwidth_bytes_per_s=_optional(row["memory_bandwidth_bytes_per_s"]),
        bf16_flop_per_s=_optional(row["bf16_flop_per_s"]),
        fp8_flop_per_s=_optional(row["fp8_flop_per_s"]),
        source=row["source"],
    )


def _optional(text: str) -> float | None:
    return float(text) if text else None
