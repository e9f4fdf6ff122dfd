"""Which precision a checkpoint has, which of them a workload may ask for, and which ids share sizes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sky_melange.domain.workload import AUTO_DTYPE, Model
from sky_melange.errors import InputError, MissingDataError
from sky_melange.profiles.architectures import architecture_of, known_models
from sky_melange.profiles.bundled import borrowed_from, twin_profiles, twins
from sky_melange.profiles.checkpoint import checkpoint_of_config, checkpoint_of_id, context_limit, noted, resolved

CASES = Path(__file__).parents[1] / "data" / "model_configs"
FILE = Path("workload.yaml")

# Ids of popular models by the row that has their sizes; None: no row, for lack of a source, or since sizes differ.
IDS = {
    "meta-llama/Llama-3.1-8B": "meta-llama/Llama-3.1-8B-Instruct",
    "META-LLAMA/llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Meta-Llama-3-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit": "meta-llama/Llama-3.1-8B-Instruct",
    "NousResearch/Hermes-3-Llama-3.1-8B": "meta-llama/Llama-3.1-8B-Instruct",
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct": "meta-llama/Llama-3.1-70B-Instruct",
    "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4": "meta-llama/Llama-3.1-70B-Instruct",
    "RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16": "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ": "Qwen/Qwen2.5-32B-Instruct",
    "Qwen/QwQ-32B": "Qwen/Qwen2.5-32B-Instruct",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": "Qwen/Qwen2.5-32B-Instruct",
    "Qwen/Qwen3-4B-Instruct-2507": "Qwen/Qwen3-4B",
    "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B": "Qwen/Qwen3-8B",
    "Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8": "Qwen/Qwen3-30B-A3B",
    "deepseek-ai/DeepSeek-R1-0528": "deepseek-ai/DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3-0324": "deepseek-ai/DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3.1-Terminus": "deepseek-ai/DeepSeek-V3",
    "deepseek-ai/DeepSeek-V3.2-Exp": "deepseek-ai/DeepSeek-V3.2",
    "moonshotai/Kimi-K2-Instruct-0905": "moonshotai/Kimi-K2-Instruct",
    "zai-org/GLM-4.6-FP8": "zai-org/GLM-4.6",
    "zai-org/GLM-4.5-Air-FP8": "zai-org/GLM-4.5-Air",
    "mistralai/Devstral-Small-2507": "mistralai/Mistral-Small-3.1-24B-Instruct-2503",
    "microsoft/phi-4": "microsoft/phi-4",
    "microsoft/Phi-4-mini-instruct": "microsoft/Phi-4-mini-instruct",
    "microsoft/Phi-4-multimodal-instruct": None,
    "google/gemma-3-27b-it-qat-q4_0-unquantized": "google/gemma-3-27b-it",
    "google/gemma-3n-E4B-it": "google/gemma-3n-E4B-it",
    "Qwen/Qwen3-Embedding-8B": None,
    "bartowski/Llama-3.1-8B-Instruct-GGUF": None,
    "yuhuili/EAGLE3-Llama-3.1-8B": None,
    "nvidia/Llama-3.1-Minitron-4B-Width-Base": None,
    "meta-llama/Llama-3.2-11B-Vision-Instruct": None,
    "acme/Llama-3.1-8B-upscaled-30B-A3B": None,
    "zai-org/GLM-4.6V": None,
    "": None,
}


@pytest.mark.parametrize(("model", "row"), IDS.items())
def test_ids_of_the_same_sizes_share_a_row(model: str, row: str | None) -> None:
    found = architecture_of(model)
    assert (None if found is None else found.model) == row


def test_the_table_knows_150_models() -> None:
    assert len({*known_models(), *(model for model, row in IDS.items() if row is not None)}) >= 150


def test_the_table_states_its_sources() -> None:
    rows = {name: architecture_of(name) for name in known_models()}
    assert all(row is not None and row.model == name for name, row in rows.items())
    dated = re.compile(r"20\d\d-\d\d|commit [0-9a-f]{7}")
    assert [name for name, row in rows.items() if row is None or not dated.search(row.source)] == []


@pytest.mark.parametrize(
    ("model", "dtype"),
    [
        ("a/b-FP8", "fp8"),
        ("a/b-fp8-dynamic", "fp8"),
        ("nvidia/b-NVFP4", "fp4"),
        ("a/b-MXFP4", "fp4"),
        ("a/b-AWQ", "int4"),
        ("a/b-GPTQ-Int4", "int4"),
        ("a/b-GPTQ-Int8", "int8"),
        ("a/b-quantized.w4a16", "int4"),
        ("a/b-quantized.w8a8", "int8"),
        ("a/b-W8A8-FP8", "fp8"),
        ("a/b-bnb-4bit", "int4"),
        ("a/b-BF16", "bfloat16"),
        ("awq/b", None),
        ("a/b-8B", None),
    ],
)
def test_words_of_an_id_state_a_precision(model: str, dtype: str | None) -> None:
    found = checkpoint_of_id(model)
    assert (None if found is None else found.dtype) == dtype


GROUP = {"group_0": {"weights": {"num_bits": 4, "type": "int"}}}


@pytest.mark.parametrize(
    ("quantization", "dtype"),
    [
        (None, "float16"),
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "fp4"),
        ({"quant_method": "awq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "fp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        ({"quant_method": "compressed-tensors", "config_groups": GROUP}, "int4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "fp8",
        ),
        ({"quant_method": "compressed-tensors"}, None),
        ({"quant_method": "gptq"}, None),
        ({"quant_method": "a-new-one"}, None),
        ({}, "float16"),
        (7, None),
        ({"quant_method": ["fp8"]}, None),
    ],
)
def test_a_config_states_its_quantisation_or_is_refused(quantization: Any, dtype: str | None) -> None:
    content = {"torch_dtype": "float16", "quantization_config": quantization}
    if dtype is None:
        with pytest.raises(InputError, match=r"x: quantization_config\.quant_method"):
            checkpoint_of_config(content, "x")
    else:
        assert checkpoint_of_config(content, "x").dtype == dtype


@pytest.mark.parametrize(
    ("model", "asked", "dtype", "is_quantized"),
    [
        ("Qwen/Qwen3-8B", AUTO_DTYPE, "bfloat16", False),
        ("Qwen/Qwen3-8B", "fp8", "fp8", False),
        ("Qwen/Qwen3-8B", "float16", "float16", False),
        ("Qwen/Qwen3-8B-FP8", AUTO_DTYPE, "fp8", True),
        ("Qwen/Qwen3-8B-AWQ", AUTO_DTYPE, "int4", True),
        ("deepseek-ai/DeepSeek-R1", AUTO_DTYPE, "fp8", True),
        ("nvidia/DeepSeek-R1-NVFP4", AUTO_DTYPE, "fp4", True),
        ("unsloth/DeepSeek-V3-bf16", AUTO_DTYPE, "bfloat16", False),
        ("moonshotai/Kimi-K2.5", AUTO_DTYPE, "int4", True),
        ("openai/gpt-oss-20b", AUTO_DTYPE, "fp4", True),
        ("acme/unknown", "bfloat16", "bfloat16", False),
    ],
)
def test_dtype_is_the_checkpoint_s_own_or_made_of_it(model: str, asked: str, dtype: str, *, is_quantized: bool) -> None:
    found = resolved(Model(id=model, dtype=asked), FILE)
    assert (found.dtype, found.quantization is not None) == (dtype, is_quantized)


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        ("Qwen/Qwen3-8B", "fp4", "has bfloat16 weights"),
        ("Qwen/Qwen3-8B-FP8", "bfloat16", "its id says fp8"),
        ("deepseek-ai/DeepSeek-R1", "fp4", "write the id of a checkpoint that has fp4 weights"),
        ("Qwen/Qwen3-8B-GPTQ-Int8", AUTO_DTYPE, "int8 weights"),
    ],
)
def test_a_dtype_that_the_checkpoint_lacks_is_refused(model: str, asked: str, words: str) -> None:
    with pytest.raises(InputError, match=rf"workload\.yaml: model\.dtype: .*{words}"):
        resolved(Model(id=model, dtype=asked), FILE)


def test_a_model_of_which_nothing_is_known_says_what_to_write() -> None:
    with pytest.raises(MissingDataError, match=r"^write `model\.config: config\.json`"):
        resolved(Model(id="acme/secret", dtype=AUTO_DTYPE), FILE)
    with pytest.raises(MissingDataError, match="GGUF"):
        resolved(Model(id="acme/secret-GGUF", dtype=AUTO_DTYPE), FILE)


def test_a_config_is_noted_and_reads_the_same_again(tmp_path: Path) -> None:
    content = json.loads((CASES / "Qwen3-30B-A3B-FP8.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | {"num_hidden_layers": 46}))
    stated = Model(id="acme/secret", dtype=AUTO_DTYPE, config="config.json")
    found = resolved(stated, tmp_path / "workload.yaml")
    assert (found.dtype, found.quantization) == ("fp8", "fp8")
    assert found.sizes is not None
    again = resolved(Model(id="acme/secret", dtype=AUTO_DTYPE), FILE, noted(found))
    assert (again.dtype, again.quantization, again.sizes) == (found.dtype, found.quantization, found.sizes)


def test_model_optimizer_writes_a_file_of_its_own(tmp_path: Path) -> None:
    content = json.loads((CASES / "Qwen3-30B-A3B-FP8.json").read_text())
    del content["quantization_config"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    (tmp_path / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "NVFP4"}}')
    found = resolved(Model(id="acme/secret", dtype=AUTO_DTYPE, config="."), tmp_path / "workload.yaml")
    assert (found.dtype, found.quantization) == ("fp4", "modelopt")


def test_models_of_the_same_architecture_share_profiles() -> None:
    tuned = Model(id="acme/Llama-3.1-8B-tuned", dtype="bfloat16")
    assert twins(tuned) == ("meta-llama/Llama-3.1-8B-Instruct",)
    profiles = twin_profiles(tuned, "vllm", ["H100"])
    assert {profile.key.model for profile in profiles} == {tuned.id}
    assert {borrowed_from(profile) for profile in profiles} == {
        "Profile of meta-llama/Llama-3.1-8B-Instruct, same architecture."
    }
    assert twin_profiles(Model(id="acme/secret", dtype="bfloat16"), "vllm", None) == ()
    assert twins(Model(id="deepseek-ai/DeepSeek-V3.1", dtype="fp8")) == (
        "deepseek-ai/DeepSeek-R1",
        "nvidia/DeepSeek-R1-NVFP4",
    )


@pytest.mark.parametrize(
    ("keys", "limit"),
    [
        ({"max_position_embeddings": 8192}, 8192),
        ({"max_position_embeddings": 8192, "rope_scaling": None}, 8192),
        ({"max_position_embeddings": 8192, "rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 32768),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
            },
            131072,
        ),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 131072),
        ({"max_position_embeddings": 4096, "rope_parameters": {"rope_type": "dynamic", "factor": 2}}, 8192),
        ({}, None),
        *(({"max_position_embeddings": value}, None) for value in (0, -1, True, "8192", 1e300, [8192])),
        ({"max_position_embeddings": 8192, "rope_scaling": {"type": "yarn", "factor": "4"}}, None),
    ],
)
def test_a_config_says_how_long_a_request_may_be(tmp_path: Path, keys: dict[str, Any], limit: int | None) -> None:
    config = {
        "model_type": "llama",
        "num_hidden_layers": 12,
        "hidden_size": 1536,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "intermediate_size": 4096,
        "vocab_size": 32000,
        "torch_dtype": "bfloat16",
    }
    (tmp_path / "config.json").write_text(json.dumps({**config, **keys}), encoding="utf-8")
    model = Model(id="acme/small", dtype=AUTO_DTYPE, config="config.json")
    found = resolved(model, tmp_path / FILE)
    assert context_limit(found) == limit
    # As it is noted in plan.json it says the same again.
    assert context_limit(resolved(Model(id="acme/small", dtype=AUTO_DTYPE), FILE, noted(found))) == limit


def test_limit_of_the_very_id_is_known_and_of_no_relative() -> None:
    def limit(model: str, config: str | None = None) -> int | None:
        return context_limit(Model(id=model, dtype="bfloat16", config=config))

    # Of one row of the table of architectures: limits are not of sizes.
    assert limit("meta-llama/Meta-Llama-3-8B-Instruct") == 8192
    assert limit("meta-llama/llama-3.1-8b-instruct") == 131072
    assert limit("Qwen/Qwen3-32B") == 40960
    assert limit("my-org/Llama-3.1-8B-tuned") is None
    # A configuration that was named is asked, and nothing else.
    assert limit("Qwen/Qwen3-32B", "config.json") is None


def test_table_of_limits_names_each_model_once_with_its_source(repository: Path) -> None:
    with (repository / "catalogs" / "context_limits.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    names = [row["model"].lower() for row in rows]
    assert names == sorted(set(names))
    assert all(1024 <= int(row["tokens"]) <= 2**24 and "(" in row["source"] for row in rows)
    assert all(architecture_of(row["model"]) is not None for row in rows)
