"""How many tokens of KV cache a replica holds, from datasheet and configuration."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.units import BYTES_PER_GIB
from sky_melange.profiles.model_shape import ModelShape

GPU_MEMORY_SHARE: Final = 0.9
"""Share of the GPU that the engine takes (vLLM's `--gpu-memory-utilization` default)."""

_MARGIN_SHARE: Final = 0.02
"""Of the engine's share, left free for block rounding."""

_RESERVE_BYTES: Final = 5e9
"""Per GPU, for activations of 8192 prompt tokens and for CUDA graphs: 4.5 to 5.2 GB in the `points` profiles."""

_RESERVE_SCALES_BELOW_BYTES: Final = 40 * BYTES_PER_GIB
"""On smaller GPUs the reserve is taken in proportion. This is an assumption: no profile of one tells."""


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
