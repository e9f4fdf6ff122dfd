"""Engines and layouts: what is planned is what the launch files start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sky_melange import pipeline
from sky_melange.domain.engine import ENGINES, version_gap
from sky_melange.domain.plan import LEAST_DISK_GB, Plan, ReplicaGroup
from sky_melange.domain.workload import Model
from sky_melange.errors import InfeasibleError, InputError, MissingDataError
from sky_melange.pipeline.profiling import launched_groups
from sky_melange.profiles import bundled
from sky_melange.profiles.profile_json import profile_text, read_profile

MIXTURE, DENSE = "Qwen/Qwen3-235B-A22B-FP8", "meta-llama/Llama-3.1-8B-Instruct"
RUNS_ALONE = "constraints: {min_profile_kind: fitted}"


def workload(tmp_path: Path, model: str, *more: str) -> Path:
    path = tmp_path / "workload.yaml"
    path.write_text(
        f"version: 1\nname: chat\nmodel: {{id: {model}}}\nslo: {{tpot_ms: 60, attainment: mean}}\n"
        "traffic:\n  request_rate: 6\n"
        "  histogram: {source: t, input_tokens: [2000], output_tokens: [1000], weights: [[1]]}\n"
        + "".join(f"{line}\n" for line in more)
    )
    return path


def planned(tmp_path: Path, model: str, engine: str, *more: str) -> Plan:
    return pipeline.plan_file(workload(tmp_path, model, f"launch: {{engine: {engine}}}", *more)).plan


@pytest.fixture(scope="module")
def a_group(tmp_path_factory: pytest.TempPathFactory) -> ReplicaGroup:
    return planned(tmp_path_factory.mktemp("plan"), MIXTURE, "vllm", RUNS_ALONE).groups[0]


def test_any_engine_is_the_cheaper_one(tmp_path: Path) -> None:
    costs = {engine: planned(tmp_path, MIXTURE, engine, RUNS_ALONE).cost for engine in (*ENGINES, "any")}
    totals = {engine: cost.total_usd_per_hour for engine, cost in costs.items()}
    assert totals["any"] <= min(totals["vllm"], totals["sglang"]) + 1e-9


@pytest.mark.parametrize(
    ("model", "change", "runs_apart"),
    [
        (DENSE, {}, False),
        (MIXTURE, {}, True),
        (MIXTURE, {"replicas_per_instance": 1}, False),
        (MIXTURE, {"engine": "sglang"}, False),
        (MIXTURE, {"engine": "sglang", "layout": "dp-ep"}, True),
        ("nobody/knows-this", {}, True),
    ],
)
def test_replicas_are_processes_of_their_own_where_ranks_would_share_experts(
    a_group: ReplicaGroup, model: str, change: dict[str, object], runs_apart: bool
) -> None:
    group = replace(a_group, **({"replicas_per_instance": 2, "tensor_parallel": 4} | change))
    (found,) = launched_groups([group], Model(id=model, dtype="fp8"))
    assert found.runs_apart == runs_apart


def test_the_disk_holds_the_checkpoint(a_group: ReplicaGroup) -> None:
    def disk_gb(model: str, dtype: str, quantization: str | None) -> int:
        return launched_groups([a_group], Model(id=model, dtype=dtype, quantization=quantization))[0].disk_gb

    assert disk_gb(DENSE, "bfloat16", None) == LEAST_DISK_GB
    assert disk_gb("nobody/knows-this", "bfloat16", None) == LEAST_DISK_GB
    assert disk_gb("moonshotai/Kimi-K2.5", "int4", "compressed-tensors") > 595
    assert disk_gb("deepseek-ai/DeepSeek-R1", "fp8", "fp8") > 690
    # What is made of 16 bits while loading is stored in 16 bits.
    assert disk_gb("zai-org/GLM-5", "fp8", None) > 1400


def test_each_rank_of_data_parallel_attention_must_hold_the_context(tmp_path: Path) -> None:
    """A request lives in one rank: a quarter of what the replica of 4 holds."""
    (entry,) = [
        e
        for e in bundled.entries()
        if e.key.model == MINIMAX and e.file.endswith("H100-tp4-dp-ep-fp8-vllm-fitted.json")
    ]
    held = bundled.read(entry).kv_cache_tokens
    assert held is not None
    own = workload(tmp_path, MINIMAX, RUNS_ALONE, "candidates: {accelerators: [H100]}")
    text = own.read_text()
    found = pipeline.plan_file(own)
    of_ranks = [c for c in found.candidates if c.profile.key.layout == "dp-ep"]
    assert of_ranks
    assert all(c.profile.key.ranks == 4 for c in of_ranks)
    own.write_text(text.replace(f"id: {MINIMAX}", f"id: {MINIMAX}, max_model_len: {held // 2}"))
    candidates = pipeline.plan_file(own).candidates
    skipped = {
        c.capacities[0].detail
        for c in candidates
        if c.profile.key.layout == "dp-ep" and hasattr(c.capacities[0], "detail")
    }
    assert [detail.partition(" holds")[0] for detail in skipped] == ["the KV cache of each of its 4 ranks"]


MINIMAX = "MiniMaxAI/MiniMax-M2.5"


def test_a_plan_says_which_other_engine_was_measured(tmp_path: Path) -> None:
    plan = planned(tmp_path, "deepseek-ai/DeepSeek-R1", "vllm", "candidates: {accelerators: [H200]}")
    said = [warning for warning in plan.warnings if "was measured" in warning]
    assert len(said) == 2
    assert "write `launch.engine: sglang`, or `any`" in said[0]
    assert "TensorRT-LLM was measured, for which no launch files are written" in said[1]
    assert not any(
        "was measured" in warning for warning in planned(tmp_path, "deepseek-ai/DeepSeek-R1", "any").warnings
    )


def test_a_model_of_another_engine_alone_is_refused_with_that_engine(tmp_path: Path) -> None:
    def refusal(model: str, dtype: str) -> str:
        with pytest.raises(MissingDataError) as caught:
            planned(tmp_path, f"{model}, dtype: {dtype}", "vllm", "profiles: {estimate: false}")
        return str(caught.value)

    assert "There are profiles of sglang: write `launch.engine: sglang`, or `any`." in refusal("zai-org/GLM-5", "fp8")
    of_tensorrt = refusal("meta-llama/Llama-3.1-8B-Instruct", "float16")
    assert "trtllm bfloat16 (4)" in of_tensorrt


def test_profiles_that_cannot_be_launched_are_refused_by_name(tmp_path: Path) -> None:
    (entry,) = [e for e in bundled.entries() if e.file == "minimax-m2.5/B200-tp2-ep-fp8-vllm-fitted.json"]
    profile = bundled.read(entry)
    odd = replace(profile, key=replace(profile.key, layout="pp"))
    (tmp_path / "own.json").write_text(profile_text(odd))
    assert read_profile(tmp_path / "own.json").key == odd.key
    with pytest.raises(InputError, match="one of dp-ep, ep"):
        pipeline.plan_file(workload(tmp_path, MINIMAX, "profiles: {files: [own.json]}"))


@pytest.mark.parametrize(
    ("engine", "profiled", "says"),
    [
        ("vllm", "0.33.0", None),
        ("vllm", "any", None),
        ("vllm", "0.24.0", "of 0.24.0, 9 minor versions earlier"),
        ("vllm", "0.34.1", "of 0.34.1, 1 minor version later"),
        ("sglang", "v0.5.10.post1", "of v0.5.10.post1, 13 patch versions earlier"),
        ("sglang", "nightly-dev", "of nightly-dev, which cannot be compared"),
    ],
)
def test_versions_are_compared(engine: str, profiled: str, says: str | None) -> None:
    assert version_gap(engine, profiled) == says


@pytest.mark.parametrize(
    ("model", "launch", "secrets"),
    [
        (DENSE, "", ("HF_TOKEN",)),
        ("google/gemma-3-4b-it", "", ("HF_TOKEN",)),
        (DENSE, "launch: {secrets: []}", ()),
        (DENSE, "launch: {secrets: [OTHER]}", ("OTHER",)),
        ("Qwen/Qwen3-8B", "", ()),
        ("google/gemma-4-31B-it", "", ()),
        ("unsloth/Meta-Llama-3.1-8B-Instruct", "", ()),
    ],
)
def test_gated_models_are_launched_with_a_token_unless_the_workload_says_otherwise(
    tmp_path: Path, model: str, launch: str, secrets: tuple[str, ...]
) -> None:
    assert pipeline.read(workload(tmp_path, model, launch)).launch.secrets == secrets


@pytest.mark.parametrize(
    ("launch", "words"),
    [("", "HF_TOKEN must be set at launch"), ("launch: {secrets: [OTHER]}", "launch.secrets lacks HF_TOKEN")],
)
def test_a_plan_warns_of_gated_models(tmp_path: Path, launch: str, words: str) -> None:
    (said,) = [text for text in pipeline.plan_file(workload(tmp_path, DENSE, launch)).plan.warnings if "gated" in text]
    assert said.startswith(f"Launch: {DENSE} is gated: accept its licence at https://huggingface.co/{DENSE}; {words}")


def test_a_plan_warns_of_code_that_nobody_allowed(tmp_path: Path) -> None:
    model = "moonshotai/Kimi-K2.5"

    def said(launch: str) -> list[str]:
        plan = pipeline.plan_file(workload(tmp_path, model, launch)).plan
        return [text for text in plan.warnings if "trust_remote_code" in text]

    assert len(said("")) == 1
    assert said("launch: {trust_remote_code: true}") == []


def test_sixteen_bits_that_become_fp8_must_fit_where_the_engine_loads_them_whole(tmp_path: Path) -> None:
    """1,488 GB of GLM-5 do not fit 8 × H200, which hold its checkpoint in fp8 well."""
    named = "candidates: {accelerators: [H200, B300]}"
    path = workload(tmp_path, "zai-org/GLM-5, dtype: fp8", "launch: {engine: sglang}", RUNS_ALONE, named)
    plan = pipeline.plan_file(path).plan
    assert {group.accelerator for group in plan.groups} == {"B300"}
    (said,) = [text for text in plan.warnings if "Not considered" in text]
    assert said.startswith("Not considered: 8 × H200. SGLang loads the 16-bit weights of zai-org/GLM-5 (1,48")
    own = workload(tmp_path, "zai-org/GLM-5-FP8", "launch: {engine: sglang}", RUNS_ALONE, named)
    assert {group.accelerator for group in pipeline.plan_file(own).plan.groups} == {"H200"}
    alone = "candidates: {accelerators: [H200]}"
    path = workload(tmp_path, "zai-org/GLM-5, dtype: fp8", "launch: {engine: sglang}", RUNS_ALONE, alone)
    with pytest.raises(InfeasibleError, match="before it quantises them, and may fill"):
        pipeline.plan_file(path)


def test_a_machine_without_the_memory_to_load_is_no_candidate(tmp_path: Path) -> None:
    path = workload(tmp_path, "Qwen/Qwen3-8B", "candidates: {accelerators: [L40S]}")
    book = pipeline.embedded_book(pipeline.read(path))
    one = next(offer for offer in book.offers if offer.accelerator == "L40S" and offer.accelerators_per_instance == 1)
    offers = [
        replace(one, cloud="aws", instance_type=f"m{gib}", memory_gib=gib, use_spot=False) for gib in (8.0, 16.0, None)
    ]
    beside = [offer for offer in book.offers if not offer.accelerators_per_instance]
    found = pipeline.plan_file(path, book_of=lambda _: replace(book, offers=(*offers, *beside)))
    assert {candidate.offer.memory_gib for candidate in found.candidates} == {16.0, None}
    assert any("less memory than the 13 GiB" in each.reason for each in found.rejected)
    only = pipeline.plan_file(path, book_of=lambda _: replace(book, offers=(offers[-1], *beside)))
    (said,) = [text for text in only.plan.warnings if "memory" in text and "Launch" in text]
    assert said.endswith("(13 GiB).")


def planned_at(tmp_path: Path, dtype: str, *more: str, is_explained: bool = False) -> pipeline.Planned:
    named = more or ("candidates: {accelerators: [H100], clouds: [aws, lambda]}",)
    path = workload(tmp_path, f"Qwen/Qwen3-32B, dtype: {dtype}", *named)
    return pipeline.plan_file(path, is_explained=is_explained)


@pytest.mark.parametrize("choice", ["[bfloat16, fp8]", "[fp8, bfloat16]", "any"])
def test_the_cheapest_precision_is_planned_and_the_others_are_priced(tmp_path: Path, choice: str) -> None:
    alone = {name: planned_at(tmp_path, name).plan for name in ("bfloat16", "fp8")}
    costs = {name: plan.cost.total_usd_per_hour for name, plan in alone.items()}
    assert costs["fp8"] < costs["bfloat16"]
    found = planned_at(tmp_path, choice, is_explained=choice == "any")
    assert found.plan.groups == alone["fp8"].groups
    assert (found.workload.model.dtype, set(found.workload.model.dtypes)) == ("fp8", {"bfloat16", "fp8"})
    said = found.plan.assumptions[0]
    assert f"{costs['bfloat16']:.2f} USD/h with bfloat16" in said
    assert found.plan.explanation is None or found.plan.explanation.other_dtypes == (said,)
    assert (found.plan.explanation is None) == (choice != "any")


def test_each_precision_has_its_checkpoint(tmp_path: Path) -> None:
    models = "[bfloat16, fp4], checkpoints: {fp4: nvidia/Qwen3-32B-NVFP4}"
    found = planned_at(tmp_path, models, "candidates: {accelerators: [B200]}")
    assert (found.workload.model.id, found.workload.model.dtype) == ("nvidia/Qwen3-32B-NVFP4", "fp4")
    path = tmp_path / "workload.yaml"
    assert pipeline.read(path).model.id == "Qwen/Qwen3-32B"
    assert pipeline.read(path, dtype="fp4").model == found.workload.model


@pytest.mark.parametrize("choice", ["[bfloat16, fp4]", "[fp8, int4]"])
def test_a_precision_that_no_checkpoint_has_is_refused(tmp_path: Path, choice: str) -> None:
    with pytest.raises(InputError, match=r"model\.dtype: the checkpoint has bfloat16 weights"):
        planned_at(tmp_path, choice)


def test_where_no_precision_has_a_plan_each_says_why(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="With fp8: "):
        planned_at(tmp_path, "any", "constraints: {max_accelerators: {H100: 0}}", "candidates: {accelerators: [H100]}")
