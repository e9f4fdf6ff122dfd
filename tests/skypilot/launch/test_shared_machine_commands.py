"""`up`, `status`, `down` and `validate` of a fleet whose workloads share a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_cloud import FakeCloud, stand_in
from fleet_files import SHARING, fleet, sharing_fleet, workload

from sky_melange.cli import cli
from sky_melange.domain.digest import json_sha256

NAME = "both-shared-a100-80gb-x8"


def run(*arguments: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    fake = FakeCloud()
    stand_in(monkeypatch, fake)
    return fake


@pytest.fixture
def out(tmp_path: Path) -> Path:
    planned = run("plan", sharing_fleet(tmp_path), "--out", tmp_path / "out", "--offline")
    assert planned.exit_code == 0, planned.stderr
    return tmp_path / "out"


def test_up_launches_the_machine_once_and_down_ends_it_last(out: Path, cloud: FakeCloud) -> None:
    dry = run("up", out, "--dry-run", "--offline")
    assert dry.stdout.startswith(f"shared machines:\nstart   machine  {NAME}  gpu_8x_a100_80gb_sxm4 (8 × A100-80GB)")
    assert cloud.events == []
    started = run("up", out, "--yes", "--offline")
    assert started.exit_code == 0, started.stderr
    assert cloud.verbs() == [("launch", NAME)]
    assert cloud.tasks[NAME].secrets == {"HF_TOKEN": "hf_x"}
    assert "CHAT_A100_80GB_X4_ENDPOINT=10.0.0.1:8000" in started.stdout
    assert (out / "talk" / "endpoints.env").read_text() == "TALK_A100_80GB_X4_ENDPOINT=10.0.0.1:8001\n"
    assert run("up", out, "--yes", "--offline").exit_code == 0
    assert cloud.verbs() == [("launch", NAME)]
    shown = run("status", out)
    assert shown.exit_code == 0
    assert f"{NAME}  cluster  UP  10.0.0.1:8000 10.0.0.1:8001" in shown.stdout
    ended = run("down", out, "--yes")
    assert ended.exit_code == 0, ended.stderr
    assert cloud.running == {}
    assert not (out / "launch.json").exists()


def test_status_sees_the_engine_that_has_ended(out: Path, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("up", out, "--yes", "--offline").exit_code == 0
    monkeypatch.setattr(cloud, "answers", lambda address: not address.endswith(":8001"))
    shown = run("status", out, "--format", "json")
    assert shown.exit_code == 3
    (row,) = json.loads(shown.stdout)["machines"]
    assert row["status"] == "UP, no engine answers at 10.0.0.1:8001"
    assert not row["is_ready"]


def test_a_plan_is_not_launched_without_its_machine(out: Path, cloud: FakeCloud) -> None:
    refused = run("up", out / "chat", "--yes", "--offline")
    assert refused.exit_code == 2
    assert f"`sky-melange up {out}` first" in refused.stderr
    cloud.broken = {NAME}
    failed = run("up", out, "--yes", "--offline")
    assert failed.exit_code == 3
    assert "no capacity" in failed.stderr
    assert "chat:" not in failed.stdout
    # What was asked for is in the record, and a second try resumes.
    cloud.broken = set()
    assert run("up", out, "--yes", "--offline").exit_code == 0


def test_a_new_plan_moves_the_engines_before_the_old_machine_goes(out: Path, cloud: FakeCloud, tmp_path: Path) -> None:
    assert run("up", out, "--yes", "--offline").exit_code == 0
    again = run("plan", sharing_fleet(tmp_path, chat=4, talk=3), "--out", out, "--offline")
    assert again.exit_code == 0, again.stderr
    assert run("up", out, "--yes", "--offline").exit_code == 0
    assert [event for event in cloud.verbs() if event[1].startswith(NAME)] == [
        ("launch", NAME),
        ("launch", f"{NAME}-v2"),
        ("down", NAME),
    ]
    assert run("down", out, "--yes").exit_code == 0
    assert cloud.running == {}


def test_a_fleet_that_shares_no_more_ends_its_machine(out: Path, cloud: FakeCloud, tmp_path: Path) -> None:
    assert run("up", out, "--yes", "--offline").exit_code == 0
    files = [workload(tmp_path, name, rate=rate, **SHARING) for name, rate in (("chat", 12), ("talk", 8))]
    assert run("plan", fleet(tmp_path, *files), "--out", out, "--offline").exit_code == 0
    assert not list(out.glob("*.sky.yaml"))
    assert run("up", out, "--yes", "--offline").exit_code == 0
    assert NAME not in cloud.running
    assert len(cloud.running) == 2


def test_an_edited_launch_file_fails_the_check(out: Path) -> None:
    assert run("check", out, "--offline").exit_code == 0
    path = out / f"{NAME}.sky.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("CUDA_VISIBLE_DEVICES=0,1,2,3", "CUDA_VISIBLE_DEVICES=4,5,6,7"), encoding="utf-8")
    failed = run("check", out, "--offline")
    assert failed.exit_code == 3
    assert "fleet-files" in failed.stderr
    assert run("up", out, "--yes", "--offline").exit_code == 3
    path.unlink()
    assert "is missing" in run("check", out, "--offline").stderr


@pytest.mark.slow
def test_skypilot_reads_the_launch_file_as_one_machine_at_its_price(out: Path) -> None:
    found = run("validate", out, "--format", "json")
    assert found.exit_code == 0, found.stderr
    (verdict,) = json.loads(found.stdout)["machines"]
    checks = {check["name"]: check for check in verdict["checks"]}
    assert all(check["passed"] for check in checks.values())
    assert checks["price"]["detail"] == "planned 22.3200, SkyPilot 22.3200 USD/h per instance"
    assert checks["accelerators"]["detail"] == "planned A100-80GB:8, SkyPilot A100-80GB:8"
    path = out / f"{NAME}.sky.yaml"
    text = path.read_text(encoding="utf-8")
    for number in (0, 1):
        parts = text.split("--tensor-parallel-size")
        parts[number : number + 2] = ["--tensor-size".join(parts[number : number + 2])]
        path.write_text("--tensor-parallel-size".join(parts), encoding="utf-8")
        failed = run("validate", out)
        assert failed.exit_code == 3
        assert "'--tensor-size' is not a flag of vllm" in failed.stderr


@pytest.mark.slow
def test_two_engines_on_one_gpu_are_seen_by_validate(out: Path) -> None:
    path = out / f"{NAME}.sky.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("DEVICES=4,5,6,7", "DEVICES=0,5,6,7"), encoding="utf-8")
    failed = run("validate", out)
    assert failed.exit_code == 3
    assert "port 8001 (talk-a100-80gb-x4): planned GPUs 4,5,6,7, the file has 0,5,6,7" in failed.stderr
    assert "2 engines start on GPU 0" in failed.stderr


def test_a_bill_of_the_fleet_names_the_workloads_on_shared_machines(out: Path, repository: Path) -> None:
    bill = repository / "examples" / "bills" / "bill.csv"
    done = run("check", out, "--billed", bill, "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert {line["workload"] for line in json.loads(done.stdout)["lines"]} == {"chat", "talk"}
    assert run("check", out / "chat", "--billed", bill).exit_code == 2


@pytest.mark.parametrize(
    ("machine", "engine", "said"),
    [
        ({"file": "../both-shared-x.sky.yaml"}, {}, "is no name of the launch file of"),
        ({"name": "x; rm -rf /"}, {}, "is no name of the launch file of"),
        ({}, {"group": "chat-l4"}, "has engines that are no part of a plan"),
        ({"engines": []}, {}, "has engines that are no part of a plan, or none"),
    ],
)
def test_a_fleet_that_somebody_edited_is_refused(
    out: Path, machine: dict[str, object], engine: dict[str, object], said: str
) -> None:
    path = out / "fleet.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["machines"][0]["engines"][0] |= engine
    document["machines"][0] |= machine
    del document["fleet_plan_sha256"]
    document["fleet_plan_sha256"] = json_sha256(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    for command in (["check", "--offline"], ["validate"], ["up", "--dry-run", "--offline"], ["status"], ["down"]):
        refused = run(command[0], out, *command[1:])
        assert refused.exit_code == 2, command
        assert said in refused.stderr


def test_engines_on_the_same_gpus_fail_the_check(out: Path) -> None:
    path = out / "fleet.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    first, second = document["machines"][0]["engines"]
    second["gpus"] = first["gpus"]
    del document["fleet_plan_sha256"]
    document["fleet_plan_sha256"] = json_sha256(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    failed = run("check", out, "--offline")
    assert failed.exit_code == 3
    assert "have the GPUs [0, 0, 1, 1, 2, 2, 3, 3], it has 8" in failed.stderr
