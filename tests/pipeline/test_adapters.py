"""LoRA adapters that share the replicas of one base model: what they cost, what is launched, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.domain.adapter import Adapter
from sky_melange.domain.workload import Model
from sky_melange.errors import InfeasibleError, InputError
from sky_melange.profiles.loading import adapters_bytes
from sky_melange.render.engine_command import engine_arguments

WORKLOAD = """version: 1
name: support
model: {{id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16, max_model_len: 17000{adapters}}}
slo: {{tpot_ms: {tpot_ms}, ttft_ms: {ttft_ms}, attainment: mean}}
traffic: {{request_rate: {rate}, preset: azure-conversation-2023}}
candidates:
  accelerators: [L40S, H100]
  clouds: [aws, lambda]
  regions: {{aws: [us-east-1], lambda: [us-east-1]}}
launch: {{engine: vllm}}
"""
ADAPTERS = ", adapters: [{id: acme/sql, share: 0.3, rank: 16}, {id: acme/tone, share: 0.2, rank: 48}]"


def workload(folder: Path, adapters: str = "", **others: Any) -> Path:
    values = {"tpot_ms": 60, "ttft_ms": 3000, "rate": 20, **others}
    path = folder / "workload.yaml"
    path.write_text(WORKLOAD.format(adapters=adapters, **values), encoding="utf-8")
    return path


def run(*arguments: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def test_slower_engines_are_more_traffic_under_tighter_targets(tmp_path: Path) -> None:
    """Steps 1.5 times as long meet a target where the base meets two thirds of it, and are two thirds as many."""
    with_adapters = pipeline.plan_file(workload(tmp_path, f"{ADAPTERS}, adapter_overhead: 0.5")).plan
    same = pipeline.plan_file(workload(tmp_path, tpot_ms=40, ttft_ms=2000, rate=30)).plan
    assert with_adapters.cost.total_usd_per_hour == pytest.approx(same.cost.total_usd_per_hour)
    assert [group.instances for group in with_adapters.groups] == [group.instances for group in same.groups]
    free = pipeline.plan_file(workload(tmp_path, f"{ADAPTERS}, adapter_overhead: 0")).plan
    assert free.groups == pipeline.plan_file(workload(tmp_path)).plan.groups
    assert free.cost.total_usd_per_hour < with_adapters.cost.total_usd_per_hour


def test_engines_serve_them_and_each_has_its_part_of_the_bill(tmp_path: Path) -> None:
    path = workload(tmp_path, f"{ADAPTERS}, adapter_overhead: 0.5")
    out = tmp_path / "plan"
    done = run("plan", path, "--offline", "--out", out)
    assert done.exit_code == 0, done.stderr
    assert "acme/sql USD" in " ".join(done.stdout.split())
    document = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    assert [(each["id"], each["share"]) for each in document["adapters"][:2]] == [("acme/sql", 0.3), ("acme/tone", 0.2)]
    assert document["adapters"][2]["id"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert sum(each["usd_per_hour"] for each in document["adapters"]) == pytest.approx(
        document["cost"]["total_usd_per_hour"]
    )
    for group in document["groups"]:
        task = yaml.safe_load((out / f"{group['name']}.sky.yaml").read_text(encoding="utf-8"))
        command = " ".join(task["run"].replace("\\\n", " ").split())
        flags = "--enable-lora --max-loras 2 --max-lora-rank 64 --lora-modules"
        assert f"{flags} acme/sql=acme/sql acme/tone=acme/tone" in command
    # Planned again from its own file, it is the same plan.
    assert run("check", out, "--offline", "--max-drift", "0.01").exit_code == 0


def test_sglang_takes_the_base_model_for_one_more(tmp_path: Path) -> None:
    planned = pipeline.plan_file(workload(tmp_path, f"{ADAPTERS}, adapter_overhead: 0.5"))
    group = replace(planned.plan.groups[0], engine="sglang")
    command = " ".join(engine_arguments(group, planned.workload))
    flags = "--enable-lora --max-loras-per-batch 3 --max-lora-rank 64 --lora-paths"
    assert f"{flags} acme/sql=acme/sql acme/tone=acme/tone" in command


def test_litellm_knows_each_by_its_name(tmp_path: Path) -> None:
    path = workload(tmp_path, f"{ADAPTERS}, adapter_overhead: 0.5", rate=60)
    path.write_text(path.read_text() + "router: {kind: litellm}\nconstraints: {max_accelerators: {H100: 1}}\n")
    out = tmp_path / "plan"
    done = run("plan", path, "--offline", "--out", out)
    assert done.exit_code == 0, done.stderr
    listed = yaml.safe_load((out / "router" / "litellm.yaml").read_text(encoding="utf-8"))["model_list"]
    groups = len(json.loads((out / "plan.json").read_text(encoding="utf-8"))["groups"])
    names = ["acme/sql", "acme/tone", "meta-llama/Llama-3.1-8B-Instruct"]
    assert sorted(entry["model_name"] for entry in listed) == sorted(names * groups)
    assert len({entry["model_info"]["id"] for entry in listed}) == len(listed)
    # LiteLLM counts the requests of each name by itself: its share of the group's, and some to spare.
    for group in json.loads((out / "plan.json").read_text(encoding="utf-8"))["groups"]:
        limits = {
            entry["model_name"]: entry["litellm_params"]["max_parallel_requests"]
            for entry in listed
            if entry["model_info"]["sky_melange"]["group"] == group["name"]
        }
        assert max(limits.values()) < group["max_concurrency"] * group["instances"] * group["replicas_per_instance"]
        assert limits["acme/tone"] <= limits["acme/sql"] <= limits["meta-llama/Llama-3.1-8B-Instruct"]


def test_gpus_that_cannot_hold_all_adapters_are_no_candidates(tmp_path: Path) -> None:
    """Llama 3.1 8B: rank · (inputs + outputs) of seven matrices a layer are 2.62 million weights a rank."""
    one = Model(
        id="meta-llama/Llama-3.1-8B-Instruct", dtype="bfloat16", adapters=(Adapter(id="a/b", share=0.1, rank=1),)
    )
    by_hand = 32 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336)) * 2 * 8
    assert adapters_bytes(one) == by_hand
    many = ", ".join(f"{{id: a/b{number}, share: 0.01, rank: 512}}" for number in range(64))
    path = workload(tmp_path, f", adapters: [{many}], adapter_overhead: 0")
    # 172 GB beside 16 GB of weights.
    assert all(group.tensor_parallel >= 4 for group in pipeline.plan_file(path).plan.groups)
    few = workload(tmp_path, f", adapters: [{many}], adapter_overhead: 0")
    few.write_text(few.read_text(encoding="utf-8") + "constraints: {max_accelerators: {H100: 2, L40S: 4}}\n")
    with pytest.raises(InfeasibleError):
        pipeline.plan_file(few)


@pytest.mark.parametrize(
    ("adapters", "told"),
    [
        (ADAPTERS, "adapter_overhead: 0.5"),
        (", adapter_overhead: 0.5", "there are none"),
        (", adapters: [{id: a/b, share: 0.7, rank: 8}, {id: a/c, share: 0.4, rank: 8}]", "add up to 1.1"),
        (", adapters: [{id: a/b, share: 0.1, rank: 8}, {id: a/b, share: 0.2, rank: 8}]", "name each once"),
        (", adapters: [{id: meta-llama/Llama-3.1-8B-Instruct, share: 0.1, rank: 8}]", "the model itself"),
        (", adapters: [{id: a/b, share: 0, rank: 8}]", "share"),
        (", adapters: [{id: a/b, share: 0.1, rank: 513}]", "rank"),
        (", adapters: [{id: '../b', share: 0.1, rank: 8}]", "adapters[0].id"),
        (", adapters: [{id: a/b, rate: 3}]", "adapters[0]"),
        (", adapters: {a/b: 0.1}", "adapters"),
        (", adapters: [{id: a/b, share: 0.7, rank: 8}, {id: a/c, share: 0.30000001, rank: 8}]", "add up to 1.00000001"),
        (", adapters: [a/b]", "adapters[0]"),
    ],
)
def test_mistakes_are_told_by_line(tmp_path: Path, adapters: str, told: str) -> None:
    path = workload(tmp_path, adapters)
    with pytest.raises(InputError) as caught:
        pipeline.plan_file(path)
    (line,) = [str(mistake) for mistake in caught.value.mistakes if told in str(mistake)][:1]
    assert line.startswith(f"{path}:3: model.adapter"), line


def test_flags_that_the_plan_sets_are_refused(tmp_path: Path) -> None:
    path = workload(tmp_path, f"{ADAPTERS}, adapter_overhead: 0.5")
    text = path.read_text(encoding="utf-8").replace("engine: vllm", "engine: vllm, engine_args: [--max-loras=4]")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"write model\.adapters instead"):
        pipeline.plan_file(path)
