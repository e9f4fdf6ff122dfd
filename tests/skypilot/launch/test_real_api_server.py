"""`up`, `status` and `down` against SkyPilot's own API server in local mode, in a home without credentials.

The server takes the launch and refuses it for one reason only: no cloud is enabled.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from sky_melange.prices import load_snapshot
from sky_melange.skypilot.planned import read_planned_launch
from sky_melange.skypilot.seed_catalogs import seed_catalogs

TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Sky:
    home: Path
    port: int

    def melange(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "sky_melange", *arguments)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
        environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
            "HOME": str(self.home),
            "SKY_RUNTIME_DIR": str(self.home),
            "SKYPILOT_API_SERVER_LOCAL_PORT": str(self.port),
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONPATH": os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path),
            "NO_PROXY": "*",
            "HF_TOKEN": "hf_x",
        }
        return subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )


@pytest.fixture(scope="module")
def sky(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sky]:
    """The first command starts the server; here it is ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield Sky(tmp_path_factory.mktemp("home"), port)
    _end_server(port)


@pytest.fixture
def plan_in(sky: Sky, repository: Path, tmp_path: Path) -> Path:
    """A folder to plan in; SkyPilot's catalogs know the plan's machines."""
    text = (repository / "examples" / "quickstart" / "workload.yaml").read_text(encoding="utf-8")
    (tmp_path / "workload.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def _plan(sky: Sky, folder: Path, mode: str) -> Path:
    workload = yaml.safe_load((folder / "workload.yaml").read_text(encoding="utf-8"))
    workload["launch"]["mode"] = mode
    (folder / "workload.yaml").write_text(yaml.safe_dump(workload), encoding="utf-8")
    done = sky.melange("plan", str(folder / "workload.yaml"), "--out", str(folder / "plan"), "--offline")
    assert done.returncode == 0, done.stderr
    groups = read_planned_launch(folder / "plan").groups
    for path, csv in seed_catalogs(groups, load_snapshot().offers).items():
        target = sky.home / ".sky" / "catalogs" / "v8" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(csv, encoding="utf-8")
    return folder / "plan"


@pytest.mark.parametrize("mode", ["cluster", "serve"])
def test_the_launch_is_taken_and_fails_for_want_of_a_cloud_only(sky: Sky, plan_in: Path, mode: str) -> None:
    plan = _plan(sky, plan_in, mode)
    up = sky.melange("up", str(plan), "--yes", "--offline")
    assert up.returncode == 3, up.stderr
    assert up.stdout == ""
    groups = [group.name for group in read_planned_launch(plan).groups]
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


def test_skypilot_takes_the_router_task_as_it_is_emitted(sky: Sky, plan_in: Path) -> None:
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


def _end_server(port: int) -> None:
    """The server on this port and its children, by their ids."""
    listening = [c.pid for c in psutil.net_connections("tcp") if c.laddr.port == port and c.status == "LISTEN"]
    for pid in {pid for pid in listening if pid is not None}:
        with contextlib.suppress(psutil.NoSuchProcess):
            server = psutil.Process(pid)
            family = [*server.children(recursive=True), server]
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(family, timeout=20)
