"""The work of one engine step, each part as the seconds that it would take at the datasheet's peak.

A latency is Σ coefficient · term; a coefficient is 1 ÷ the efficiency of that part, fitted by
scripts/calibrate_roofline.py and never negative, so that a faster machine is never estimated slower.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from sky_melange.profiles.gpu_compute import GpuCompute
from sky_melange.profiles.model_shape import BYTES_PER_WEIGHT, ModelShape

TPOT_TERMS: Final = (
    "layers",
    "weights",
    "kv_cache",
    "compute",
    "link",
    "activations",
    "prefill_compute",
    "prefill_link",
    "prefill_activations",
    "prefill_attention",
    "expert_layers",
)
TTFT_TERMS: Final = ("layers", "weights", "prompt_compute", "prompt_attention", "prompt_link", "queue")

_ACTIVATION_BYTES: Final = 20.0
"""Per layer, token and hidden element: ten reads or writes of 16 bits (residual, norms, gates), on every GPU."""
_LAYER_S: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A model on `tensor_parallel` machines at a precision, with the peak that its products run at."""

    shape: ModelShape
    machine: GpuCompute
    tensor_parallel: int
    dtype: str
    flop_per_s: float

    @property
    def _gpu_bytes_per_s(self) -> float:
        return self.tensor_parallel * self.machine.memory_bytes_per_s

    def weights_s(self, running: float) -> float:
        """Reading the weights that one step of `running` tokens needs."""
        layers = self.shape.read_weights(running) * BYTES_PER_WEIGHT[self.dtype]
        return (layers + self.shape.head_weights * 2.0) / self._gpu_bytes_per_s

    def kv_cache_s(self, running: float, tokens: float) -> float:
        """Reading the cache of `running` requests with `tokens` tokens each, and moving their recurrent state."""
        return running * self.shape.read_cache_bytes(tokens, self.tensor_parallel) / self.machine.memory_bytes_per_s

    def compute_s(self, tokens: float) -> float:
        """Matrix products of the layers for `tokens` tokens: 2 FLOP a weight."""
        return 2.0 * self.shape.active_weights * tokens / (self.tensor_parallel * self.flop_per_s)

    def head_s(self, tokens: float) -> float:
        """Products of the output head, in 16 bits."""
        return 2.0 * self.shape.head_weights * tokens / (self.tensor_parallel * self.machine.fp16_flop_per_s)

    def link_s(self, tokens: float) -> float:
        """Two all-reduces a layer of the hidden state in 16 bits: a ring moves 2·(t−1)/t of it over each link."""
        t = self.tensor_parallel
        moved = self.shape.layers * 2 * self.shape.hidden * 2.0 * (t - 1) / t
        return tokens * moved / self.machine.link_bytes_per_s

    def activations_s(self, tokens: float) -> float:
        """Reading and writing activations."""
        moved = self.shape.layers * self.shape.hidden * _ACTIVATION_BYTES
        return tokens * moved / self.machine.memory_bytes_per_s

    def attention_s(self, input_tokens: float) -> float:
        """Causal attention of one whole prompt, in 16 bits."""
        return self.shape.attention_flop(input_tokens) / (self.tensor_parallel * self.machine.fp16_flop_per_s)

    def tpot_terms(self, running: float, input_tokens: float, output_tokens: float) -> tuple[float, ...]:
        """Seconds by TPOT_TERMS of one step with `running` requests of this size under continuous batching.

        A request that runs alone decodes after its own prompt, and meets no other's.
        """
        arriving = running * input_tokens / output_tokens if running > 1 else 0.0
        return (
            self.shape.layers * _LAYER_S,
            self.weights_s(running),
            self.kv_cache_s(running, input_tokens + output_tokens / 2),
            self.compute_s(running) + self.head_s(running),
            self.link_s(running),
            self.activations_s(running),
            self.compute_s(arriving),
            self.link_s(arriving),
            self.activations_s(arriving),
            self.attention_s(input_tokens) * arriving / input_tokens,
            self.shape.layers * _LAYER_S if self.shape.experts else 0.0,
        )

    def ttft_terms(self, running: float, input_tokens: float) -> tuple[float, ...]:
        """Seconds by TTFT_TERMS of the prefill of one prompt with `running` requests in the replica."""
        compute = self.compute_s(input_tokens)
        return (
            self.shape.layers * _LAYER_S,
            self.weights_s(input_tokens),
            compute,
            self.attention_s(input_tokens),
            self.link_s(input_tokens),
            compute * math.sqrt(running),
        )
