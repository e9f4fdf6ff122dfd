"""The sizes of a model that decide its memory and its work; model_config.py reads them from `config.json`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_TOLERANCE: Final = 0.2
"""Names round: Qwen2.5-7B has 7.6 billion parameters, Gemma-7b 8.5."""

_TOLERANCE_B: Final = 0.7
"""Billions on top: embeddings, which some names leave out, weigh most in small models."""

_EXPERTS_OF: Final = re.compile(r"(?<![a-z0-9.])(\d{1,3})x(\d+(?:\.\d+)?)b(?![a-z0-9])")
_ACTIVE_OF: Final = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b-\d+e(?![a-z0-9])")
_ACTIVE: Final = re.compile(r"(?<![a-z0-9.])a(\d+(?:\.\d+)?)b(?![a-z0-9])")
_TOTAL: Final = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)(b|m)(?![a-z0-9])")

BYTES_PER_WEIGHT: Final[Mapping[str, float]] = MappingProxyType(
    {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625, "int4": 0.5156}
)
"""With scales: one byte per 16 weights of 4 bits (NVFP4), two per 128 (INT4). Embeddings and head stay in 16 bits."""

_KV_BYTES: Final = 2.0
"""Per element of the KV cache: 16 bits, the default of the engines."""

_USUAL_REQUEST_TOKENS: Final = 1024
"""The request whose cache is averaged over its tokens where one figure a token is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLayers:
    """Layers of one kind that keep keys and values: `elements` for a token and layer.

    They are divided over at most `shards` GPUs: the heads of the keys, or 1 for a latent cache, which every GPU holds.
    Of a request at most `kept_tokens` are kept, and at most `read_tokens` are read in a decode step; None: all.
    `query_elements` is heads times the size of a query: 0 where attention is not computed over this cache.
    """

    layers: int
    elements: float
    shards: int
    query_elements: int
    kept_tokens: int | None = None
    read_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """A decoder. Dense models have `experts` 0.

    `layers` counts a mixer (attention, or what stands in its place) and a feed-forward part as one.
    `mixer_weights` and `dense_weights` (feed-forward parts, shared experts, latent projections) are what every token
    passes, in all layers; `expert_weights` is one routed expert in all layers. `unread_weights` lie in memory in
    16 bits, and a decode step does not read them: encoders of images, embeddings of each layer. `state_bytes` is what
    recurrent layers keep of a request, whatever its length.
    """

    model: str
    layers: int
    hidden: int
    heads: int
    vocabulary: int
    caches: tuple[CacheLayers, ...]
    mixer_weights: int
    dense_weights: int
    experts: int = 0
    experts_per_token: int = 0
    expert_weights: int = 0
    unread_weights: int = 0
    state_bytes: float = 0.0
    tied_embeddings: bool = False

    @property
    def always_read_weights(self) -> int:
        """Weights of the layers that every token passes."""
        return self.mixer_weights + self.dense_weights

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
        return self.layer_weights + self.head_weights * (1 if self.tied_embeddings else 2) + self.unread_weights

    @property
    def active_parameters(self) -> int:
        """Weights that one token passes, the output head included."""
        return self.active_weights + self.head_weights

    def read_weights(self, running: float) -> float:
        """Weights of the layers that one decode step of `running` tokens reads.

        An expert is read when at least one token is routed to it: of E experts with k per token and even routing
        E·(1 − (1 − k/E)^N) are.
        """
        if not self.experts:
            return float(self.always_read_weights)
        chosen = self.experts * (1.0 - math.pow(1.0 - self.experts_per_token / self.experts, running))
        return self.always_read_weights + chosen * self.expert_weights

    def adapter_bytes(self, rank: int) -> float:
        """Of a LoRA adapter of 16 bits on the four matrices of attention and the three of a dense feed-forward part.

        rank · Σ (inputs + outputs), one of the two being `hidden`. Those of routed experts are not counted.
        """
        rows = (4 + 3) * self.layers * self.hidden + (self.mixer_weights + self.dense_weights) / self.hidden
        return 2.0 * rank * rows

    def weight_bytes(self, dtype: str) -> float:
        """Bytes of all weights at a precision."""
        others = self.parameters - self.layer_weights
        return self.layer_weights * BYTES_PER_WEIGHT[dtype] + others * 2.0

    def kv_gpu_bytes_per_token(self, tensor_parallel: int) -> float:
        """Bytes of cache a token of a request of 1,024 tokens, on each of `tensor_parallel` GPUs."""
        return self.kept_bytes(_USUAL_REQUEST_TOKENS, tensor_parallel) / _USUAL_REQUEST_TOKENS

    def kept_bytes(self, tokens: float, tensor_parallel: int) -> float:
        """Bytes that each GPU keeps of a request of `tokens`: keys and values in 16 bits, and recurrent state."""
        kept = sum(
            cache.layers * cache.elements * _up_to(tokens, cache.kept_tokens) / min(tensor_parallel, cache.shards)
            for cache in self.caches
        )
        return kept * _KV_BYTES + self.state_bytes / tensor_parallel

    def read_cache_bytes(self, tokens: float, tensor_parallel: int) -> float:
        """Bytes of cache and state that each GPU moves for one token of a request with `tokens` before it."""
        read = sum(
            cache.layers * cache.elements * _up_to(tokens, cache.read_tokens) / min(tensor_parallel, cache.shards)
            for cache in self.caches
        )
        return read * _KV_BYTES + 2.0 * self.state_bytes / tensor_parallel

    def attention_flop(self, input_tokens: float) -> float:
        """Causal attention of one whole prompt: 4 FLOP for each element of a query and each token that it reads."""
        return sum(
            4.0 * cache.layers * cache.query_elements * _pairs(input_tokens, cache.read_tokens) for cache in self.caches
        )


