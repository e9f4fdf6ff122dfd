"""The sizes of a model that decide its memory and its work, from its public configuration."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final

from sky_melange.resources import data_path

BYTES_PER_WEIGHT: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625, "int4": 0.5156}
)
"""With scales: one byte per 16 weights of 4 bits (NVFP4), two per 128 (INT4). Embeddings and head stay in 16 bits."""

_KV_BYTES: Final = 2.0
"""Per element of the KV cache: 16 bits, the default of the engines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A decoder. Dense models have `experts` 0. `kv_lora_rank` > 0 means multi-head latent attention (DeepSeek).

    `dense_layers` counts the layers without experts in a mixture; `attention_layers` those that keep a KV cache.
    `shared_intermediate` is the width of the expert that every token passes.
    """

    model: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    attention_layers: int
    dense_layers: int = 0
    experts: int = 0
    experts_per_token: int = 0
    expert_intermediate: int = 0
    shared_intermediate: int = 0
    kv_lora_rank: int = 0
    q_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    v_head_dim: int = 0
    tied_embeddings: bool = False

    @property
    def attention_weights(self) -> int:
        """Weights of attention in all layers (layers without a KV cache are taken to cost the same)."""
        if self.kv_lora_rank:
            query = self.heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
            rank = self.q_lora_rank
            queries = self.hidden * rank + rank * query if rank else self.hidden * query
            keys = self.hidden * (self.kv_lora_rank + self.qk_rope_head_dim)
            keys += self.kv_lora_rank * self.heads * (self.qk_nope_head_dim + self.v_head_dim)
            return self.layers * (queries + keys + self.heads * self.v_head_dim * self.hidden)
        return self.layers * 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)

    @property
    def expert_layers(self) -> int:
        """Layers with experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def always_read_weights(self) -> int:
        """Weights of the layers that every token passes: attention, dense layers, shared expert."""
        dense = (self.layers - self.expert_layers) * 3 * self.hidden * self.intermediate
        shared = self.expert_layers * 3 * self.hidden * self.shared_intermediate
        return self.attention_weights + dense + shared

    @property
    def expert_weights(self) -> int:
        """Weights of one expert, in all layers with experts."""
        return self.expert_layers * 3 * self.hidden * self.expert_intermediate

    @property
    def active_weights(self) -> int:
        """Weights of the layers that one token is multiplied with."""
        return self.always_read_weights + self.experts_per_token * self.expert_weights

    @property
    def layer_weights(self) -> int:
        """All weights of the layers."""
        return self.always_read_weights + self.experts * self.expert_weights

    @property
    def head_weights(self) -> int:
        """Weights of the output head."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights, with embeddings."""
        return self.layer_weights + self.head_weights * (1 if self.tied_embeddings else 2)

    def read_weights(self, running: float) -> float:
        """Weights of the layers that one decode step of `running` tokens reads.

        An expert is read when at least one token is routed to it: of E experts with k per token and even routing
        E·(1 − (1 − k/E)^N) are.
        """
        if not self.experts:
            return float(self.always_read_weights)
        chosen = self.experts * (1.0 - math.pow(1.0 - self.experts_per_token / self.experts, running))
        return self.always_read_weights + chosen * self.expert_weights

    def weight_bytes(self, dtype: str) -> float:
        """Bytes of all weights at a precision."""
        embeddings = self.parameters - self.layer_weights
        return self.layer_weights * BYTES_PER_WEIGHT[dtype] + embeddings * 2.0

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of KV cache of one token, in 16 bits, before it is divided over GPUs."""
        if self.kv_lora_rank:
            return self.attention_layers * (self.kv_lora_rank + self.qk_rope_head_dim) * _KV_BYTES
        return self.attention_layers * 2 * self.kv_heads * self.head_dim * _KV_BYTES

    def kv_shards(self, tensor_parallel: int) -> int:
        """Over how many GPUs the KV cache of one token is divided; the latent cache is on each of them."""
        return 1 if self.kv_lora_rank else min(tensor_parallel, self.kv_heads)


@cache
def known_models() -> Mapping[str, ModelShape]:
    """catalogs/models.csv by model id."""
    with data_path("catalogs", "models.csv").open(newline="", encoding="utf-8") as stream:
        shapes = [_shape(row) for row in csv.DictReader(stream)]
    return MappingProxyType({shape.model: shape for shape in shapes})


def _shape(row: Mapping[str, str]) -> ModelShape:
    numbers = {
        name: int(text) for name, text in row.items() if name not in ("model", "tied_embeddings", "source") and text
    }
    return ModelShape(model=row["model"], tied_embeddings=row["tied_embeddings"] == "yes", **numbers)
