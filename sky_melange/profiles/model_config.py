"""Reads a model's sizes from its Hugging Face `config.json`; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.model_shape import ModelShape
from sky_melange.untrusted import read_bytes

_MAX_BYTES: Final = 4 * 1024**2

_Size = Annotated[int, Field(ge=1, le=10_000_000, strict=True)]
_Count = Annotated[int, Field(ge=0, le=10_000_000, strict=True)]


def _named(*names: str) -> AliasChoices:
    return AliasChoices(*names)


class _Config(BaseModel):
    """The keys that matter, under the names that model families give them; everything else is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    num_hidden_layers: _Size
    hidden_size: _Size
    num_attention_heads: _Size
    num_key_value_heads: _Size | None = None
    head_dim: _Size | None = None
    intermediate_size: _Count = 0
    vocab_size: _Size
    tie_word_embeddings: bool = False
    experts: _Count = Field(default=0, validation_alias=_named("num_experts", "num_local_experts", "n_routed_experts"))
    experts_per_token: _Count = Field(
        default=0, validation_alias=_named("num_experts_per_tok", "experts_per_token", "num_experts_per_token")
    )
    moe_intermediate_size: _Count | None = None
    shared_expert_intermediate_size: _Count = 0
    n_shared_experts: _Count | None = None
    first_k_dense_replace: _Count = 0
    layer_types: tuple[str, ...] | None = None
    kv_lora_rank: _Count | None = None
    q_lora_rank: _Count | None = None
    qk_nope_head_dim: _Count | None = None
    qk_rope_head_dim: _Count | None = None
    v_head_dim: _Count | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> _Config:
        if self.experts and not 1 <= self.experts_per_token <= self.experts:
            raise ValueError(f"{self.experts} experts need num_experts_per_tok between 1 and {self.experts}")
        if not self.experts and not self.intermediate_size:
            raise ValueError("a dense model needs intermediate_size")
        if self.experts and not (self.moe_intermediate_size or self.intermediate_size):
            raise ValueError("experts need moe_intermediate_size or intermediate_size")
        if self.first_k_dense_replace > self.num_hidden_layers:
            raise ValueError("first_k_dense_replace is more than num_hidden_layers")
        if self.head_dim is None and not self.kv_lora_rank and self.hidden_size % self.num_attention_heads:
            raise ValueError("hidden_size does not divide by num_attention_heads, and there is no head_dim")
        return self


class _Nested(BaseModel):
    """Multimodal models keep the language model's configuration under `text_config`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    text_config: dict[str, object] | None = None


def read_model_config(path: Path, model: str) -> ModelShape:
    """The sizes of the model whose `config.json` is at `path`; `model` is the name that it gets.

    Raises InputError naming the file and every key that is missing or wrong.
    """
    content = read_bytes(path, limit_bytes=_MAX_BYTES)
    try:
        nested = _Nested.model_validate_json(content)
        if nested.text_config is not None:
            config = _Config.model_validate(nested.text_config)
        else:
            config = _Config.model_validate_json(content)
    except ValidationError as error:
        raise InputError(
            [
                Mistake(source=str(path), key=".".join(str(part) for part in item["loc"]), message=item["msg"])
                for item in error.errors(include_url=False, include_context=False)
            ]
        ) from error
    return _shape(config, model)


def _shape(config: _Config, model: str) -> ModelShape:
    experts = config.experts if config.experts > 1 else 0
    expert_width = (config.moe_intermediate_size or config.intermediate_size) if experts else 0
    shared = config.shared_expert_intermediate_size or (config.n_shared_experts or 0) * expert_width
    keeping = sum(name != "linear_attention" for name in config.layer_types) if config.layer_types else 0
    return ModelShape(
        model=model,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads or config.num_attention_heads,
        head_dim=config.head_dim or max(1, config.hidden_size // config.num_attention_heads),
        intermediate=config.intermediate_size,
        vocabulary=config.vocab_size,
        attention_layers=keeping or config.num_hidden_layers,
        dense_layers=config.first_k_dense_replace if experts else 0,
        experts=experts,
        experts_per_token=config.experts_per_token if experts else 0,
        expert_intermediate=expert_width,
        shared_intermediate=shared if experts else 0,
        kv_lora_rank=config.kv_lora_rank or 0,
        q_lora_rank=config.q_lora_rank or 0,
        qk_nope_head_dim=config.qk_nope_head_dim or 0,
        qk_rope_head_dim=config.qk_rope_head_dim or 0,
        v_head_dim=config.v_head_dim or 0,
        tied_embeddings=config.tie_word_embeddings,
    )
