"""Datasheet constants of accelerators."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One row of gpus.csv. None where the datasheet does not say; FLOP/s are dense (no sparsity)."""

    accelerator: str
    memory_gib: float
    memory_bandwidth_bytes_per_s: float | None
    bf16_flop_per_s: float | None
    fp8_flop_per_s: float | None
    source: str
