"""examples/hours: timers that run `sky-melange scale`, as far as they can be checked without their schedulers."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from sky_melange.cli import cli, scale

HOURS = Path(__file__).resolve().parents[2] / "examples" / "hours"
SECRETS = {"HF_TOKEN", "VLLM_API_KEY"}


def options(arguments: Sequence[str]) -> dict[str, Any]:
    """What the command line makes of them; an unknown one is an error."""
    assert Path(arguments[0]).name == "sky-melange"
    assert cli.get_command(cli.make_context("x", ["scale"], resilient_parsing=True), arguments[1]) is scale.command
    found: dict[str, Any] = scale.command.make_context("scale", list(arguments[2:])).params
    return found


def every_minutes(cron: str) -> int:
    found = re.fullmatch(r"\*/(\d+) \* \* \* \*", cron)
    assert found is not None
    return int(found[1])


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((HOURS / name).read_text(encoding="utf-8"))
    return parser


def test_the_timer_runs_as_often_as_the_service_says() -> None:
    timer, service = unit("sky-melange-scale.timer"), unit("sky-melange-scale.service")
    assert timer["Timer"]["OnCalendar"] == "*:0/5"
    found = options(service["Service"]["ExecStart"].split())
    assert (found["folder"], found["every_minutes"], found["dry_run"]) == (Path("/srv/melange/plan"), 5.0, False)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """With a command, a user and a folder that are there."""
    text = (HOURS / "sky-melange-scale.service").read_text(encoding="utf-8")
    assert text.count("/srv/melange/venv/bin/sky-melange") == 1
    text = text.replace("/srv/melange/venv/bin/sky-melange", "/bin/true").replace("User=melange", "User=root")
    (tmp_path / "sky-melange-scale.service").write_text(text, encoding="utf-8")
    shutil.copy(HOURS / "sky-melange-scale.timer", tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(path) for path in sorted(tmp_path.iterdir()))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "sky-melange-scale" in line]
    assert ours == []
    found = subprocess.run(["systemd-analyze", "calendar", "*:0/5"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_the_cron_job_never_runs_twice_at_once_and_brings_the_secrets() -> None:
    job = yaml.safe_load((HOURS / "kubernetes-cronjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    spec = job["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    inner = spec["jobTemplate"]["spec"]
    assert inner["backoffLimit"] == 0
    pod = inner["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    (container,) = pod["containers"]
    assert re.fullmatch(r"[a-z./-]+@sha256:[0-9a-f]{64}", container["image"])
    found = options(container["command"])
    assert found["every_minutes"] == every_minutes(spec["schedule"])
    assert found["folder"].is_relative_to(container["volumeMounts"][0]["mountPath"])
    assert container["volumeMounts"][0]["name"] == pod["volumes"][0]["name"]
    assert {each["name"] for each in container["env"] if "valueFrom" in each} == SECRETS
    assert not any(each["name"] in SECRETS and "value" in each for each in container["env"])


def test_the_workflow_runs_scale_and_fails_when_it_does(tmp_path: Path) -> None:
    workflow = yaml.safe_load((HOURS / "github-scale.yml").read_text(encoding="utf-8"))
    (trigger,) = workflow[True]["schedule"]  # YAML reads `on` as true.
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["cancel-in-progress"] is False
    steps = workflow["jobs"]["scale"]["steps"]
    used = [step["uses"] for step in steps if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", each) for each in used)
    assert all(step["with"]["persist-credentials"] is False for step in steps if "uses" in step)
    (step,) = (each for each in steps if each.get("name") == "Scale")
    assert set(step["env"]) >= SECRETS
    # With the shell that GitHub uses for `shell: bash`.
    program = tmp_path / "melange" / "bin" / "sky-melange"
    program.parent.mkdir(parents=True)
    for code in (0, 3):
        program.write_text(
            f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho Tuesday\nexit {code}\n', encoding="utf-8"
        )
        program.chmod(0o755)
        environment = {
            "PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")
        }  # fmt: skip
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        assert subprocess.run(command, env=environment, cwd=tmp_path, check=False).returncode == code
    found = options(["sky-melange", *(tmp_path / "arguments").read_text(encoding="utf-8").split()])
    assert found["folder"] == Path("plan")
    assert found["every_minutes"] >= every_minutes(trigger["cron"]) + 15, "GitHub is late"
    assert (tmp_path / "summary").read_text(encoding="utf-8") == "Tuesday\n" * 2