def contradiction(shape: ModelShape, model: str) -> str | None:
    """Why sizes cannot be those of a model of this name; None when they can, or the name states none."""
    name = re.sub(r"[_/]", "-", model.lower())
    total, active = shape.parameters / 1e9, shape.active_parameters / 1e9
    for pattern in (_EXPERTS_OF, _ACTIVE_OF):
        found = pattern.search(name)
        if found is None:
            continue
        if pattern is _ACTIVE_OF:
            return _apart("active ", active, [float(found[1])])
        whole = int(found[1]) * float(found[2])
        # Attention is not multiplied: Mixtral-8x7B has 46.7 billion.
        return None if 0.6 * whole <= total <= 1.1 * whole else _sentence("", total, found[0].upper())
    active_stated = _ACTIVE.search(name)
    stated = [float(match[1]) / (1 if match[2] == "b" else 1000) for match in _TOTAL.finditer(_ACTIVE.sub("", name))]
    fault = _apart("", total, stated) if stated else None
    if fault is None and active_stated is not None:
        fault = _apart("active ", active, [float(active_stated[1])])
    return fault


def _up_to(tokens: float, limit: int | None) -> float:
    return tokens if limit is None else min(tokens, limit)


def _pairs(tokens: float, window: int | None) -> float:
    """Σ over the tokens of a prompt of those that each attends to."""
    if window is None or tokens <= window:
        return tokens**2 / 2
    return window * tokens - window**2 / 2


def _apart(what: str, found: float, stated: list[float]) -> str | None:
    if any(abs(found - one) <= _TOLERANCE * one + _TOLERANCE_B for one in stated):
        return None
    return _sentence(what, found, " or ".join(f"{one:g}B" for one in stated))


def _sentence(what: str, found: float, stated: str) -> str:
    return (
        f"the sizes add up to {found:.1f} billion {what}parameters, but the name says {stated}, which is more than "
        f"{_TOLERANCE:.0%} and {_TOLERANCE_B:g} billion apart"
    )
