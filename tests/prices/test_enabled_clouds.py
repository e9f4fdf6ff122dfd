"""The clouds that are compared where a workload names none: SkyPilot's own list, else the usual ones."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from sky_melange import pipeline
from sky_melange.cli import cli
from sky_melange.domain.workload import CloudsFrom
from sky_melange.plan_file import read_plan
from sky_melange.prices.clouds import enabled_clouds

KEY = "enabled_clouds_default_compute"
WORKLOAD = """\
version: 1
name: chat
model: {id: meta-llama/Llama-3.1-8B-Instruct, dtype: bfloat16}
slo: {tpot_ms: 40, ttft_ms: 2000, attainment: mean}
traffic: {preset: azure-conversation-2023, request_rate: 4}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SKY_MELANGE_SKYPILOT_HOME", str(tmp_path))
    for name in ("SKYPILOT_API_SERVER_ENDPOINT", "SKYPILOT_DB_CONNECTION_URI"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".sky").mkdir()
    return tmp_path


def note(home: Path, lists: dict[str, object], *, journal: str = "wal") -> Path:
    """SkyPilot's file, as it writes it."""
    path = home / ".sky" / "state.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA journal_mode={journal}")
        database.execute("CREATE TABLE IF NOT EXISTS config (key TEXT PRIMARY KEY, value TEXT)")
        rows = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in lists.items()]
        database.executemany("REPLACE INTO config VALUES (?, ?)", rows)
        database.commit()
    return path


def test_the_file_is_skypilots_own(home: Path) -> None:
    """Written by the installed SkyPilot itself."""
    write = (
        "from sky import global_user_state; from sky.clouds import CloudCapability; "
        "global_user_state.set_enabled_clouds(['AWS', 'Lambda', 'Kubernetes'], CloudCapability.COMPUTE, 'default')"
    )
    environment = {**os.environ, "HOME": str(home), "SKY_RUNTIME_DIR": str(home)}
    subprocess.run([sys.executable, "-c", write], env=environment, check=True, capture_output=True, timeout=60)
    assert enabled_clouds() == (("aws", "lambda"), "")


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_skypilots_list_is_read_and_nothing_is_written(home: Path, journal: str) -> None:
    note(home, {KEY: ["GCP", "AWS", "RunPod", "Kubernetes", "SSH", "NoSuchCloud"]}, journal=journal)
    before = {path.name: path.read_bytes() for path in (home / ".sky").iterdir()}
    assert enabled_clouds() == (("aws", "gcp", "runpod"), "")
    assert {path.name: path.read_bytes() for path in (home / ".sky").iterdir()} == before


def test_while_skypilot_writes(home: Path) -> None:
    path = note(home, {KEY: ["AWS"]})
    with closing(sqlite3.connect(path)) as database:
        database.execute("REPLACE INTO config VALUES (?, ?)", (KEY, '["GCP"]'))
        assert enabled_clouds().clouds == ("aws",)
        database.commit()
        assert enabled_clouds().clouds == ("gcp",)


def test_the_usual_workspace_counts(home: Path) -> None:
    note(home, {"enabled_clouds_team_compute": ["OCI"], "enabled_clouds_default_storage": ["AWS"]})
    assert enabled_clouds().clouds == ("oci",)
    note(home, {KEY: ["AWS"]})
    assert enabled_clouds().clouds == ("aws",)


def test_of_two_other_workspaces_none_is_guessed(home: Path) -> None:
    note(home, {"enabled_clouds_a_compute": ["OCI"], "enabled_clouds_b_compute": ["AWS"]})
    assert enabled_clouds() == (None, "")


