"""`plan`, `up` and `down` are killed at any moment, and nothing that runs is lost from sight."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from property_examples import is_complete

from sky_melange.cli import plan_folder
from sky_melange.errors import InputError

KILLS = 100 if is_complete() else 20


@dataclass
class Victim:
    """A process that runs commands, and what they started."""

    process: subprocess.Popen[str]
    folder: Path

    @property
    def running(self) -> set[str]:
        return {path.name for path in (self.folder / "cloud").iterdir() if not path.name.startswith(".")}

    @property
    def log(self) -> str:
        return (self.folder / "last.log").read_text(encoding="utf-8")

    def run(self, *arguments: str, kill_after_s: float | None = None) -> int:
        """The exit code; -9 for one that was killed in time."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([kill_after_s, arguments]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture
def victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> Iterator[Victim]:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setenv("VLLM_API_KEY", "key_x")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(Path(entry).resolve()) for entry in sys.path))
    (tmp_path / "cloud").mkdir()
    planned = repository / "examples" / "means" / "workload.yaml"
    command = [sys.executable, *map(str, (Path(__file__).with_name("killed.py"), tmp_path / "cloud", planned))]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", cwd=tmp_path
    ) as process:
        yield Victim(process, tmp_path)
        assert process.stdin is not None
        process.stdin.close()


def workloads(folder: Path, repository: Path) -> list[str]:
    """The same workload at three rates, whose plans differ in their groups."""
    text = (repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    assert "request_rate: 32" in text
    paths = []
    for rate in (32, 9, 60):
        path = folder / f"at-{rate}.yaml"
        path.write_text(text.replace("request_rate: 32", f"request_rate: {rate}"), encoding="utf-8")
        paths.append(str(path))
    return paths


def test_whatever_runs_is_known_after_a_kill_at_any_moment(victim: Victim, repository: Path) -> None:
    chosen = random.Random(17)  # noqa: S311 - the same moments each time
    files = workloads(victim.folder, repository)
    commands = {
        "plan": lambda: ("plan", chosen.choice(files), "--out", "plan", "--offline"),
        "up": lambda: ("up", "plan", "--yes", "--offline"),
        "down": lambda: ("down", "plan", "--yes"),
    }
    seconds: dict[str, float] = {}
    for name, command in commands.items():
        started = time.monotonic()
        assert victim.run(*command()) == 0, victim.log
        seconds[name] = time.monotonic() - started
    killed = 0
    for number in range(KILLS):
        name = ("plan", "up", "plan", "up", "down")[number % 5]
        code = victim.run(*commands[name](), kill_after_s=chosen.uniform(0, seconds[name]))
        assert code in (0, -signal.SIGKILL), f"{name} after {number} kills: {victim.log}"
        killed += code != 0
        record = victim.folder / "plan" / "launch.json"
        plan_folder.recover(record.parent)
        known = set()
        if record.exists():
            known = {entry["name"] for entry in json.loads(record.read_text(encoding="utf-8"))["started"]}
        assert victim.running <= known, f"{name} after {number} kills"
    assert killed > KILLS / 3
    assert victim.run("status", "plan") in (0, 3), victim.log
    assert victim.run("down", "plan", "--yes") == 0, victim.log
    assert victim.running == set()


def test_a_folder_that_was_moved_aside_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system cannot swap two folders in one step."""
    monkeypatch.setattr(plan_folder, "_exchange", lambda _one, _other: False)
    folder = tmp_path / "plan"
    plan_folder.write_plan_folder(folder, "chat", {"plan.json": '{"name": "chat", "groups": []}'})
    (folder / "launch.json").write_text('{"plan": "chat"}', encoding="utf-8")
    rename = Path.rename

    def stop_after(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        raise KeyboardInterrupt if self == folder else AssertionError(moved)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", stop_after)
        with pytest.raises(KeyboardInterrupt):
            plan_folder.write_plan_folder(folder, "chat", {"plan.json": '{"name": "chat", "groups": [1]}'})
    assert not folder.exists()
    plan_folder.recover(folder)
    assert (folder / "launch.json").read_text(encoding="utf-8") == '{"plan": "chat"}'
    plan_folder.write_plan_folder(folder, "chat", {"plan.json": '{"name": "chat", "groups": []}'})
    assert (folder / "launch.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


def test_a_plan_of_another_name_does_not_replace_one_that_runs(tmp_path: Path) -> None:
    folder = tmp_path / "plan"
    plan_folder.write_plan_folder(folder, "chat", {"plan.json": '{"name": "chat", "groups": []}'})
    (folder / "launch.json").write_text('{"plan": "chat"}', encoding="utf-8")
    with pytest.raises(InputError, match="a plan of another name was launched from here"):
        plan_folder.write_plan_folder(folder, "talk", {"plan.json": '{"name": "talk", "groups": []}'})
    assert "chat" in (folder / "plan.json").read_text(encoding="utf-8")
