"""config.json -> sizes: what the model cards say of every kind of architecture, or a refusal that names the key."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sky_melange.errors import InputError
from sky_melange.profiles.architectures import architectures
from sky_melange.profiles.model_config import config_object, parse_config, read_config_file, read_model_config
from sky_melange.profiles.model_shape import ModelShape, contradiction

CASES = Path(__file__).parents[1] / "data" / "model_configs"

# Billions of parameters, all and active, as the model cards state them.
CARDS = {
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": (31.6, 3.2),
    "NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16": (550, 55),
    "Llama-4-Scout-17B-16E-Instruct": (109, 17),
    "Llama-4-Maverick-17B-128E-Instruct": (400, 17),
    "Qwen3-Next-80B-A3B": (80, 3.5),
    "Qwen3-30B-A3B-FP8": (30.5, 3.3),
    "gemma-3-27b-it": (27.4, None),
    "gemma-4-26B-A4B": (25.2, 3.8),
    "DeepSeek-V3": (671, 37),
    "GLM-5-FP8": (744, 40),
    "GLM-4.7-Flash": (30, 3.6),
    "gpt-oss-20b": (20.9, 3.6),
    "Mistral-Small-3.x": (24, None),
}

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "architectures": ["LlamaForCausalLM"],
    "rope_scaling": {"factor": 8.0},
}


def case(name: str) -> dict[str, Any]:
    return config_object(CASES / f"{name}.json")


def shape(name: str, **changes: object) -> ModelShape:
    return parse_config(case(name) | changes, name, name).shape


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(("name", "billions"), CARDS.items())
def test_sizes_add_up_to_the_model_card(name: str, billions: tuple[float, float | None]) -> None:
    total, active = billions
    found = read_model_config(CASES / f"{name}.json", name)
    assert found.parameters / 1e9 == pytest.approx(total, rel=0.03)
    if active is not None:
        # Cards round, and differ in whether embeddings are active.
        assert found.active_parameters / 1e9 == pytest.approx(active, rel=0.15)


def test_cache_by_kind_of_layer() -> None:
    """Bytes of a request of 100 and of 10,000 tokens, in 16 bits, from the layers that the cards list."""
    gemma = shape("gemma-3-27b-it")
    assert gemma.kept_bytes(100, 1) == 62 * 2 * 16 * 128 * 2 * 100
    assert gemma.kept_bytes(10_000, 1) == 2 * 16 * 128 * 2 * (10 * 10_000 + 52 * 1024)
    oss = shape("gpt-oss-20b")
    assert oss.kept_bytes(10_000, 1) == 2 * 8 * 64 * 2 * (12 * 10_000 + 12 * 128)
    assert oss.kept_bytes(10_000, 8) == oss.kept_bytes(10_000, 1) / 8
    deepseek = shape("DeepSeek-V3")
    assert deepseek.kept_bytes(1, 1) == 61 * 576 * 2
    assert deepseek.kept_bytes(1, 8) == deepseek.kept_bytes(1, 1)
    # 12 layers with a cache; 36 with a state of 32 heads × 128 × 128 in 32 bits and three columns of a convolution.
    following = shape("Qwen3-Next-80B-A3B")
    state = 36 * (32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 3 * 2)
    assert following.kept_bytes(1000, 1) == 12 * 2 * 2 * 256 * 2 * 1000 + state
    # 6 layers with a cache of 52; 23 Mamba layers.
    nano = shape("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")
    assert nano.kept_bytes(1000, 1) - nano.state_bytes == 6 * 2 * 2 * 128 * 2 * 1000
    assert nano.state_bytes == 23 * (64 * 64 * 128 * 4 + (64 * 64 + 2 * 8 * 128) * 3 * 2)


def test_attention_reads_the_window_only() -> None:
    gemma = shape("gemma-3-27b-it")
    whole = shape("gemma-3-27b-it", text_config=case("gemma-3-27b-it")["text_config"] | {"sliding_window": 10**7})
    assert gemma.attention_flop(1000) == whole.attention_flop(1000)
    assert gemma.attention_flop(100_000) < 0.2 * whole.attention_flop(100_000)
    assert whole.attention_flop(1000) == pytest.approx(2 * 62 * 32 * 128 * 1000**2)


def test_cross_layer_sharing_keeps_no_cache_twice() -> None:
    row = next(row for row in architectures() if row.model == "google/gemma-3n-E4B-it")
    found = row.read("x").shape
    text = row.config["text_config"]
    with pytest.raises(InputError, match=r"num_kv_shared_layers: is 35, which leaves no layer"):
        parse_config({**row.config, "text_config": text | {"num_kv_shared_layers": 35}}, "x", "x")
    alone = parse_config({**row.config, "text_config": text | {"num_kv_shared_layers": 0}}, "x", "x").shape
    assert found.kept_bytes(1000, 1) == pytest.approx(alone.kept_bytes(1000, 1) * 20 / 35, rel=0.15)
    assert found.read_cache_bytes(1000, 1) == alone.read_cache_bytes(1000, 1)


def test_chunked_attention_keeps_all_tokens() -> None:
    scout = shape("Llama-4-Scout-17B-16E-Instruct")
    assert scout.kept_bytes(100_000, 1) == 48 * 2 * 8 * 128 * 2 * 100_000
    assert scout.read_cache_bytes(100_000, 1) == 2 * 8 * 128 * 2 * (12 * 100_000 + 36 * 8192)


def test_an_expert_is_read_when_it_is_chosen() -> None:
    found = shape("Qwen3-Next-80B-A3B")
    assert found.read_weights(1) == pytest.approx(found.active_weights)
    assert found.read_weights(100_000) == pytest.approx(found.layer_weights)


@pytest.mark.parametrize(
    ("name", "change", "key"),
    [
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", {"hybrid_override_pattern": "MEX"}, "hybrid_override_pattern"),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", {"hybrid_override_pattern": None}, "hybrid_override_pattern"),
        ("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", {"num_hidden_layers": 51}, "num_hidden_layers"),
        ("gpt-oss-20b", {"layer_types": ["lightning_attention"] * 24}, "layer_types"),
        ("gpt-oss-20b", {"layer_types": ["full_attention"]}, "layer_types"),
        ("gpt-oss-20b", {"sliding_window": None}, "sliding_window"),
        ("gpt-oss-20b", {"num_local_experts": 32, "num_experts": 64}, "num_local_experts"),
        ("Qwen3-30B-A3B-FP8", {"moe_latent_size_of_layers": 100}, "moe_latent_size_of_layers"),
        ("Qwen3-30B-A3B-FP8", {"linear_attn_config": {"full_attn_layers": [4]}}, "linear_attn_config"),
        ("Qwen3-30B-A3B-FP8", {"cross_layer_kv_sharing": 2}, "cross_layer_kv_sharing"),
        ("Qwen3-30B-A3B-FP8", {"model_type": "kimi_linear"}, "model_type"),
        ("DeepSeek-V3", {"compress_ratios": [0, 4]}, "compress_ratios"),
        ("DeepSeek-V3", {"v_head_dim": None}, "v_head_dim"),
        ("Qwen3.5-27B", {}, "text_config.linear_num_value_heads"),
    ],
)
def test_what_changes_sizes_is_understood_or_refused(name: str, change: dict[str, object], key: str) -> None:
    with pytest.raises(InputError) as caught:
        shape(name, **change)
    assert key in {mistake.key for mistake in caught.value.mistakes}
    unread = [mistake for mistake in caught.value.mistakes if "not understood for" in mistake.message]
    assert all(f"model_type {case(name)['model_type']} " in mistake.message for mistake in unread)


def test_the_name_is_held_against_the_sizes(tmp_path: Path) -> None:
    """Nemotron read as a mixture with experts in every layer is 102 billion; Scout without its shared expert 89."""
    nano = case("NVIDIA-Nemotron-3-Nano-30B-A3B-BF16")
    lost = {name: value for name, value in nano.items() if not re.search("pattern|mlp|mamba|ssm|conv|shared", name)}
    path = written(tmp_path, lost | {"model_type": "qwen3_moe"})
    with pytest.raises(InputError, match=r"billion .*parameters, but the name says 30B"):
        read_model_config(path, "acme/Nemotron-3-Nano-30B-A3B")
    scout = shape("Llama-4-Scout-17B-16E-Instruct")
    assert contradiction(scout, "meta-llama/Llama-4-Scout-17B-16E-Instruct") is None
    assert "active parameters" in str(contradiction(scout, "acme/Llama-4-70B-16E"))
    assert contradiction(shape("gpt-oss-20b"), "openai/gpt-oss-20b") is None
    assert contradiction(shape("gpt-oss-20b"), "openai/gpt-oss-120b") is not None
    assert contradiction(shape("gpt-oss-20b"), "acme/no-size-4bit") is None


@pytest.mark.parametrize("row", architectures(), ids=lambda row: row.model)
def test_no_row_of_the_table_contradicts_its_name(row: Any) -> None:
    found = row.read(row.model)
    assert contradiction(found.shape, row.model) is None
    assert parse_config(json.loads(found.text), row.model, "again").shape == found.shape


def test_what_was_read_reads_the_same_again() -> None:
    for path in sorted(CASES.glob("*.json")):
        if path.stem not in CARDS:
            continue
        first = read_config_file(path, path.stem)
        assert parse_config(json.loads(first.text), path.stem, "again") == first


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "model_type: is missing"),
        ({"model_type": "llama"}, "num_hidden_layers: is missing"),
        (LLAMA | {"model_type": "mamba9"}, "model_type: 'mamba9' is not among the families"),
        (LLAMA | {"model_type": 3}, "model_type"),
        (LLAMA | {"hidden_size": -1}, "hidden_size: found -1; want a whole number between 1 and"),
        (LLAMA | {"hidden_size": 10**30}, "hidden_size"),
        (LLAMA | {"hidden_size": 4096.0}, "hidden_size"),
        (LLAMA | {"vocab_size": "many"}, "vocab_size: found 'many'"),
        (LLAMA | {"vocab_size": True}, "vocab_size"),
        (LLAMA | {"num_attention_heads": 0}, "num_attention_heads: found 0"),
        (LLAMA | {"num_hidden_layers": 10**9}, "num_hidden_layers: found 1000000000; want a whole"),
        (LLAMA | {"num_attention_heads": 33}, "head_dim: is missing, and hidden_size does not divide"),
        (LLAMA | {"model_type": "mixtral", "num_local_experts": 8}, "num_experts_per_tok between 1 and 8"),
        (LLAMA | {"intermediate_size": 0}, "needs intermediate_size"),
        (LLAMA | {"tie_word_embeddings": "no"}, "tie_word_embeddings"),
        (LLAMA | {"model_type": "deepseek_v3", "num_experts": 8, "num_experts_per_tok": 2, "first_k_dense_replace": 40},
         "first_k_dense_replace"),
        ({"text_config": {}}, "model_type"),
        ({"text_config": 3}, "text_config: found 3; want an object"),
        ({"dim": 1, "n_layers": 2}, "params.json"),
        ("[]", "object"),
        ("{", "is not valid JSON"),
        ("", "is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"hidden_size": ' + "9" * 5000 + "}", "model_type"),
        ("GGUF\x03\x00", "is a GGUF file"),
    ],
)  # fmt: skip
def test_a_malformed_config_is_an_input_error(tmp_path: Path, content: Any, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InputError, match=words) as caught:
        read_model_config(path, "x")
    assert all(mistake.source == str(path) for mistake in caught.value.mistakes)


def test_every_mistake_of_a_config_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_model_config(written(tmp_path, LLAMA | {"hidden_size": 0, "vocab_size": None}), "x")
    assert [mistake.key for mistake in caught.value.mistakes] == ["hidden_size", "vocab_size"]


@given(st.sampled_from(sorted(CARDS)), st.data())
def test_any_broken_key_is_an_input_error_or_a_size(name: str, data: st.DataObject) -> None:
    content = json.loads(json.dumps(case(name)))
    part = content.get("text_config", content)
    key = data.draw(st.sampled_from(sorted(part)))
    part[key] = data.draw(
        st.sampled_from([None, 0, -1, 1, 7, 10**12, 2.5, "x", "", True, [], [3], ["x"], {}, {"a": 1}])
    )
    try:
        found = parse_config(content, "x", "x").shape
    except InputError:
        return
    assert found.parameters > 0
    assert found.kept_bytes(1000, 1) > 0
    assert found.read_weights(1) <= found.layer_weights


def test_a_config_that_is_missing_or_huge(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file; check the path"):
        read_model_config(tmp_path / "none.json", "x")
    with pytest.raises(InputError, match=r"has no config\.json"):
        read_model_config(tmp_path, "x")
    with pytest.raises(InputError, match="is a GGUF file"):
        read_model_config(tmp_path / "model-Q4_K_M.gguf", "x")
    path = tmp_path / "config.json"
    with path.open("wb") as stream:
        stream.truncate(5 * 1024**2)
    for given_path in (path, tmp_path):
        with pytest.raises(InputError, match="is larger"):
            read_model_config(given_path, "x")


def test_a_folder_of_a_checkpoint_is_read(tmp_path: Path) -> None:
    written(tmp_path, LLAMA)
    assert read_model_config(tmp_path, "x").parameters == pytest.approx(8.03e9, rel=0.01)
