"""`sky-melange plan` as a user meets it: exit codes, messages, and what is left on the disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange.cli import cli
from sky_melange.render import output_files

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "means" / "workload.yaml"


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(folder: Path) -> set[str]:
    return set(contents(folder))


@pytest.fixture
def workload(tmp_path: Path) -> dict[str, object]:
    document: dict[str, object] = yaml.safe_load(QUICKSTART.read_text())
    return document


def write(tmp_path: Path, document: object) -> Path:
    path = tmp_path / "workload.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def test_quickstart_plans_and_says_what_is_best(tmp_path: Path) -> None:
    result = run("plan", QUICKSTART, "--out", tmp_path / "plan")
    assert result.exit_code == 0, result.stderr
    assert "A mix is best" in result.stdout or "One type is best" in result.stdout
    assert "per month" in result.stdout
    plan = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert written(tmp_path / "plan") == {
        *(output_files() - {"schedule.json"}),
        *(group["file"] for group in plan["groups"]),
    }
    assert plan["schema_version"] == 2
    assert plan["status"] == "optimal"


def test_a_region_without_offers_is_named(tmp_path: Path, workload: dict[str, object]) -> None:
    """Dropped in silence it would be a plan for fewer regions than were asked for."""
    for regions, code in ((["us-east-9", "us-east-1"], 0), (["us-east-9"], 5)):
        path = write(tmp_path, workload | {"candidates": {"clouds": ["aws"], "regions": {"aws": regions}}})
        result = CliRunner().invoke(cli, ["plan", str(path), "--no-files", "-v"])
        assert result.exit_code == code, result.output
        assert "candidates.regions.aws: there is no offer in us-east-9; did you mean 'us-east-" in result.output


def test_json_on_stdout_is_the_plan_file(tmp_path: Path) -> None:
    result = run("plan", QUICKSTART, "-o", tmp_path / "plan", "--format", "json")
    assert result.stdout == (tmp_path / "plan" / "plan.json").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="no /dev/stdin here")
def test_a_workload_from_a_pipe_is_planned_and_checked_as_the_file(tmp_path: Path) -> None:
    """What comes through a pipe can be read once, and is needed twice: for the plan, and for its digest."""
    program = [sys.executable, "-m", "sky_melange"]
    for command in (
        [*program, "plan", "/dev/stdin", "--offline", "--out", str(tmp_path / "piped")],
        [*program, "check", str(tmp_path / "piped"), "--offline", "--workload", "/dev/stdin"],
    ):
        done = subprocess.run(command, input=QUICKSTART.read_bytes(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert run("plan", QUICKSTART, "--out", tmp_path / "plan").exit_code == 0
    piped, plain = (json.loads((tmp_path / name / "plan.json").read_text()) for name in ("piped", "plan"))
    assert piped["inputs"]["workload_sha256"] == plain["inputs"]["workload_sha256"]
    assert piped["inputs"]["workload_file"] is None
    assert piped["workload"] == plain["workload"]


def test_table_fits_100_columns_without_colour(tmp_path: Path) -> None:
    result = run("plan", QUICKSTART, "--no-files")
    assert max(len(line) for line in result.stdout.splitlines()) <= 100
    assert "\x1b" not in result.stdout


def test_no_files_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("plan", QUICKSTART, "--no-files").exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_plan_is_replaced_as_a_whole(tmp_path: Path, workload: dict[str, object]) -> None:
    out = tmp_path / "plan"
    assert run("plan", QUICKSTART, "--out", out).exit_code == 0
    workload["name"] = "other"
    assert run("plan", write(tmp_path, workload), "--out", out).exit_code == 0
    assert all(name.startswith("other-") for name in written(out) - output_files())
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_files_that_no_plan_wrote_are_never_removed(tmp_path: Path) -> None:
    out = tmp_path / "plan"
    assert run("plan", QUICKSTART, "--out", out).exit_code == 0
    (out / "notes.txt").write_text("mine")
    before = contents(out)
    result = run("plan", QUICKSTART, "--out", out)
    assert result.exit_code == 2
    assert "notes.txt" in result.stderr
    assert contents(out) == before


def test_a_hostile_plan_json_names_no_other_files(tmp_path: Path) -> None:
    out = tmp_path / "plan"
    out.mkdir()
    (out / "secret.txt").write_text("mine")
    (out / "plan.json").write_text('{"groups": 7}')
    assert run("plan", QUICKSTART, "--out", out).exit_code == 2
    assert (out / "secret.txt").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    result = run("plan", QUICKSTART, "--out", closed / "plan")
    assert result.exit_code == 2
    assert "permission" in result.stderr


@pytest.mark.parametrize("kind", ["file", "link", "below a file"])
def test_an_output_that_is_no_folder(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    target.write_text("keep me")
    out = {"file": target, "link": tmp_path / "link", "below a file": target / "plan"}[kind]
    if kind == "link":
        out.symlink_to(target)
    result = run("plan", QUICKSTART, "--out", out)
    assert result.exit_code == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert target.read_text() == "keep me"
    assert ("symbolic link" in result.stderr) == (kind == "link")


def test_a_full_disk_leaves_the_earlier_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "plan"
    assert run("plan", QUICKSTART, "--out", out).exit_code == 0
    before = contents(out)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    result = run("plan", QUICKSTART, "--out", out)
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert contents(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["plan"]


def test_over_budget_prints_the_plan_and_writes_nothing(tmp_path: Path, workload: dict[str, object]) -> None:
    workload["budget"] = {"usd_per_hour": 1.0}
    result = run("plan", write(tmp_path, workload), "--out", tmp_path / "plan")
    assert result.exit_code == 3
    assert "over budget.usd_per_hour 1" in result.stderr
    assert "Group" in result.stdout
    assert not (tmp_path / "plan").exists()


def test_targets_that_nothing_meets_are_exit_4_with_reasons(tmp_path: Path, workload: dict[str, object]) -> None:
    workload["slo"] = {"tpot_ms": 0.5}
    result = run("plan", write(tmp_path, workload), "--out", tmp_path / "plan")
    assert result.exit_code == 4
    assert "TPOT is" in result.stderr
    assert "over the target of 0.5 ms" in result.stderr
    assert "% of requests" in result.stderr
    assert not (tmp_path / "plan").exists()


def test_a_fleet_that_no_plan_file_may_hold_is_refused(tmp_path: Path, workload: dict[str, object]) -> None:
    workload["traffic"]["request_rate"] = 900_000_000  # type: ignore[index]
    result = run("plan", write(tmp_path, workload), "--out", tmp_path / "plan")
    assert result.exit_code == 4
    assert "at most 1,000,000: is traffic.request_rate in requests per second?" in result.stderr
    assert not (tmp_path / "plan").exists()


def test_a_model_that_nobody_knows_is_exit_5_with_a_way_out(tmp_path: Path, workload: dict[str, object]) -> None:
    workload["model"] = {"id": "nobody/unknown", "dtype": "bfloat16"}
    result = run("plan", write(tmp_path, workload), "--out", tmp_path / "plan")
    assert result.exit_code == 5
    assert "nobody/unknown" in result.stderr
    assert "write `model.config: config.json` with the model's public configuration" in result.stderr


def test_an_accelerator_without_profile_is_exit_5(tmp_path: Path, workload: dict[str, object]) -> None:
    workload["candidates"] = {"accelerators": ["T4"]}
    result = run("plan", write(tmp_path, workload), "--out", tmp_path / "plan")
    assert result.exit_code == 5
    assert "T4" in result.stderr


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        ({"candidates": {"accelerators": ["H1000"]}}, ["H1000", "H100"]),
        ({"candidates": {"clouds": ["awss"]}}, ["awss", "aws"]),
        ({"sloo": {"tpot_ms": 40}}, ["sloo", "slo"]),
        ({"name": "Chat_1"}, ["name"]),
        ({"version": 2}, ["version"]),
    ],
)
def test_mistakes_are_exit_2_with_a_line(
    tmp_path: Path, workload: dict[str, object], change: dict[str, object], fragments: list[str]
) -> None:
    path = write(tmp_path, {**workload, **change})
    result = run("plan", path, "--out", tmp_path / "plan")
    assert result.exit_code == 2, result.stderr
    assert f"{path}:" in result.stderr
    assert all(fragment in result.stderr for fragment in fragments)
    assert not (tmp_path / "plan").exists()


def test_missing_workload(tmp_path: Path) -> None:
    result = run("plan", tmp_path / "none.yaml", "--out", tmp_path / "plan")
    assert result.exit_code == 2
    assert "none.yaml" in result.stderr


def test_an_error_of_ours_has_a_traceback_only_with_debug(tmp_path: Path) -> None:
    def stderr(*options: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "sky_melange", *options, "plan", str(tmp_path / "none.yaml")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    code, plain = stderr()
    assert (code, "Traceback" in plain) == (2, False)
    code, debug = stderr("--debug")
    assert (code, "Traceback" in debug) == (2, True)


def test_a_bug_is_one_line_and_exit_1(tmp_path: Path) -> None:
    program = (
        "import sys, sky_melange.pipeline as p\n"
        "def broken(*a, **k): raise ZeroDivisionError('boom')\n"
        "p.plan_file = broken\n"
        f"sys.argv = ['sky-melange', 'plan', {str(QUICKSTART)!r}, '--no-files']\n"
        "from sky_melange.cli import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "a bug in sky-melange: ZeroDivisionError: boom" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_stdout_is_no_bug() -> None:
    program = "from sky_melange.cli import main; main()"
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", program, "schema"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "Error: the disk is full, so that not everything could be written\n"


def test_sky_is_never_imported_while_planning(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sky_melange import pipeline\n"
        f"pipeline.plan_file(Path({str(QUICKSTART)!r}))\n"
        "print(sorted({'sky', 'pandas', 'requests'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_two_runs_at_once_leave_one_whole_plan(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sky_melange", "plan", str(QUICKSTART), "--out", str(tmp_path / "plan")]
    runs = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)
    ]
    ends = [(process.communicate(timeout=60), process.returncode) for process in runs]
    assert all(code in (0, 2) for _, code in ends), ends
    assert any(code == 0 for _, code in ends)
    assert all("Traceback" not in stderr for (_, stderr), _ in ends)
    plan = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert written(tmp_path / "plan") == {
        *(output_files() - {"schedule.json"}),
        *(group["file"] for group in plan["groups"]),
    }
