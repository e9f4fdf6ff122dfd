"""A team's fleet from its files to running services and back: chat, code and summaries, nodes of its own, a budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_cloud import FakeCloud, stand_in

from sky_melange.cli import cli

TRAFFIC = {
    "chat": ("azure-conversation-2023", 340, 2000, "aws"),
    "code": ("azure-code-2023", 64, 2000, "lambda"),
    "summaries": ("arxiv-summarization", 12, 5000, "lambda"),
}
WORKLOAD = """version: 1
name: {name}
model: {{id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16, max_model_len: 17000}}
slo: {{tpot_ms: 40, ttft_ms: {ttft_ms}, attainment: 0.99}}
traffic: {{request_rate: {rate}, preset: {preset}}}
candidates:
  accelerators: [L40S, H100, B200]
  clouds: [{cloud}]
  regions: {{{cloud}: [us-east-1]}}
  own:
  - {{infra: k8s/prod, accelerator: H100, per_node: 8, nodes: 2, usd_per_gpu_hour: 0.5, vcpus: 192, memory_gib: 2048}}
profiles: {{confidence: 0.5}}
routing: input_aware
"""
FLEET = """version: 1
fleet:
  name: assistants
  workloads: [chat.yaml, code.yaml, summaries.yaml]
  budget: {usd_per_hour: 90}
"""


def run(*arguments: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


@pytest.mark.slow
def test_from_files_to_services_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (preset, rate, ttft_ms, cloud) in TRAFFIC.items():
        text = WORKLOAD.format(name=name, preset=preset, rate=rate, ttft_ms=ttft_ms, cloud=cloud)
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "fleet.yaml").write_text(FLEET, encoding="utf-8")
    out = tmp_path / "out"
    planned = run("plan", tmp_path / "fleet.yaml", "--out", out, "--offline", "--format", "json")
    assert planned.exit_code == 0, planned.stderr
    fleet = json.loads(planned.stdout)

    groups = {group["name"]: group for plan in fleet["plans"].values() for group in plan["groups"]}
    own = [group for group in groups.values() if group["cloud"] == "kubernetes"]
    assert 0 < sum(group["instances"] * group["accelerators_per_instance"] for group in own) <= 16
    assert {group["cloud"] for group in groups.values()} == {"kubernetes", "aws", "lambda"}
    assert fleet["usd_per_hour"] <= 90
    for name, plan in fleet["plans"].items():
        assert plan["simulated"]["attainment"] >= 0.99, name

    # Another seed than the search has seen.
    told = run("simulate", out, "--seed", "11", "--require", "0.99", "--format", "json")
    assert told.exit_code == 0, told.stderr
    assert all(each["attainment"] >= 0.99 for each in json.loads(told.stdout)["plans"].values())
    accepted = run("validate", out, "--format", "json")
    assert accepted.exit_code == 0, accepted.stdout
    assert run("check", out, "--offline").exit_code == 0

    fake = FakeCloud()
    fake.replicas = {name: group["instances"] * group["replicas_per_instance"] for name, group in groups.items()}
    stand_in(monkeypatch, fake)
    started = run("up", out, "--yes", "--offline")
    assert started.exit_code == 0, started.stderr
    assert set(groups) <= set(fake.running)
    assert run("down", out, "--yes").exit_code == 0
    assert not fake.running
