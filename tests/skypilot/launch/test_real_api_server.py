"""`up`, `status` and `down` against SkyPilot's own API server in local mode, in a home without credentials.

The server takes the launch and refuses it for one reason only: no cloud is enabled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from api_server import ApiServer
from plans_by_hours import by_hours, note_services, scaled, write_folder

from sky_melange.domain.hours import Scaling
from sky_melange.plan_file import read_plan
from sky_melange.prices import load_snapshot
from sky_melange.skypilot.seed_catalogs import offer_of, seed_catalogs


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The first command starts the server; here it is ended."""
    server = ApiServer(home=tmp_path_factory.mktemp("home"), clouds=None)
    yield server
    server.stop()


@pytest.fixture
def plan_in(sky: ApiServer, repository: Path, tmp_path: Path) -> Path:
    """A folder to plan in; SkyPilot's catalogs know the plan's machines."""
    text = (repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    (tmp_path / "workload.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def _plan(sky: ApiServer, folder: Path, mode: str) -> Path:
    workload = yaml.safe_load((folder / "workload.yaml").read_text(encoding="utf-8"))
    workload["launch"]["mode"] = mode
    (folder / "workload.yaml").write_text(yaml.safe_dump(workload), encoding="utf-8")
    done = sky.melange("plan", str(folder / "workload.yaml"), "--out", str(folder / "plan"), "--offline")
    assert done.returncode == 0, done.stderr
    groups = read_plan(folder / "plan").plan.groups
    for path, csv in seed_catalogs([offer_of(group) for group in groups], load_snapshot().offers).items():
        target = sky.home / ".sky" / "catalogs" / "v8" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(csv, encoding="utf-8")
    return folder / "plan"


@pytest.mark.parametrize("mode", ["cluster", "serve"])
def test_the_launch_is_taken_and_fails_for_want_of_a_cloud_only(sky: ApiServer, plan_in: Path, mode: str) -> None:
    plan = _plan(sky, plan_in, mode)
    up = sky.melange("up", str(plan), "--yes", "--offline")
    assert up.returncode == 3, up.stderr
    assert up.stdout == ""
    groups = [group.name for group in read_plan(plan).plan.groups]
    failures = [line for line in up.stderr.splitlines() if line.startswith("  chat-")]
    assert [line.split(":")[0].strip() for line in failures] == groups
    assert all("loud access is not set up" in line for line in failures), up.stderr
    assert "Traceback" not in up.stderr
    started = json.loads((plan / "launch.json").read_text(encoding="utf-8"))["started"]
    assert [(entry["name"], entry["is_launched"]) for entry in started] == [(name, False) for name in groups]

    status = sky.melange("status", str(plan), "--format", "json")
    assert status.returncode == 3, status.stderr
    assert [unit["status"] for unit in json.loads(status.stdout)] == ["not running"] * len(groups)

    down = sky.melange("down", str(plan), "--yes")
    assert down.returncode == 0, down.stderr
    assert not (plan / "launch.json").exists()


def test_scale_asks_skypilot_and_names_services_that_do_not_run(sky: ApiServer, plan_in: Path) -> None:
    document = read_plan(_plan(sky, plan_in, "serve"))
    counts = ((5, 4), (3, 2), (1, 1))
    plan, workload = by_hours(document.plan, counts=counts), scaled(document.workload, Scaling.SCHEDULE)
    folder = write_folder(plan_in / "hours", plan, workload)
    note_services(folder, plan, workload)
    scale = sky.melange("scale", str(folder), "--at", "2026-03-03T03:00", "--format", "json")
    assert scale.returncode == 3, scale.stderr
    problems = [each["problem"] for each in json.loads(scale.stdout)["services"]]
    assert problems == [f"it does not run: run `sky-melange up {folder}`"] * 2
    assert "Traceback" not in scale.stderr


def test_skypilot_takes_the_router_task_as_it_is_emitted(sky: ApiServer, plan_in: Path) -> None:
    plan = _plan(sky, plan_in, "serve")
    script = (
        "import sys; from pathlib import Path; from sky_melange.skypilot.launch.sdk import SkyPilot;"
        "from sky_melange.skypilot.launch.cloud import Task;"
        "folder = Path(sys.argv[1]);"
        "task = SkyPilot()._task(Task(text=(folder / 'router.sky.yaml').read_text(), folder=folder,"
        " envs={'CHAT_H100_ENDPOINT': '10.0.0.1:30001'}));"
        "print(task.name, task.envs['CHAT_H100_ENDPOINT'], list(task.file_mounts.values())[0])"
    )
    done = sky.run("-c", script, str(plan))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["chat-router", "10.0.0.1:30001", str(plan / "router" / "haproxy.cfg")]
