"""`up`, `status` and `down` of a fleet, with a fake SkyPilot behind them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_cloud import FakeCloud, stand_in

from sky_melange.cli import cli


def run(*arguments: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def test_up_starts_every_plan_of_a_fleet_and_down_ends_them(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    for name in ("chat", "talk"):
        (tmp_path / f"{name}.yaml").write_text(text.replace("name: chat", f"name: {name}"), encoding="utf-8")
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("version: 1\nfleet: {name: both, workloads: [chat.yaml, talk.yaml]}\n", encoding="utf-8")
    out = tmp_path / "out"
    assert run("plan", fleet, "--out", out, "--offline").exit_code == 0
    names = [
        group["name"]
        for member in ("chat", "talk")
        for group in json.loads((out / member / "plan.json").read_text(encoding="utf-8"))["groups"]
    ]
    assert any(name.startswith("talk-") for name in names)

    fake = FakeCloud()
    fake.replicas = dict.fromkeys(names, 100)
    stand_in(monkeypatch, fake)
    started = run("up", out, "--yes", "--offline")
    assert started.exit_code == 0, started.stderr
    assert started.stdout.count("ROUTER_ENDPOINT=") == 2
    shown = json.loads(run("status", out, "--format", "json").stdout)
    assert {row["name"] for rows in shown["plans"].values() for row in rows if row["kind"] == "service"} == set(names)
    assert run("down", out, "--yes").exit_code == 0
    assert not any((out / member / "launch.json").exists() for member in ("chat", "talk"))
