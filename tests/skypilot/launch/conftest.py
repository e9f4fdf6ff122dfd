"""Plan folders on disk, and launches of them that take no time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.render import render_files
from sky_melange.skypilot.launch.launch import Launch
from sky_melange.skypilot.launch.ready import Patience
from sky_melange.skypilot.launch.record import read_record
from sky_melange.skypilot.launch.up import bring_up, planned_steps

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "router"))


@dataclass
class Bench:
    """One plan folder. `said` is the progress that was shown."""

    folder: Path
    said: list[str] = field(default_factory=list)
    clock_s: float = 0.0

    def launch(self, plan: Plan, workload: Workload) -> Launch:
        files = render_files(plan, workload)
        self.folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text, encoding="utf-8")
        return Launch(
            plan=plan,
            workload=workload,
            folder=self.folder,
            files=files,
            record=read_record(self.folder, plan.name),
            secrets={"HF_TOKEN": "hf_secret"},
            say=self.said.append,
        )

    def up(self, plan: Plan, workload: Workload, cloud: Any, **options: Any) -> dict[str, str]:
        launch = self.launch(plan, workload)
        return bring_up(launch, cloud, planned_steps(launch, cloud, **options), self.patience())

    def patience(self) -> Patience:
        def sleep(seconds: float) -> None:
            self.clock_s += seconds

        return Patience(timeout_s=600.0, poll_s=10.0, now_s=lambda: self.clock_s, sleep=sleep)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "plan")


@pytest.fixture
def any_plan() -> Callable[..., Plan]:
    import router_plans

    return router_plans.plan


@pytest.fixture
def any_workload() -> Callable[..., Workload]:
    import router_plans

    return router_plans.workload
