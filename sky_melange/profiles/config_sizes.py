"""The sizes of a model from the keys of its config.json: what the layers of each family of models are.

A family is a `model_type`. What its layers share with a Llama's is read by the same rule; what they do not is here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sky_melange.profiles.config_keys import ConfigKeys
from sky_melange.profiles.model_shape import CacheLayers, ModelShape

_STATE_BYTES: Final = 4.0
"""Per element of recurrent state: 32 bits, the engines' default for most of these families and the largest."""

_INDEX_KEY_ELEMENTS: Final = 0.5
"""Keys of DeepSeek's sparse index are kept in 8 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How layers of a model_type differ from a Llama's.

    `global_every`: layer n is of full attention when n divides by it, and of a sliding window otherwise.
    `windowed`: `sliding_window` holds in all layers. `matrices` of a feed-forward part: 3 with a gate, 2 without.
    """

    global_every: int = 0
    windowed: bool = False
    matrices: int = 3
    tied: bool = False
    linear_every: int = 0
    defaults: Mapping[str, object] = field(default_factory=dict)


_GEMMA3: Final = {"vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
_GEMMA3N: Final = {
    "vocab_size": 262_400,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "hidden_size": 2048,
    "num_hidden_layers": 35,
    "intermediate_size": 16_384,
    "sliding_window": 512,
    "vocab_size_per_layer_input": 262_144,
    "hidden_size_per_layer_input": 256,
    "num_kv_shared_layers": 15,
    "laurel_rank": 64,
}
_PLAIN: Final = Family()
_TIED: Final = Family(tied=True)
_WINDOWED: Final = Family(windowed=True)
_UNGATED: Final = Family(matrices=2)
_DELTA: Final = Family(linear_every=4)

FAMILIES: Final[Mapping[str, Family]] = {
    **dict.fromkeys(
        (
            "llama", "qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text", "qwen3", "qwen3_vl_text",
            "granite", "olmo", "olmo2", "exaone", "seed_oss", "internlm2", "internlm3", "glm", "glm4", "glm4v_text",
            "minicpm", "stablelm", "mimo", "hunyuan_v1_dense", "ernie4_5", "qwen2_moe", "qwen3_moe",
            "qwen3_vl_moe_text", "olmoe", "granitemoe", "granitemoeshared", "granitemoehybrid", "glm4_moe",
            "glm4v_moe_text", "glm4_moe_lite", "glm_moe_dsa",
            "deepseek_v2", "deepseek_v3", "deepseek_v32", "kimi_k2", "minimax_m2", "nemotron-nas",
            "ernie4_5_moe", "phimoe", "dots1", "lfm2", "lfm2_moe", "mimo_v2_flash", "falcon_h1", "llama4_text",
        ),
        _PLAIN,
    ),
    **dict.fromkeys(("mistral", "ministral3", "mixtral", "phi3"), _WINDOWED),
    **dict.fromkeys(("smollm3", "cohere"), _TIED),
    **dict.fromkeys(("nemotron", "apertus", "arcee", "phi", "nemotron_h"), _UNGATED),
    **dict.fromkeys(("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text"), _DELTA),
    "falcon": Family(matrices=2, tied=True),
    "starcoder2": Family(matrices=2, tied=True, windowed=True),
    "gemma": Family(tied=True, defaults={"head_dim": 256}),
    "gemma2": Family(tied=True, global_every=2, defaults={"head_dim": 256}),
    "gemma3_text": Family(tied=True, global_every=6, defaults=_GEMMA3),
    "gemma3n_text": Family(tied=True, global_every=5, defaults=_GEMMA3N),
    "gemma4_text": Family(tied=True, global_every=6),
    "cohere2": Family(tied=True, global_every=4),
    "olmo3": Family(global_every=4),
    "gpt_oss": Family(global_every=2),
    "exaone4": Family(),
}  # fmt: skip

_MIXERS: Final = {
    "full_attention": "full", "attention": "full", "sliding_attention": "sliding", "chunked_attention": "chunked",
    "linear_attention": "linear", "mamba": "mamba", "conv": "conv",
    "deepseek_sparse_attention": "full",
}  # fmt: skip
_NEMOTRON_H: Final = {
    "M": ("mamba", "none"), "*": ("full", "none"), "-": ("none", "dense"), "E": ("none", "experts"),
    "mamba": ("mamba", "none"), "attention": ("full", "none"), "mlp": ("none", "dense"), "moe": ("none", "experts"),
}  # fmt: skip


class Sizes:
    """The sizes of one config, of which `keys` notes the mistakes."""

    def __init__(self, keys: ConfigKeys, top: ConfigKeys, kind: str, family: Family, is_nested: bool) -> None:
        self._keys, self._top, self._kind, self._family, self._is_nested = keys, top, kind, family, is_nested
        self._hidden = keys.size("hidden_size")
        self._blocks: Sequence[object] = ()
        if kind == "nemotron-nas":
            found = keys.get("block_configs")
            self._blocks = found if isinstance(found, list) else ()
            if not self._blocks:
                keys.mistake("block_configs", "is missing; it must list the blocks of the model")
        self._heads = keys.size("num_attention_heads", most=65_536)
        pattern = self._pattern()
        self._layers = len(pattern) if pattern else keys.layers("num_hidden_layers", "num_layers")
        stated = keys.count("num_hidden_layers", "num_layers")
        if pattern and stated is not None and stated != len(pattern):
            keys.mistake("num_hidden_layers", f"is {stated}, but {len(pattern)} layers are listed")
        self._kinds = pattern or list(zip(self._mixers(), self._feeds(), strict=True))

    def shape(self, model: str) -> ModelShape:
        """All of it; nonsense where `keys` has mistakes."""
        keys, family = self._keys, self._family
        vocabulary = keys.size("vocab_size")
        outer = self._top.get("tie_word_embeddings") if self._is_nested else None
        stated = keys.flag("tie_word_embeddings") if keys.get("tie_word_embeddings") is not None else family.tied
        tied = outer if isinstance(outer, bool) else stated
        mixers = Counter(mixer for mixer, _ in self._kinds)
        feeds = Counter(feed for _, feed in self._kinds)
        caches, mixer_weights, state = self._attention(mixers)
        recurrent_weights, recurrent_state = self._recurrent(mixers)
        dense, experts, per_token, expert = self._feed_forward(feeds)
        extra, unread = self._per_layer_embeddings()
        return ModelShape(
            model=model,
            layers=-(-(len(self._kinds) * 2 - mixers["none"] - feeds["none"]) // 2),
            hidden=self._hidden,
            heads=self._heads,
            vocabulary=vocabulary,
            caches=caches,
            mixer_weights=mixer_weights + recurrent_weights,
            dense_weights=dense + extra,
            experts=experts,
            experts_per_token=per_token,
            expert_weights=expert,
            unread_weights=unread + self._encoder(),
            state_bytes=state + recurrent_state,
            tied_embeddings=tied,
        )

    def _pattern(self) -> list[tuple[str, str]]:
        """Layers that are listed with one part each."""
        if self._kind != "nemotron_h":
            return []
        text = self._keys.get("hybrid_override_pattern")
        listed = list(text) if isinstance(text, str) else self._keys.words("layers_block_type")
        if not listed:
            self._keys.mistake("hybrid_override_pattern", "is missing; it must list the layers, as M, *, - and E")
            return []
        unknown = sorted({str(name) for name in listed} - set(_NEMOTRON_H))
        if unknown:
            self._keys.mistake(
                "hybrid_override_pattern", f"lists layers that are not understood: {', '.join(unknown)[:80]}"
            )
            return []
        return [_NEMOTRON_H[name] for name in listed]

    def _mixers(self) -> list[str]:
        keys, layers = self._keys, self._layers
        if self._blocks:
            return ["full"] * layers
        if self._kind in ("lfm2", "lfm2_moe"):
            full = keys.numbers("full_attn_idxs")
            if full is not None and keys.get("layer_types") is None:
                return ["full" if index in full else "conv" for index in range(layers)]
        if self._kind == "falcon_h1":
            return ["full"] * layers
        if self._kind == "mimo_v2_flash" and keys.get("hybrid_layer_pattern") is not None:
            listed = keys.numbers("hybrid_layer_pattern", layers)
            return ["full" if item == 0 else "sliding" for item in listed or [0] * layers]
        words = keys.words("layer_types", layers)
        if words is not None:
            unknown = sorted(set(words) - set(_MIXERS))
            if unknown:
                keys.mistake("layer_types", f"lists layers that are not understood: {', '.join(unknown)[:80]}")
            # The interval says the same again.
            keys.get("full_attention_interval"), keys.get("sliding_window_pattern")
            found = [_MIXERS.get(word, "full") for word in words]
            return ["mamba" if self._kind == "granitemoehybrid" and item == "linear" else item for item in found]
        return self._implied_mixers()

    def _implied_mixers(self) -> list[str]:  # noqa: PLR0911 - one for each rule
        """Layers that a rule of the family tells apart."""
        keys, family, layers = self._keys, self._family, self._layers
        if family.linear_every:
            every = keys.count("full_attention_interval", least=1) or family.linear_every
            return ["full" if (index + 1) % every == 0 else "linear" for index in range(layers)]
        if self._kind == "llama4_text":
            every = keys.count("no_rope_layer_interval", least=1) or 4
            listed = keys.numbers("no_rope_layers") or [int((index + 1) % every != 0) for index in range(layers)]
            if len(listed) != layers:
                keys.mistake("no_rope_layers", f"lists {len(listed)} layers, but the model has {layers}")
            return ["chunked" if item else "full" for item in (listed + [0] * layers)[:layers]]
        if self._kind in ("granitemoehybrid", "lfm2", "lfm2_moe"):
            keys.mistake("layer_types", "is missing; it must list the layers")
        pattern = keys.get("sliding_window_pattern")
        window = keys.get("sliding_window")
        if self._kind == "exaone4" and isinstance(pattern, str) and pattern and set(pattern) <= {"L", "G"} and window:
            whole = [pattern[index % len(pattern)] == "G" for index in range(layers)]
            return ["full" if item else "sliding" for item in whole]
        every = family.global_every
        if isinstance(pattern, int) and not isinstance(pattern, bool) and 1 <= pattern <= layers:
            every = pattern
        elif pattern is not None:
            keys.mistake("sliding_window_pattern", "is not understood; want a whole number between 1 and the layers")
        if every and window is not None:
            return ["full" if (index + 1) % every == 0 else "sliding" for index in range(layers)]
        if family.windowed and window is not None:
            return ["sliding"] * layers
        if keys.flag("use_sliding_window") and window is not None:
            first = keys.count("max_window_layers") or 0
            return ["full" if index < first else "sliding" for index in range(layers)]
        return ["full"] * layers

    def _feeds(self) -> list[str]:
        keys, layers = self._keys, self._layers
        if self._blocks:
            return ["none"] * layers
        if not self._experts():
            return ["dense"] * layers
        words = keys.words("mlp_layer_types", layers)
        if words is not None:
            keys.get("first_k_dense_replace"), keys.get("moe_layer_freq")
            return ["experts" if word == "sparse" else "dense" for word in words]
        first = keys.count("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index") or 0
        if first > layers:
            keys.mistake("first_k_dense_replace", f"is {first}, which is more than num_hidden_layers")
        last = keys.get("moe_layer_end_index")
        end = last if isinstance(last, int) and last >= 0 else layers - 1
        dense = set(keys.numbers("mlp_only_layers") or ())
        step = keys.count("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval", least=1) or 1
        frequency = keys.get("moe_layer_freq")
        listed = keys.numbers("moe_layer_freq", layers) if isinstance(frequency, list) else None
        every = 1 if listed is not None else keys.count("moe_layer_freq", least=1) or 1
        chosen = keys.numbers("moe_layers")

        def has_experts(index: int) -> bool:
            if listed is not None:
                return listed[index] == 1
            if chosen is not None:
                return index in chosen
            return first <= index <= end and index not in dense and (index + 1) % step == 0 and index % every == 0

        return ["experts" if has_experts(index) else "dense" for index in range(layers)]

    def _experts(self) -> int:
        names = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
        found = self._keys.count(*names, most=65_536) or 0
        if self._kind == "gemma4_text" and not self._keys.flag("enable_moe_block") and found:
            stated = self._keys.get("enable_moe_block")
            return found if stated is None else 0
        return found if found > 1 else 0

    def _attention(self, mixers: Counter[str]) -> tuple[tuple[CacheLayers, ...], int, float]:
        keys, hidden = self._keys, self._hidden
        if self._blocks:
            return (*self._nas_blocks(), 0.0)
        if keys.get("kv_lora_rank"):
            return (*self._latent(mixers["full"]), 0.0)
        kv_heads = self._kv_heads()
        head_dim = self._head_dim()
        value_dim = keys.count("v_head_dim", least=1) or head_dim
        gate = (
            1
            if keys.flag("attn_output_gate") or self._kind in ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text")
            else 0
        )
        shared = keys.count("num_kv_shared_layers") or 0
        if shared >= len(self._kinds):
            keys.mistake("num_kv_shared_layers", f"is {shared}, which leaves no layer that keeps a cache")
        caches, weights = [], 0
        for mixer in ("full", "sliding", "chunked"):
            if not mixers[mixer]:
                continue
            h, kv, dim, value = self._heads, kv_heads, head_dim, value_dim
            keyless = False
            if self._kind == "gemma4_text" and mixer == "full":
                dim = value = keys.count("global_head_dim", least=1) or 512
                keyless = keys.flag("attention_k_eq_v")
                kv = (keys.count("num_global_key_value_heads", least=1) or kv) if keyless else kv
            if self._kind == "mimo_v2_flash" and mixer == "sliding":
                h = keys.count("swa_num_attention_heads", least=1) or h
                kv = keys.count("swa_num_key_value_heads", least=1) or kv
                dim = keys.count("swa_head_dim", least=1) or dim
                value = keys.count("swa_v_head_dim", least=1) or value
            # Layers that share the cache of an earlier one have no keys and values of their own.
            kinds = [own for own, _ in self._kinds]
            sharing = kinds[len(kinds) - shared :].count(mixer) if shared else 0
            keeping = mixers[mixer] - sharing
            weights += mixers[mixer] * hidden * (h * dim * (1 + gate) + h * value)
            with_keys = mixers[mixer] if self._kind == "gemma3n_text" else keeping
            weights += with_keys * hidden * kv * (dim if keyless else dim + value)
            kept, read = self._window(mixer)
            own = CacheLayers(
                layers=keeping,
                elements=float(kv * (dim + value)),
                shards=kv,
                query_elements=h * (dim + value) // 2,
                kept_tokens=kept,
                read_tokens=read,
            )
            caches += [own] if keeping else []
            caches += [replace(own, layers=sharing, kept_tokens=0)] if sharing else []
        return tuple(caches), weights, 0.0

    def _kv_heads(self) -> int:
        keys = self._keys
        if self._kind != "falcon":
            return keys.count("num_key_value_heads", least=1, most=65_536) or self._heads
        stated = keys.count("num_kv_heads", least=1, most=65_536)
        if keys.flag("new_decoder_architecture"):
            return stated or self._heads
        return 1 if keys.get("multi_query") is not False else self._heads

    def _window(self, mixer: str) -> tuple[int | None, int | None]:
        """(tokens kept, tokens read) of a layer; engines keep all tokens where attention is in chunks."""
        if mixer == "sliding":
            window = self._keys.count("sliding_window", "sliding_window_size", least=1)
            if window is None:
                self._keys.mistake("sliding_window", "is missing, but layers with a sliding window are listed")
            return window, window
        if mixer == "chunked":
            return None, self._keys.count("attention_chunk_size", least=1) or 8192
        if self._kind == "mimo_v2_flash":
            self._keys.get("sliding_window_size"), self._keys.get("attention_chunk_size")
        self._keys.get("sliding_window")
        return None, None

    def _head_dim(self) -> int:
        keys = self._keys
        stated = keys.count("head_dim", "attention_head_dim", "kv_channels", least=1)
        if stated is None and self._hidden % self._heads and not keys.mistakes:
            keys.mistake("head_dim", "is missing, and hidden_size does not divide by num_attention_heads")
        return stated or max(1, self._hidden // self._heads)

    def _latent(self, layers: int) -> tuple[tuple[CacheLayers, ...], int]:
        """Multi-head latent attention, with DeepSeek's sparse index where there is one."""
        keys, hidden, heads = self._keys, self._hidden, self._heads
        keys.get("head_dim"), keys.get("qk_head_dim"), keys.get("num_key_value_heads")
        rank, rope = keys.size("kv_lora_rank"), keys.size("qk_rope_head_dim")
        nope, value = keys.size("qk_nope_head_dim"), keys.size("v_head_dim")
        query_rank = keys.count("q_lora_rank") or 0
        query = heads * (nope + rope)
        queries = hidden * query_rank + query_rank * query if query_rank else hidden * query
        kept = hidden * (rank + rope) + rank * heads * (nope + value)
        weights = queries + kept + heads * value * hidden
        index = keys.count("index_topk")
        caches = [
            CacheLayers(
                layers=layers,
                elements=float(rank + rope),
                shards=1,
                query_elements=heads * (nope + rope),
                read_tokens=index,
            )
        ]
        if index:
            index_heads, index_dim = keys.size("index_n_heads"), keys.size("index_head_dim")
            # Layers that share the index of an earlier one have none of their own.
            types = keys.words("indexer_types", layers)
            indexed = layers if types is None else types.count("full")
            own = (query_rank or hidden) * index_heads * index_dim + hidden * (index_dim + index_heads)
            elements = index_dim * _INDEX_KEY_ELEMENTS
            caches.append(
                CacheLayers(layers=indexed, elements=elements, shards=1, query_elements=index_heads * index_dim // 2)
            )
            return tuple(caches), layers * weights + indexed * own
        return tuple(caches), layers * weights

    def _nas_blocks(self) -> tuple[tuple[CacheLayers, ...], int]:
        """Blocks that each have their own sizes, or none (Llama-Nemotron); feed-forward parts included."""
        keys, hidden = self._keys, self._hidden
        if len(self._blocks) != self._layers:
            keys.mistake("block_configs", f"lists {len(self._blocks)} blocks, but the model has {self._layers}")
        head_dim = self._head_dim()
        groups: Counter[int] = Counter()
        weights = 0
        for index, block in enumerate(self._blocks):
            parts = [block.get(name) if isinstance(block, dict) else None for name in ("attention", "ffn")]
            for name, part in zip(("attention", "ffn"), parts, strict=True):
                if not isinstance(part, dict):
                    keys.mistake(f"block_configs[{index}].{name}", "is missing; want an object")
                    continue
                odd = [key for key in ("sparsify", "window_length", "num_sink_tokens") if part.get(key)]
                odd += [key for key in ("unshifted_sink", "use_prefill_window_in_sink_attention") if part.get(key)]
                if odd:
                    keys.mistake(f"block_configs[{index}].{name}.{odd[0]}", "is not understood")
                elif part.get("no_op") is True:
                    continue
                elif part.get("replace_with_linear") is True:
                    weights += hidden * hidden
                elif name == "attention":
                    size = part.get("n_heads_in_group")
                    if type(size) is not int or size < 1 or self._heads % size:
                        keys.mistake(f"block_configs[{index}].attention.n_heads_in_group", "must divide the heads")
                        continue
                    kv = self._heads // size
                    groups[kv] += 1
                    weights += 2 * hidden * head_dim * (self._heads + kv)
                else:
                    factor = part.get("ffn_mult")
                    if not isinstance(factor, int | float) or not 0 < factor < 100:
                        keys.mistake(f"block_configs[{index}].ffn.ffn_mult", "want a number between 0 and 100")
                        continue
                    weights += 3 * hidden * (-(-int(2 * factor * hidden / 3) // 256) * 256)
        caches = tuple(
            CacheLayers(layers=layers, elements=2.0 * kv * head_dim, shards=kv, query_elements=self._heads * head_dim)
            for kv, layers in sorted(groups.items())
        )
        return caches, weights

    def _recurrent(self, mixers: Counter[str]) -> tuple[int, float]:
        """(weights, bytes of state) of layers that keep a state of fixed size."""
        keys, hidden = self._keys, self._hidden
        weights, state = 0, 0.0
        if mixers["linear"]:
            key = keys.size("linear_num_key_heads") * keys.size("linear_key_head_dim")
            heads, dim = keys.size("linear_num_value_heads"), keys.size("linear_value_head_dim")
            value, kernel = heads * dim, keys.size("linear_conv_kernel_dim", most=1000)
            own = hidden * (2 * key + 2 * value + 2 * heads) + (2 * key + value) * kernel + value * hidden
            weights += mixers["linear"] * own
            kept = value * keys.size("linear_key_head_dim") * _STATE_BYTES + (2 * key + value) * (kernel - 1) * 2.0
            state += mixers["linear"] * kept
        mamba = len(self._kinds) if self._kind == "falcon_h1" else mixers["mamba"]
        if mamba:
            heads = keys.size("mamba_num_heads", "mamba_n_heads", most=65_536)
            dim, inner = self._mamba_width(heads)
            groups = keys.count("mamba_n_groups", "n_groups", least=1) or 1
            size = keys.size("ssm_state_size", "mamba_d_state")
            kernel = keys.size("conv_kernel", "mamba_d_conv", most=1000)
            mixed = inner + 2 * groups * size
            weights += mamba * (hidden * (inner + mixed + heads) + mixed * kernel + inner * hidden)
            state += mamba * (heads * dim * size * _STATE_BYTES + mixed * (kernel - 1) * 2.0)
        if mixers["conv"]:
            kernel = keys.size("conv_L_cache", most=1000)
            keys.get("conv_dim"), keys.get("conv_dim_out")
            weights += mixers["conv"] * (4 * hidden * hidden + hidden * kernel)
            state += mixers["conv"] * hidden * kernel * 2.0
        return weights, state

    def _mamba_width(self, heads: int) -> tuple[int, int]:
        """(size of a head, all heads)."""
        keys = self._keys
        stated = keys.get("mamba_head_dim")
        if stated is None:
            stated = keys.get("mamba_d_head")
        if stated is None or stated == "auto":
            inner = keys.count("mamba_d_ssm", least=1) or (keys.count("mamba_expand", least=1) or 2) * self._hidden
            return max(1, inner // heads), inner
        name = "mamba_head_dim" if keys.get("mamba_head_dim") is not None else "mamba_d_head"
        keys.get("mamba_d_ssm")
        dim = keys.size(name)
        return dim, dim * heads

    def _feed_forward(self, feeds: Counter[str]) -> tuple[int, int, int, int]:
        """(weights that every token passes, experts, experts a token, weights of one expert), in all layers."""
        keys, hidden = self._keys, self._hidden
        if self._blocks:
            return 0, 0, 0, 0
        experts, matrices = self._experts(), self._matrices()
        keys.get("num_experts"), keys.get("num_local_experts")
        per_token = keys.count(
            "num_experts_per_tok", "experts_per_token", "num_experts_per_token", "moe_k", "top_k_experts"
        )
        moe_width = self._moe_width() if experts else 0
        dense = self._dense(feeds["dense"], matrices)
        if not experts or not feeds["experts"]:
            return dense, 0, 0, 0
        if not per_token or per_token > experts:
            message = f"is {per_token}; {experts} experts need num_experts_per_tok between 1 and {experts}"
            keys.mistake("num_experts_per_tok", message)
            per_token = 1
        latent = keys.count("moe_latent_size") or 0
        inner = latent or hidden
        shared = matrices * hidden * self._shared_width(moe_width) + 2 * hidden * latent
        own = matrices * inner * moe_width
        return dense + feeds["experts"] * shared, experts, per_token, feeds["experts"] * own

    def _matrices(self) -> int:
        if self._kind == "nemotron_h":
            activation = self._keys.get("mlp_hidden_act")
            if activation not in (None, "relu2"):
                self._keys.mistake("mlp_hidden_act", f"{activation!r} is not understood for nemotron_h; want relu2")
        return self._family.matrices

    def _moe_width(self) -> int:
        keys = self._keys
        own = keys.count("moe_intermediate_size", least=1)
        if own is None and not isinstance(keys.get("moe_intermediate_size"), list):
            own = keys.count("intermediate_size", least=1)
        if own is None:
            keys.mistake("moe_intermediate_size", "is missing; experts need it, or intermediate_size")
        return own or 1

    def _dense(self, layers: int, matrices: int) -> int:
        keys, hidden = self._keys, self._hidden
        widths = keys.get("intermediate_size")
        if isinstance(widths, list):
            listed = keys.numbers("intermediate_size", self._layers) or [1]
            if any(width < 1 for width in listed):
                keys.mistake("intermediate_size", "lists a width below 1")
            return matrices * hidden * sum(listed)
        width = keys.count("intermediate_size_mlp" if self._kind == "llama4_text" else "intermediate_size") or 0
        if self._kind == "falcon":
            width = keys.count("ffn_hidden_size", least=1) or 4 * hidden
        if layers and not width:
            keys.mistake("intermediate_size", "is missing or 0; a dense model needs intermediate_size")
        doubled = 0
        if keys.flag("use_double_wide_mlp"):
            doubled = keys.count("num_kv_shared_layers") or 0
        if self._kind in ("lfm2",) and keys.get("block_auto_adjust_ff_dim") is not False:
            multiple = keys.count("block_multiple_of", least=1) or 256
            keys.get("block_ffn_dim_multiplier")
            width = -(-int(2 * width / 3) // multiple) * multiple
        keys.get("block_ff_dim"), keys.get("block_dim"), keys.get("block_mlp_init_scale")
        return (layers + doubled) * matrices * hidden * width

    def _shared_width(self, moe_width: int) -> int:
        """The width of what every token passes next to the experts; Llama 4 and Gemma 4 imply it."""
        keys = self._keys
        number = keys.count("n_shared_experts", "moe_num_shared_experts", "num_shared_experts")
        whole = keys.count("shared_expert_intermediate_size", "shared_intermediate_size", "share_expert_dim")
        each = keys.count("moe_shared_expert_intermediate_size")
        if self._kind == "llama4_text":
            return keys.count("intermediate_size") or 0
        if self._kind == "gemma4_text":
            return keys.count("intermediate_size") or 0
        if each is not None:
            return each * (1 if number is None else number)
        if whole is not None:
            return whole
        return (number or 0) * moe_width

    def _per_layer_embeddings(self) -> tuple[int, int]:
        """(weights that every token passes, weights that are only looked up) of Gemma's inputs for each layer."""
        keys, hidden, layers = self._keys, self._hidden, self._layers
        size = keys.count("hidden_size_per_layer_input") or 0
        table = keys.count("vocab_size_per_layer_input") or 0
        laurel = keys.count("laurel_rank") or 0
        for name in ("altup_num_inputs", "altup_active_idx", "altup_correct_scale", "activation_sparsity_pattern"):
            keys.get(name)
        extra = 3 * layers * hidden * size + 2 * layers * hidden * laurel
        return extra, table * layers * size

    def _encoder(self) -> int:
        """Weights of the encoder of images, where its config gives the three sizes that decide it; otherwise 0."""
        part = self._top.part("vision_config") if self._is_nested or "vl" in self._kind else None
        if part is None:
            return 0
        values = [
            next((part[name] for name in names if type(part.get(name)) is int), 0)
            for names in (("hidden_size", "embed_dim"), ("num_hidden_layers", "depth"), ("intermediate_size",))
        ]
        hidden, layers, width = (int(str(value)) for value in values)
        if not (0 < hidden < 100_000 and 0 < layers < 1000 and 0 < width < 1_000_000):
            return 0
        return layers * (4 * hidden * hidden + 2 * hidden * width)
