"""The action, the hook and the CI examples, run as the shell commands that they are, in a temporary repository."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
NIGHTLY = yaml.safe_load((ROOT / "examples" / "ci" / "github-nightly-drift.yml").read_text(encoding="utf-8"))
GITLAB = yaml.safe_load((ROOT / "examples" / "ci" / "gitlab-ci.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
EXPRESSION = re.compile(r"\$\{\{\s*(.+?)\s*\}\}")

WORKLOAD = {
    "version": 1,
    "name": "chat",
    "model": {"id": "meta-llama/Llama-3.1-8B-Instruct", "dtype": "bfloat16"},
    "slo": {"tpot_ms": 40, "ttft_ms": 2000},
    "traffic": {
        "request_rate": 8,
        "histogram": {"input_tokens": [500, 2000], "output_tokens": [250], "weights": [[3], [1]]},
    },
    "candidates": {"clouds": ["lambda"], "accelerators": ["H100"]},
    "launch": {"mode": "cluster"},
}


class Runner:
    """A repository with a committed plan, and what a GitHub runner gives a step: files, variables, programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.repository.mkdir()
        self.gh_state = folder / "gh.json"
        self.summary = folder / "summary.md"
        self.pips = folder / "pip.txt"
        (folder / "runner").mkdir()
        self._install_programs(folder / "bin")
        self.environment = {
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT),
            "SKY_MELANGE_CACHE_DIR": str(folder / "cache"),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_REPOSITORY": "acme/app",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(folder / "runner"),
            "FAKE_GH_STATE": str(self.gh_state),
            "LANG": "C.UTF-8",
        }
        (self.repository / "workload.yaml").write_text(yaml.safe_dump(WORKLOAD), encoding="utf-8")
        shutil.copy(ROOT / "examples" / "ci" / "policy.yaml", self.repository / "policy.yaml")
        self.bash("sky-melange plan workload.yaml --offline")
        self.bash("git init -q && git add . && git -c user.name=a -c user.email=a@b commit -qm plan")

    def _install_programs(self, folder: Path) -> None:
        """`python` and `sky-melange` of this environment, `gh` and `pip` that only take notes."""
        folder.mkdir()
        python = shlex.quote(sys.executable)
        fake = shlex.quote(str(Path(__file__).with_name("fake_gh.py")))
        for name, command in {
            "python": f'exec {python} "$@"',
            "sky-melange": f'exec {python} -m sky_melange "$@"',
            "gh": f'exec {python} {fake} "$@"',
            "pip": f'printf "%s\\n" "$*" >> {shlex.quote(str(self.pips))}',
        }.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{command}\n")
            path.chmod(0o755)

    def bash(self, script: str, *, expect: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        """As GitHub runs `shell: bash`."""
        path = self.folder / "step.sh"
        path.write_text(script, encoding="utf-8")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", path],
            cwd=self.repository,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        if expect is not None:
            assert done.returncode == expect, done.stdout + done.stderr
        return done

    def act(self, **inputs: str) -> tuple[int, str]:
        """All steps of the action with these inputs; (exit code of the last, everything that was printed)."""
        defaults = {name: str(entry.get("default", "")) for name, entry in ACTION["inputs"].items()}
        values = {f"inputs.{name}": value for name, value in defaults.items()}
        values |= {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
        values |= {"github.token": "secret", "github.event.pull_request.number": "7"}
        return self.run_steps(ACTION["runs"]["steps"], values)

    def run_steps(self, steps: list[dict[str, Any]], values: dict[str, str]) -> tuple[int, str]:
        printed, code = "", 0
        for step in steps:
            if "uses" in step or not _holds(step.get("if"), values):
                continue
            assert step["shell"] == "bash"
            assert EXPRESSION.search(step["run"]) is None, "an expression in a script could be a command"
            output = self.folder / "output.txt"
            output.write_text("")
            environment = {name: _value(text, values) for name, text in step.get("env", {}).items()}
            done = self.bash(step["run"], expect=None, GITHUB_OUTPUT=str(output), **environment)
            printed += done.stdout + done.stderr
            code = done.returncode
            for line in output.read_text().splitlines():
                name, _, value = line.partition("=")
                values[f"steps.{step['id']}.outputs.{name}"] = value
            if code:
                break
        return code, printed

    def comments(self) -> list[str]:
        return [entry["body"] for entry in json.loads(self.gh_state.read_text())["comments"]]


def _value(text: str, values: Mapping[str, str]) -> str:
    return EXPRESSION.sub(lambda match: values[match.group(1)], str(text))


def _holds(condition: str | None, values: Mapping[str, str]) -> bool:
    """`a == 'b' && c`, which is all that the action uses."""
    for term in (condition or "").split("&&"):
        name, _, wanted = (part.strip() for part in term.partition("=="))
        if name and (values.get(name, "") != wanted.strip("'") if wanted else not values.get(name)):
            return False
    return True


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def test_the_action_passes_writes_the_summary_and_comments(runner: Runner) -> None:
    code, printed = runner.act(budget="500", offline="true")
    assert code == 0, printed
    assert f"install --quiet --disable-pip-version-check {ROOT}" in runner.pips.read_text()
    assert "✅ **chat: all" in runner.summary.read_text(encoding="utf-8")
    (comment,) = runner.comments()
    assert comment.startswith("<!-- sky-melange check of plan/plan.json -->\n✅ **chat: all")
    assert "::notice" in printed


def test_the_second_run_updates_the_same_comment(runner: Runner) -> None:
    others = [
        {"id": 1, "user": {"login": "somebody"}, "body": "<!-- sky-melange check of plan/plan.json -->\nmine"},
        {"id": 2, "user": {"login": "github-actions[bot]"}, "body": "<!-- sky-melange check of other.json -->\nother"},
        {"id": 3, "user": None, "body": None},
    ]
    runner.gh_state.write_text(json.dumps({"comments": others, "issues": [], "calls": []}))
    assert runner.act(budget="500", offline="true")[0] == 0
    before = runner.comments()
    assert len(before) == 4
    code, printed = runner.act(budget="0.01", offline="true")
    assert code == 3, printed
    after = runner.comments()
    assert after[:3] == before[:3]
    assert len(after) == 4
    assert "✅" in before[3].splitlines()[1]
    assert "❌ **chat: 1 of" in after[3].splitlines()[1]
    assert "budget-total" in after[3]
    calls = [call[3] for call in json.loads(runner.gh_state.read_text())["calls"] if "--method" in call]
    assert calls == ["POST", "PATCH"]
    assert "::error file=plan/plan.json,title=sky-melange%3A budget-total::" in printed


def test_every_input_reaches_the_command(runner: Runner) -> None:
    code, printed = runner.act(
        workload="workload.yaml",
        policy="policy.yaml",
        budget="500",
        monthly_budget="500000",
        max_drift="50",
        max_age_hours="1e9",
        offline="true",
        comment="false",
    )
    assert code == 0, printed
    report = json.loads((runner.folder / "runner" / "sky-melange-check" / "report.json").read_text())
    limits = {check["name"]: check["limit"] for check in report["checks"]}
    assert limits["budget-total"] == 500
    assert limits["budget-monthly"] == 500_000
    assert limits["drift"] == 0.5
    assert limits["prices-fresh"] == 1e9
    assert limits["policy-spot"] == 0.5
    assert not runner.gh_state.exists()
    ET.parse(runner.folder / "runner" / "sky-melange-check" / "report.xml")  # noqa: S314 - our own text


def test_ten_times_the_traffic_without_planning_again_is_exit_3(runner: Runner) -> None:
    path = runner.repository / "workload.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("request_rate: 8", "request_rate: 80"), encoding="utf-8")
    code, printed = runner.act(offline="true")
    assert code == 3, printed
    assert "traffic.request_rate: 8 req/s when planned, 80 req/s in" in runner.comments()[0].replace("\\", "")
    (hook,) = HOOKS
    assert "lock" in runner.bash(" ".join([hook["entry"], *hook["args"]]), expect=3).stdout
    assert "lock" in runner.bash("sky-melange check plan --offline", expect=3).stdout


def test_a_plan_that_cannot_be_read_is_said_in_summary_and_comment(runner: Runner) -> None:
    (runner.repository / "plan" / "plan.json").write_text("{")
    code, printed = runner.act(offline="true")
    assert code == 2
    assert "could not check the plan (exit code 2)" in runner.summary.read_text(encoding="utf-8")
    assert "is the file truncated?" in runner.comments()[0]
    assert "::error title=sky-melange::" in printed


@pytest.mark.parametrize(
    "hostile", ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", "--help", "plan.json\n::error::x", "-> <!-- x"]
)
def test_no_input_is_ever_a_command(runner: Runner, hostile: str) -> None:
    code, _ = runner.act(plan=hostile, workload=hostile, budget=hostile, comment_author=hostile, offline="true")
    assert code == 2
    assert not (runner.repository / "pwned").exists()


def test_a_token_that_may_not_comment_warns_and_keeps_the_verdict(runner: Runner) -> None:
    runner.environment["FAKE_GH_FORBIDDEN"] = "1"
    code, printed = runner.act(budget="500", offline="true")
    assert code == 0
    assert "::warning title=sky-melange::" in printed
    assert runner.act(budget="0.01", offline="true")[0] == 3


def test_without_a_pull_request_there_is_no_comment(runner: Runner) -> None:
    steps = [step for step in ACTION["runs"]["steps"] if step.get("name") == "Pull request comment"]
    assert not _holds(steps[0]["if"], {"inputs.comment": "true", "github.event.pull_request.number": ""})
    assert _holds(steps[0]["if"], {"inputs.comment": "true", "github.event.pull_request.number": "7"})


def test_the_nightly_workflow_keeps_one_issue(runner: Runner) -> None:
    steps = [step for step in NIGHTLY["jobs"]["drift"]["steps"] if "run" in step]
    report = runner.folder / "report"
    report.mkdir()

    def night(code: str, text: str) -> tuple[int, list[Any]]:
        (report / "report.md").write_text(text)
        values = {
            "github.token": "secret",
            "steps.check.outputs.exit-code": code,
            "steps.check.outputs.report": str(report),
        }
        ended = runner.run_steps(steps, values)[0]
        return ended, json.loads(runner.gh_state.read_text())["issues"]

    assert night("0", "fine") == (0, [])
    assert night("3", "drifted")[1] == [{"number": 1, "open": True, "body": "drifted"}]
    assert night("3", "drifted more") == (3, [{"number": 1, "open": True, "body": "drifted more"}])
    assert night("0", "fine") == (0, [{"number": 1, "open": False, "body": "drifted more"}])


def test_workflows_give_the_action_only_inputs_that_it_has() -> None:
    for name in ("github-check.yml", "github-nightly-drift.yml"):
        workflow = yaml.safe_load((ROOT / "examples" / "ci" / name).read_text(encoding="utf-8"))
        (job,) = workflow["jobs"].values()
        (step,) = [step for step in job["steps"] if "sky-melange@" in step.get("uses", "")]
        assert set(step["with"]) <= set(ACTION["inputs"])


def test_the_gitlab_job(runner: Runner) -> None:
    job = GITLAB["gpu-plan"]
    script = "\n".join([*job["before_script"], *(f"{line} --offline" for line in job["script"])])
    runner.bash(script)
    assert runner.pips.read_text().strip() == "install --quiet sky-melange"
    root = ET.parse(runner.repository / job["artifacts"]["reports"]["junit"]).getroot()  # noqa: S314 - our own text
    assert root.get("failures") == "0"
    assert (runner.repository / job["artifacts"]["paths"][0]).exists()


def test_the_pre_commit_hook(runner: Runner) -> None:
    (hook,) = HOOKS
    command = " ".join([hook["entry"], *hook["args"]])
    assert not hook["pass_filenames"]
    runner.bash(command)
    (edited,) = (runner.repository / "plan").glob("*.sky.yaml")
    assert re.search(hook["files"], f"plan/{edited.name}")
    assert re.search(hook["files"], "plan/plan.json")
    assert re.search(hook["files"], "chat.yaml")
    assert not re.search(hook["files"], "src/main.py")
    edited.write_text(edited.read_text(encoding="utf-8") + "# by hand\n", encoding="utf-8")
    assert "+# by hand" in runner.bash(command, expect=3).stdout
