"""Every model with measured runs plans with every preset, and on fitted profiles alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from property_examples import mostly_slow

from sky_melange import pipeline
from sky_melange.domain.engine import ENGINES, can_launch
from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.workload import AUTO_DTYPE, Model
from sky_melange.errors import InfeasibleError
from sky_melange.profiles import bundled
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.checkpoint import resolved
from sky_melange.traces import preset_names

FITTED = [entry.key for entry in bundled.entries() if entry.kind is ProfileKind.FITTED]
MODELS = sorted({key.model for key in FITTED})
TOO_LONG = {
    (model, "servegen-deepseek-r1")
    for model in ("Qwen/Qwen3-235B-A22B-FP8", "Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B-Instruct")
}
"""Answers of reasoning models, over eight times as long as any that was measured on these."""

FP8_CHECKPOINTS = {"zai-org/GLM-5": "zai-org/GLM-5-FP8"}
"""What the refusal says to write where SGLang would have to load more than the GPUs hold to make fp8 of 16 bits."""

QUICK = ("moonshotai/Kimi-K2.5", "openai/gpt-oss-120b", "deepseek-ai/DeepSeek-R1")


def workload(tmp_path: Path, model: str, preset: str, *more: str) -> Path:
    """At the checkpoint's own precision, or in fp8, made of 16 bits while loading, where only that was measured."""
    dtypes = {key.dtype for key in FITTED if key.model == model and can_launch(key.engine, key.layout)}
    own = resolved(Model(id=model, dtype=AUTO_DTYPE), tmp_path).dtype
    dtype = "fp8" if dtypes and own not in dtypes else own
    repository = FP8_CHECKPOINTS.get(model, model) if dtype != own else model
    path = tmp_path / "workload.yaml"
    path.write_text(
        f"version: 1\nname: chat\nmodel: {{id: {repository}, dtype: {dtype}}}\n"
        f"slo: {{tpot_ms: 80}}\ntraffic: {{request_rate: 4, preset: {preset}}}\n"
        + "".join(f"{line}\n" for line in more)
    )
    return path


every_model = pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in MODELS]
)
every_preset = pytest.mark.parametrize("preset", mostly_slow(preset_names(), preset_names()[0]))


@every_preset
@every_model
def test_measured_model_plans_with_preset(model: str, preset: str, tmp_path: Path) -> None:
    planned = pipeline.plan_file(workload(tmp_path, model, preset, "launch: {engine: any}"))
    assert planned.plan.groups
    for group in planned.plan.groups:
        assert group.profile.error is not None
        assert group.profile.slower_by > 1.0
        # A plan of fitted profiles of this traffic is one of laws that were continued.
        assert (group.profile.kind is ProfileKind.FITTED) == bool(group.profile.continued_from)
        assert can_launch(group.engine, group.layout)


@every_preset
@every_model
def test_measured_model_plans_on_its_runs_alone(model: str, preset: str, tmp_path: Path) -> None:
    fitted_only = ("launch: {engine: any}", "constraints: {min_profile_kind: fitted}")
    path = workload(tmp_path, model, preset, *fitted_only)
    if (model, preset) in TOO_LONG:
        with pytest.raises(InfeasibleError, match=r"outside_profile: [0-9]+ output tokens"):
            pipeline.plan_file(path)
        return
    groups = pipeline.plan_file(path).plan.groups
    assert {group.profile.kind for group in groups} == {ProfileKind.FITTED}


def test_all_eleven_models_are_tested() -> None:
    assert len(MODELS) == 11
    assert all(model in known_models() for model in MODELS)
    assert {key.engine for key in FITTED if can_launch(key.engine, key.layout)} == set(ENGINES)


@pytest.mark.parametrize(("of_config", "is_warned"), [(8192, True), (32768, False), (None, False)])
def test_a_plan_says_when_requests_are_longer_than_the_model_takes(
    tmp_path: Path, of_config: int | None, *, is_warned: bool
) -> None:
    """Engines do not start with more than max_position_embeddings."""
    config = {
        "model_type": "llama",
        "num_hidden_layers": 12,
        "hidden_size": 1536,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "intermediate_size": 4096,
        "vocab_size": 32000,
        "torch_dtype": "bfloat16",
        **({} if of_config is None else {"max_position_embeddings": of_config}),
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    path = tmp_path / "workload.yaml"
    path.write_text(
        "version: 1\nname: small\nmodel: {id: acme/small, config: config.json}\nslo: {tpot_ms: 40, ttft_ms: 2000}\n"
        "traffic: {request_rate: 4, preset: azure-conversation-2023}\n"
        "candidates: {clouds: [gcp], accelerators: [L4]}\n",
        encoding="utf-8",
    )
    warnings = [text for text in pipeline.plan_file(path).plan.warnings if "do not start acme/small with" in text]
    assert len(warnings) == is_warned
    if is_warned:
        assert "18,000 tokens" in warnings[0]
        assert "model.max_model_len: 8192" in warnings[0]