@pytest.mark.parametrize("name", ["SKYPILOT_API_SERVER_ENDPOINT", "SKYPILOT_DB_CONNECTION_URI"])
def test_a_server_elsewhere_has_its_own_list(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    note(home, {KEY: ["AWS"]})
    monkeypatch.setenv(name, "https://sky.example.com")
    assert enabled_clouds() == (None, "")


@pytest.mark.parametrize(
    "value",
    ["", "{", '"AWS"', '{"a": 1}', "5", "[" * 9_000, '["AWS"' + ', "x"' * 5_000 + "]"],
    ids=lambda v: v[:4] or "e",
)
def test_a_broken_list_is_said_and_not_used(home: Path, value: str) -> None:
    note(home, {KEY: value})
    clouds, problem = enabled_clouds()
    assert clouds is None
    assert problem.startswith("SkyPilot's list of enabled clouds") or not value


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00" + b"\xff" * 5_000, b"no database", b"\x00" * 4096])
def test_a_broken_file_is_said_and_not_used(home: Path, content: bytes) -> None:
    (home / ".sky" / "state.db").write_bytes(content)
    clouds, problem = enabled_clouds()
    assert clouds is None
    assert "cannot be read" in problem


def test_items_that_are_no_names_are_left_out(home: Path) -> None:
    note(home, {KEY: ["AWS", 5, None, ["GCP"], "\x1b[2J"]})
    assert enabled_clouds().clouds == ("aws",)


def test_a_locked_file_does_not_hold_anybody_up(home: Path) -> None:
    path = note(home, {KEY: ["AWS"]}, journal="delete")
    with closing(sqlite3.connect(path)) as database:
        database.execute("BEGIN EXCLUSIVE")
        clouds, problem = enabled_clouds()
    assert clouds == ("aws",) or "cannot be read" in problem


def _plan(folder: Path, more: str = "", *options: str) -> tuple[str, Path]:
    (folder / "workload.yaml").write_text(WORKLOAD + more, encoding="utf-8")
    said = CliRunner().invoke(
        cli, ["plan", str(folder / "workload.yaml"), "--offline", "--out", str(folder / "plan"), "-v", *options]
    )
    assert said.exit_code == 0, said.output
    return " ".join(said.output.split()), folder / "plan"


def test_a_plan_says_which_clouds_it_compared_and_keeps_them(home: Path) -> None:
    note(home, {KEY: ["GCP", "Lambda"]})
    said, plan = _plan(home)
    assert "Clouds: candidates.clouds names none, so gcp, lambda are compared: those that SkyPilot had enabled" in said
    document = read_plan(plan)
    wanted = document.workload.candidates
    assert (wanted.clouds, wanted.clouds_from) == (("gcp", "lambda"), CloudsFrom.ENABLED)
    # A machine of CI has no list, or another one: the plan is judged by what it was made from.
    note(home, {KEY: ["AWS"]})
    assert _drift(plan) == "pass"
    (home / ".sky" / "state.db").unlink()
    assert _drift(plan) == "pass"


def _drift(plan: Path) -> str:
    checked = CliRunner().invoke(cli, ["check", str(plan), "--offline", "--max-drift", "0.1"])
    assert checked.exit_code == 0, checked.output
    return next(line.split()[1] for line in checked.output.splitlines() if line.startswith("drift "))


def test_without_a_list_the_usual_clouds_are_compared(home: Path) -> None:
    said, plan = _plan(home)
    assert "so aws, azure, gcp, lambda are compared: the usual ones" in said
    assert read_plan(plan).workload.candidates.clouds_from is CloudsFrom.USUAL
    assert {group.cloud for group in read_plan(plan).plan.groups} <= {"aws", "azure", "gcp", "lambda"}
    path = home / "workload.yaml"
    path.write_text(WORKLOAD + "candidates: {clouds: [aws]}\n", encoding="utf-8")
    checked = CliRunner().invoke(cli, ["check", str(plan), "--offline"])
    assert checked.exit_code == 3
    assert "candidates.clouds" in checked.output


def test_stated_clouds_need_no_list(home: Path) -> None:
    note(home, {KEY: ["GCP"]})
    said, plan = _plan(home, "candidates: {clouds: all}\n")
    assert "names none" not in said
    assert read_plan(plan).workload.candidates.clouds is None
    path = home / "workload.yaml"
    path.write_text(WORKLOAD + "candidates: {clouds: [lambda]}\n", encoding="utf-8")
    assert pipeline.read(path, enabled=("gcp",)).candidates.clouds == ("lambda",)


def test_clouds_whose_regions_are_named_are_compared(home: Path) -> None:
    path = home / "workload.yaml"
    path.write_text(WORKLOAD + "candidates: {regions: {oci: [us-ashburn-1]}}\n", encoding="utf-8")
    assert pipeline.read(path, enabled=("gcp",)).candidates.clouds == ("gcp", "oci")
    assert pipeline.read(path).candidates.clouds == ("aws", "azure", "gcp", "lambda", "oci")


def test_where_no_cloud_is_enabled(home: Path) -> None:
    path = home / "workload.yaml"
    own = "{infra: k8s/prod, accelerator: H100, per_node: 8, nodes: 1, usd_per_gpu_hour: 0}"
    path.write_text(WORKLOAD + f"candidates: {{own: [{own}]}}\n", encoding="utf-8")
    assert pipeline.read(path, enabled=()).candidates.clouds == ()
    path.write_text(WORKLOAD, encoding="utf-8")
    assert pipeline.read(path, enabled=()).candidates.clouds_from is CloudsFrom.USUAL


def test_ones_own_prices_are_not_shut_out(home: Path) -> None:
    """Capacity in a cloud that nobody named is a candidate all the same."""
    (home / "prices.csv").write_text(
        "cloud,region,instance_type,price_usd_per_hour,reserved_instances\n"
        "nebius,eu-north1,gpu-h100-sxm_1gpu-16vcpu-200gb,0.01,1\n",
        encoding="utf-8",
    )
    _, plan = _plan(home, "prices: {overrides: prices.csv}\n")
    assert {group.cloud for group in read_plan(plan).plan.groups} == {"nebius"}
