"""Workloads and fleets on disk, small enough to be planned in a second."""

from __future__ import annotations

from pathlib import Path

WORKLOAD = """
version: 1
name: {name}
model: {{id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16, max_model_len: 17000}}
slo: {{tpot_ms: 40, ttft_ms: 2000, attainment: {attainment}}}
traffic: {{request_rate: {rate}, preset: {preset}}}
candidates:
  accelerators: [{accelerators}]
  clouds: [aws, lambda]
  regions: {{aws: [us-east-1], lambda: [us-east-1]}}
profiles: {{confidence: 0.5}}
routing: input_aware
constraints: {{{constraints}}}
{more}
"""


def workload(folder: Path, name: str, *, rate: float = 8, constraints: str = "", **others: str) -> str:
    preset, attainment = others.get("preset", "azure-conversation-2023"), others.get("attainment", "mean")
    text = WORKLOAD.format(
        name=name,
        rate=rate,
        constraints=constraints,
        preset=preset,
        attainment=attainment,
        accelerators=others.get("accelerators", "L40S, A100-80GB, H100"),
        more=others.get("more", ""),
    )
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return f"{name}.yaml"


def fleet(folder: Path, *files: str, more: str = "") -> Path:
    path = folder / "fleet.yaml"
    listed = ", ".join(files)
    path.write_text(f"version: 1\nfleet:\n  name: both\n  workloads: [{listed}]\n{more}", encoding="utf-8")
    return path


SHARING = {"accelerators": "A100-80GB", "more": "launch: {mode: cluster}"}
"""Of workloads that may share machines: AWS and Lambda sell these GPUs by eight alone."""


def sharing_fleet(folder: Path, *, chat: float = 12, talk: float = 8, more: str = "") -> Path:
    """Two workloads that each need a part of a machine."""
    files = [workload(folder, name, rate=rate, **SHARING) for name, rate in (("chat", chat), ("talk", talk))]
    return fleet(folder, *files, more=f"  share_machines: true\n{more}")
