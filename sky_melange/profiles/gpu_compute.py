"""What an accelerator computes with: datasheet peaks by precision, memory, links, and what it does not support."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from sky_melange.domain.engine import ENGINES, has_kernels
from sky_melange.domain.units import BYTES_PER_GIB
from sky_melange.profiles.model_shape import ModelShape
from sky_melange.resources import data_path

GPU_MEMORY_SHARE: Final = 0.9
"""Share of the GPU that the engine takes (vLLM's `--gpu-memory-utilization` default)."""

_MARGIN_SHARE: Final = 0.02
"""Of the engine's share, left free for block rounding."""

_RESERVE_BYTES: Final = 5e9
"""Per GPU, for activations of 8192 prompt tokens and for CUDA graphs: 4.5 to 5.2 GB in the `points` profiles."""

_RESERVE_SCALES_BELOW_BYTES: Final = 40 * BYTES_PER_GIB
"""On smaller GPUs the reserve is taken in proportion. This is an assumption: no profile of one tells."""

_SIXTEEN_BIT: Final = ("bfloat16", "float16")
_WEIGHT_ONLY: Final = ("fp8", "fp4", "int4")
"""Precisions that GPUs from Ampere on run without tensor cores for them: weights are unpacked to 16 bits first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCompute:
    """One accelerator; FLOP/s are dense. `fast_link`: NVLink or Infinity Fabric rather than PCIe.

    `generation`: its maker's (`ada`, `cdna3`). `memory`: `hbm` or `gddr`.
    """

    accelerator: str
    memory_bytes: float
    memory_bytes_per_s: float
    fp16_flop_per_s: float
    fp8_flop_per_s: float | None
    fp4_flop_per_s: float | None
    link_bytes_per_s: float
    fast_link: bool
    bfloat16: bool
    generation: str
    memory: str

    def flop_per_s(self, dtype: str) -> float | None:
        """Peak of the matrix products at a precision of the weights; None where the engine cannot run it."""
        if dtype == "bfloat16" and not self.bfloat16:
            return None
        if dtype in _SIXTEEN_BIT:
            return self.fp16_flop_per_s
        if dtype == "fp8" and self.fp8_flop_per_s is not None:
            return self.fp8_flop_per_s
        if dtype == "fp4" and self.fp4_flop_per_s is not None:
            return self.fp4_flop_per_s
        # Volta and Turing, which lack bfloat16, lack the kernels that unpack weights as well.
        return self.fp16_flop_per_s if dtype in _WEIGHT_ONLY and self.bfloat16 else None


def without_kernels(accelerator: str, engines: Iterable[str]) -> str | None:
    """Why no engine can be launched on an accelerator; None where one can, or nothing is known of it."""
    machine = machines().get(accelerator)
    if machine is None or any(has_kernels(engine, machine.generation) for engine in engines):
        return None
    titles = " and ".join(f"{ENGINES[engine].title} {ENGINES[engine].version}" for engine in engines)
    return f"the wheels of {titles} hold no kernels for {accelerator} ({machine.generation})"


@cache
def machines() -> Mapping[str, GpuCompute]:
    """Accelerators that gpus.csv and gpu_compute.csv say enough about, by canonical name."""
    sheets = {row["accelerator"]: row for row in _rows(data_path("catalogs", "gpus.csv"))}
    found = {}
    for row in _rows(data_path("catalogs", "gpu_compute.csv")):
        sheet = sheets[row["accelerator"]]
        found[row["accelerator"]] = GpuCompute(
            accelerator=row["accelerator"],
            memory_bytes=float(sheet["memory_gib"]) * BYTES_PER_GIB,
            memory_bytes_per_s=float(sheet["memory_bandwidth_bytes_per_s"]),
            fp16_flop_per_s=float(row["fp16_flop_per_s"]),
            fp8_flop_per_s=_optional(sheet["fp8_flop_per_s"]),
            fp4_flop_per_s=_optional(row["fp4_flop_per_s"]),
            link_bytes_per_s=float(row["link_bytes_per_s"]),
            fast_link=row["link"] != "pcie",
            bfloat16=row["bfloat16"] == "yes",
            generation=row["generation"],
            memory=row["memory"],
        )
    return MappingProxyType(found)


def kv_cache_tokens(shape: ModelShape, *, memory_bytes: float, tensor_parallel: int, dtype: str) -> int:
    """Tokens of KV cache that a replica holds on `tensor_parallel` GPUs of `memory_bytes`; 0 if the model is too large.

    Where layers keep a window or a state, a token is one of a request of 1,024.
    """
    free = kv_cache_bytes(shape, memory_bytes=memory_bytes, tensor_parallel=tensor_parallel, dtype=dtype)
    return max(0, int(free / shape.kv_gpu_bytes_per_token(tensor_parallel)))


def kv_cache_bytes(shape: ModelShape, *, memory_bytes: float, tensor_parallel: int, dtype: str) -> float:
    """Bytes that each GPU has left for the cache; negative if the model is too large. Weights are divided evenly."""
    share = memory_bytes * GPU_MEMORY_SHARE
    reserve = _RESERVE_BYTES * min(1.0, memory_bytes / _RESERVE_SCALES_BELOW_BYTES)
    return share * (1 - _MARGIN_SHARE) - shape.weight_bytes(dtype) / tensor_parallel - reserve


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _optional(text: str) -> float | None:
    return float(text) if text else None
