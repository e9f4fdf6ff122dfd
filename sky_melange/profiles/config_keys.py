"""The keys of a `config.json`, read with their types and ranges; what changes sizes and was not read is a mistake."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from sky_melange.errors import InputError, Mistake

_MOST: Final = 10_000_000
_MOST_LAYERS: Final = 1000

_OF_CONSEQUENCE: Final = re.compile(
    r"layer|pattern|interval|interleav|latent|shared|share_|sliding|window|linear|mamba|ssm|conv|kv_|_kv|expert|moe|swa|"
    r"chunk|compress|lora|head|hash|index_|sparse|altup|laurel|per_layer|intermediate|ffn|recurrent|delta|block|state|"
    r"global|local|wide|reuse|k_eq_v|group|rank|_dims?$|hidden_size|embedding_size|depth|width|attn_config|nsa|mla"
)
"""Names of keys that decide sizes in one family or another."""

_HARMLESS: Final = re.compile(
    r".*(rope|rotary|_token_id|_act$|_activation$|_eps$|epsilon|dropout|_bias$|_norm$|_type$|_impl$|_dtype$|jitter|_coef$|"
    r"scal|softcap|initializer|_gemma_|quant|cache$|loss|router_logits).*"
    r"|(layer|group|rms)_?norm.*|num_?nextn_predict_layers|.*mtp.*|n_groups?|num_expert_group|topk_group|norm_topk_prob|"
    r"chunk_size(_feed_forward)?|index_.*|indexer_.*|mup_.*|.*_multipliers?|num_beam.*|.*_overlap|time_step.*|max_window_layers|output_hidden_states|pruned_heads|"
    r"use_mamba_kernels|output_router_logits|num_logits_to_keep|normalize_.*|pretraining_tp|ep_size|head_dtype|"
    r"mamba_(chunk_size|dt_.*|expand|norm_before_gate|rms_norm|use_mlp)|mamba_hidden_act|moe_(renormalize|router_.*|norm_min|use_aux_free|capacity|gate.*)|"
    r"add_(swa|full)_attention_.*|add_cross_attention|attention_(value_scale|multiplier)|use_(qk_norm|cache|sliding_window)|keys_to_ignore.*|query_pre_attn_scalar|"
    r"original_max_position.*|is_(encoder_)?decoder|no_rope_layers?.*|vision_.*|image_.*|audio_.*|video_.*|mm_.*|id2label|label2id|tf_legacy_loss|use_bidirectional_attention|residual_in_fp32|"
    r"rescale_prenorm_residual|num_return_sequences|expand|nope_layer_interval|no_repeat_ngram.*|encoder_no_repeat.*"
)
"""Of those, the ones that leave memory and work as they are, and layers for speculation: these load on request."""


class ConfigKeys:
    """One object of a config, and every mistake found in it so far."""

    def __init__(self, content: Mapping[str, object], defaults: Mapping[str, object], source: str, prefix: str) -> None:
        self._content = content
        self._defaults = defaults
        self._source = source
        self._prefix = prefix
        self._read: set[str] = set()
        self.mistakes: list[Mistake] = []

    def mistake(self, key: str, message: str) -> None:
        """Notes what is wrong with a key."""
        self.mistakes.append(Mistake(source=self._source, key=self._prefix + key, message=message))

    def stop(self) -> None:
        """Raises InputError with every mistake, once each."""
        if self.mistakes:
            raise InputError(list(dict.fromkeys(self.mistakes)))

    def get(self, name: str) -> object:
        """The value, or the family's default; None where there is neither, or `null`."""
        self._read.add(name)
        value = self._content.get(name)
        return self._defaults.get(name) if value is None else value

    def size(self, *names: str, most: int = _MOST) -> int:
        """A whole number of at least 1 under the first of the names that is there; it must be."""
        found = self.count(*names, least=1, most=most)
        if found is None:
            self.mistake(names[0], f"is missing; it must be a whole number between 1 and {most}")
            return 1
        return found

    def layers(self, *names: str) -> int:
        """A number of layers."""
        return self.size(*names, most=_MOST_LAYERS)

    def count(self, *names: str, least: int = 0, most: int = _MOST) -> int | None:
        """A whole number, or None where there is none. Several names say the same, or it is a mistake."""
        found = [(name, value) for name in names for value in [self.get(name)] if value is not None]
        for name, value in found:
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                self.mistake(name, f"found {_shown(value)}; want a whole number between {least} and {most}")
            elif value != found[0][1]:
                self.mistake(name, f"is {value}, but {found[0][0]}, which means the same, is {_shown(found[0][1])}")
        if not found:
            return None
        first = found[0][1]
        return first if isinstance(first, int) and least <= first <= most else least

    def flag(self, name: str) -> bool:
        """True or false; false where there is nothing."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            self.mistake(name, f"found {_shown(value)}; want true or false")
        return value is True

    def items(self, name: str, kind: type[int] | type[str], length: int | None = None) -> list[int] | list[str] | None:
        """A list of whole numbers or of words, of a length where one is given; None where there is none."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(type(item) is kind for item in value) or len(value) > _MOST_LAYERS:
            what = "whole numbers" if kind is int else "words"
            self.mistake(name, f"found {_shown(value)}; want a list of at most {_MOST_LAYERS} {what}")
            return None
        if length is not None and len(value) != length:
            self.mistake(name, f"lists {len(value)} layers, but the model has {length}")
            return None
        return value

    def words(self, name: str, length: int | None = None) -> list[str] | None:
        """A list of words."""
        found = self.items(name, str, length)
        return None if found is None else [str(item) for item in found]

    def numbers(self, name: str, length: int | None = None) -> list[int] | None:
        """A list of whole numbers."""
        found = self.items(name, int, length)
        return None if found is None else [int(item) for item in found]

    def part(self, name: str) -> Mapping[str, object] | None:
        """An object inside."""
        value = self.get(name)
        if value is None or isinstance(value, dict):
            return value
        self.mistake(name, f"found {_shown(value)}; want an object")
        return None

    def used(self) -> dict[str, object]:
        """What was read, as the config has it, sorted."""
        return {name: self._content[name] for name in sorted(self._read) if self._content.get(name) is not None}

    def refuse_unread(self, kind: str) -> None:
        """A mistake for each key that may change sizes and was not read."""
        for name in self._unread():
            self.mistake(
                name,
                f"is {_shown(self._content[name])}, which is not understood for model_type {kind} and may change "
                "memory or work; measure the model (sky-melange profiles measure), or report its model_type",
            )

    def _unread(self) -> Iterator[str]:
        for name, value in self._content.items():
            if name in self._read or value in (None, False, 0, "", [], {}):
                continue
            if _OF_CONSEQUENCE.search(name) and not _HARMLESS.fullmatch(name):
                yield name


def _shown(value: object) -> str:
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
