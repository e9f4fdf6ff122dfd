"""`sky-melange plan --explain`, `--objective`, and `sky-melange explain`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from sealed import sealed

from sky_melange.cli import cli

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "means" / "workload.yaml"


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("explained") / "plan"
    return folder, run("plan", QUICKSTART, "--offline", "--explain", "--out", folder)


def write(folder: Path, **changes: object) -> Path:
    document = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))
    document.update(changes)
    path = folder / "workload.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def test_the_quickstart_is_explained(explained: tuple[Path, Result]) -> None:
    _, result = explained
    assert result.exit_code == 0, result.stderr
    for heading in ("Why this plan", "What each constraint costs", "sold out", "Nearest to the plan", "Types that the"):
        assert heading in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 100


def test_explain_shows_what_the_plan_holds(explained: tuple[Path, Result]) -> None:
    folder, planned = explained
    shown = run("explain", folder / "plan.json")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout in planned.stdout
    document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    as_json = run("explain", folder, "--format", "json")
    assert json.loads(as_json.stdout) == document["explanation"]


@pytest.mark.slow
def test_a_plan_without_explanation_is_solved_again(explained: tuple[Path, Result], tmp_path: Path) -> None:
    folder, _ = explained
    document = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    held = document.pop("explanation")
    bare = tmp_path / "plan.json"
    bare.write_text(json.dumps(sealed(document)), encoding="utf-8")
    found = run("explain", bare, "--offline", "--format", "json")
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout) == held


@pytest.mark.slow
def test_another_plan_than_todays_is_said(tmp_path: Path) -> None:
    run("plan", write(tmp_path, constraints={"max_groups": 1}), "--offline", "--out", tmp_path / "plan")
    path = tmp_path / "plan" / "plan.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["workload"]["constraints"]["max_groups"] = None
    path.write_text(json.dumps(sealed(document)), encoding="utf-8")
    found = run("explain", path, "--offline")
    assert found.exit_code == 0, found.stderr
    assert "today's best plan is another one" in found.stderr


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 1}', '{"schema_version": 99}'])
def test_what_is_no_plan_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(content, encoding="utf-8")
    found = run("explain", path, "--offline")
    assert found.exit_code == 2
    assert str(path) in found.stderr


def test_no_such_plan(tmp_path: Path) -> None:
    assert run("explain", tmp_path / "nothing.json").exit_code == 2


def test_the_most_traffic_within_a_budget(tmp_path: Path) -> None:
    path = write(tmp_path, budget={"usd_per_hour": 30})
    result = run(
        "plan", path, "--offline", "--objective", "most_traffic", "--out", tmp_path / "plan", "--format", "json"
    )
    assert result.exit_code == 0, result.stderr
    plan = json.loads(result.stdout)
    assert 25 < plan["cost"]["total_usd_per_hour"] <= 30
    rate = sum(sum(row) for row in plan["workload"]["traffic"]["rates_rps"])
    assert rate > 64
    more = write(tmp_path, budget={"usd_per_hour": 30}, traffic={**_traffic(), "request_rate": rate * 1.001})
    assert run("plan", more, "--offline", "--no-files").exit_code == 3


def _traffic() -> dict[str, object]:
    traffic: dict[str, object] = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))["traffic"]
    return traffic


def test_the_most_traffic_needs_a_budget() -> None:
    result = run("plan", QUICKSTART, "--offline", "--objective", "most_traffic", "--no-files")
    assert result.exit_code == 2
    assert "needs a budget" in result.stderr


def test_the_most_traffic_in_slices_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, budget={"usd_per_hour": 30}, objective="most_traffic")
    result = run("plan", path, "--offline", "--formulation", "sliced", "--no-files")
    assert result.exit_code == 2
    assert "slices" in result.stderr


def test_a_monthly_budget_limits_the_most_traffic_too(tmp_path: Path) -> None:
    path = write(tmp_path, budget={"usd_per_month": 21_900}, objective="most_traffic")
    result = run("plan", path, "--offline", "--no-files", "--format", "json")
    assert result.exit_code == 0, result.stderr
    assert 25 < json.loads(result.stdout)["cost"]["total_usd_per_hour"] <= 30


def test_cbc_by_choice_gives_the_same_plan(tmp_path: Path) -> None:
    default = run("plan", QUICKSTART, "--offline", "--no-files", "--format", "json")
    chosen = run("plan", write(tmp_path, solver={"name": "cbc"}), "--offline", "--no-files", "--format", "json")
    assert chosen.exit_code == 0, chosen.stderr
    found, expected = json.loads(chosen.stdout), json.loads(default.stdout)
    assert found["cost"] == expected["cost"]
    assert [(g["name"], g["instances"]) for g in found["groups"]] == [
        (g["name"], g["instances"]) for g in expected["groups"]
    ]
    assert found["status"] == "optimal"


@pytest.mark.parametrize(
    ("running", "message"),
    [
        (None, "there is no such file"),
        ("", "JSON"),
        ('{"schema_version": 1, "groups": []', "JSON"),
        ('{"schema_version": 3}', "schema_version"),
    ],
    ids=["missing", "empty", "half-written", "newer"],
)
def test_a_running_plan_that_cannot_be_read(running: str | None, message: str, tmp_path: Path) -> None:
    if running is not None:
        (tmp_path / "running.json").write_text(running, encoding="utf-8")
    keep = {"plan": "running.json", "switching_usd_per_hour": 0.1}
    result = run("plan", write(tmp_path, constraints={"keep": keep}), "--offline", "--no-files")
    assert result.exit_code == 2
    assert "running.json" in result.stderr
    assert message in result.stderr
