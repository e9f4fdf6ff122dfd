"""A fleet of two workloads, as the plugin's routes take it and answer it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fleet_files import fleet, workload

from sky_melange.skypilot.plugin.jobs import run_job

QUOTAS = "  budget: {usd_per_hour: 60}\n  router: one\n  constraints: {max_accelerators: {H100: 1}}\n"


def fleet_request(folder: Path) -> dict[str, Any]:
    """The body of `POST plans`: two models behind one router, with a quota and a budget."""
    names = [workload(folder, "chat", rate=12), workload(folder, "talk", rate=8)]
    path = folder / "talk.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("meta-llama/Llama-3.1-8B", "Qwen/Qwen2.5-7B"), "utf-8")
    return {
        "name": "assistants",
        "fleet_file": fleet(folder, *names, more=QUOTAS).read_text(encoding="utf-8"),
        "workloads": {name: (folder / name).read_text(encoding="utf-8") for name in names},
    }


def described(request: dict[str, Any]) -> dict[str, Any]:
    """What a worker makes of it."""
    answer: dict[str, Any] = json.loads(run_job({"kind": "describe", "offline": True}, json.dumps(request).encode()))
    return answer
