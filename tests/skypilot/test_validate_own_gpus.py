"""SkyPilot's own parser, service check and optimizer read the files of pods on Kubernetes and SSH node pools."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from sky_melange.cli import cli
from sky_melange.plan_file import PlanDocument, read_plan
from sky_melange.skypilot.validate import validate_plan

CONTEXT = "arn:aws:eks:us-east-1:123456789012:cluster/prod"
WORKLOAD = f"""\
version: 1
name: chat
model: {{id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16}}
slo: {{tpot_ms: 40, ttft_ms: 2000, attainment: mean}}
traffic: {{preset: azure-conversation-2023, request_rate: 60}}
candidates:
  clouds: [aws]
  own:
  - {{infra: "k8s/{CONTEXT}", accelerator: H100, per_node: 2, nodes: 1, usd_per_gpu_hour: 0.4, memory_gib: 256}}
  - {{infra: ssh/lab, accelerator: L40S, per_node: 4, nodes: 1, usd_per_gpu_hour: 0.3, vcpus: 64}}
"""


def _planned(folder: Path, text: str) -> PlanDocument:
    (folder / "workload.yaml").write_text(text, encoding="utf-8")
    arguments = ["plan", str(folder / "workload.yaml"), "--offline", "--out", str(folder / "plan")]
    said = CliRunner().invoke(cli, arguments)
    assert said.exit_code == 0, said.output
    return read_plan(folder / "plan")


@pytest.mark.slow
def test_pods_beside_rented_machines(tmp_path: Path) -> None:
    document = _planned(tmp_path, WORKLOAD)
    verdicts = validate_plan(document)
    assert {group.cloud for group in document.plan.groups} == {"aws", "kubernetes", "ssh"}
    assert [verdict.failures for verdict in verdicts] == [()] * 3
    own = next(group for group in document.plan.groups if group.cloud == "kubernetes")
    details = {check.name: check.detail for check in next(v for v in verdicts if v.group == own.name).checks}
    assert details["region"] == f"planned {CONTEXT}, SkyPilot {CONTEXT}"
    assert details["instance_type"] == f"planned {own.instance_type}, SkyPilot {own.instance_type}"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["serve", "cluster"])
def test_pods_alone_and_what_an_edit_breaks(tmp_path: Path, mode: str) -> None:
    text = WORKLOAD.replace("clouds: [aws]", "clouds: none").replace("request_rate: 60", "request_rate: 20")
    document = _planned(tmp_path, f"{text}launch: {{mode: {mode}}}\n")
    assert [verdict.passed for verdict in validate_plan(document)] == [True] * len(document.plan.groups)
    assert len(document.plan.groups) > 1
    for group, edit in zip(
        document.plan.groups, ({"cpus": None, "memory": 33}, {"infra": "k8s/another"}), strict=False
    ):
        path = document.path.parent / group.file
        asked = yaml.safe_load(path.read_text(encoding="utf-8"))
        resources = {key: value for key, value in {**asked["resources"], **edit}.items() if value is not None}
        path.write_text(yaml.safe_dump({**asked, "resources": resources}), encoding="utf-8")
    sized, elsewhere = ({check.name for check in verdict.failures} for verdict in validate_plan(document)[:2])
    assert sized == {"pinned", "instance_type"}
    # SkyPilot refuses a context that does not exist before anything is asked of it.
    assert elsewhere & {"task", "optimizer"}
