"""The action, the hook and the CI examples, run as the shell commands that they are, in a temporary repository."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from kept_between_runs import with_compiled_simulator

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

    def __init__(self, folder: Path, planned: Path | None = None) -> None:
        """`planned` is the repository of another runner, to begin with; None: it is made here."""
        self.folder = folder
        self.repository = folder / "repository"
        with_compiled_simulator(folder / "cache")
        self.gh_state = folder / "gh.json"
        self.summary = folder / "summary.md"
        self.pips = folder / "pip.txt"
        self.artifacts: dict[str, str] = {}
        (folder / "runner").mkdir()
        self._install_programs(folder / "bin")
        self.environment = {
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "SKY_MELANGE_CACHE_DIR": str(folder / "cache"),
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_REPOSITORY": "acme/app",
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "RUNNER_TEMP": str(folder / "runner"),
            "FAKE_GH_STATE": str(self.gh_state),
            "LANG": "C.UTF-8",
        }
        if planned is not None:
            shutil.copytree(planned, self.repository)
            return
        self.repository.mkdir()
        (self.repository / "workload.yaml").write_text(yaml.safe_dump(WORKLOAD), encoding="utf-8")
        shutil.copy(ROOT / "examples" / "ci" / "policy.yaml", self.repository / "policy.yaml")
        self.bash("sky-melange plan workload.yaml --offline")
        self.bash("git init -q && git add . && git -c user.name=a -c user.email=a@b commit -qm plan")

    def _install_programs(self, folder: Path) -> None:
        """This environment's Python, whose `venv` is itself and whose `pip` takes notes; `gh` that only takes notes."""
        folder.mkdir()
        python = shlex.quote(sys.executable)
        fake = shlex.quote(str(Path(__file__).with_name("fake_gh.py")))
        note = f'printf "%s\\n" "$*" >> {shlex.quote(str(self.pips))}'
        for name, command in {
            "python": f"""\
case "$*" in
  "-I -m venv "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-I -m pip "*) {note} ;;
  *) exec {python} "$@" ;;
esac""",
            "sky-melange": f'exec {python} -I -m sky_melange "$@"',
            "gh": f'exec {python} -I {fake} "$@"',
        }.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{command}\n")
            path.chmod(0o755)

    def bash(
        self, script: str, *, expect: int | None = 0, folder: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """As GitHub runs `shell: bash`."""
        path = self.folder / "step.sh"
        path.write_text(script, encoding="utf-8")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", path],
            cwd=folder or self.repository,
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
        values |= {
            "github.token": "secret",
            "github.event.pull_request.number": "7",
            "github.event.pull_request.base.sha": "0" * 40,
            "runner.temp": self.environment["RUNNER_TEMP"],
        }
        return self.run_steps(ACTION["runs"]["steps"], values)

    def run_steps(self, steps: list[dict[str, Any]], values: dict[str, str]) -> tuple[int, str]:
        printed, code = "", 0
        for step in steps:
            if not _holds(step.get("if"), values):
                continue
            if step.get("uses", "").startswith("actions/upload-artifact@"):
                self._upload(step, values)
            if "uses" in step:
                continue
            assert step["shell"] == "bash"
            assert EXPRESSION.search(step["run"]) is None, "an expression in a script could be a command"
            output = self.folder / "output.txt"
            output.write_text("")
            environment = {name: _value(text, values) for name, text in step.get("env", {}).items()}
            folder = Path(_value(step["working-directory"], values)) if "working-directory" in step else None
            assert folder is not None or "GH_TOKEN" not in environment, "a step with the token works outside"
            done = self.bash(step["run"], expect=None, folder=folder, GITHUB_OUTPUT=str(output), **environment)
            printed += done.stdout + done.stderr
            code = done.returncode
            for line in output.read_text().splitlines():
                name, _, value = line.partition("=")
                values[f"steps.{step['id']}.outputs.{name}"] = value
            if code:
                break
        return code, printed

    def _upload(self, step: dict[str, Any], values: dict[str, str]) -> None:
        name, path = (_value(step["with"][key], values) for key in ("name", "path"))
        assert re.fullmatch(r"[A-Za-z0-9.-]+", name), name
        self.artifacts[name] = Path(path).read_text(encoding="utf-8")
        values[f"steps.{step['id']}.outputs.artifact-url"] = "https://github.com/acme/app/actions/runs/1/artifacts/2"

    def comments(self) -> list[str]:
        return [entry["body"] for entry in json.loads(self.gh_state.read_text())["comments"]]


def _value(text: str, values: Mapping[str, str]) -> str:
    def found(match: re.Match[str]) -> str:
        # As on GitHub, what a step did not say is empty.
        return values.get(match[1], "") if match[1].startswith("steps.") else values[match[1]]

    return EXPRESSION.sub(found, str(text))


def _holds(condition: str | None, values: Mapping[str, str]) -> bool:
    """`a == 'b' && c`, which is all that the action uses."""
    for term in (condition or "").split("&&"):
        name, _, wanted = (part.strip() for part in term.partition("=="))
        if name and (values.get(name, "") != wanted.strip("'") if wanted else not values.get(name)):
            return False
    return True


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Runner(tmp_path_factory.mktemp("planned")).repository


@pytest.fixture
def runner(tmp_path: Path, planned: Path) -> Runner:
    return Runner(tmp_path, planned)


def test_the_action_passes_writes_the_summary_and_comments(runner: Runner) -> None:
    code, printed = runner.act(budget="500", offline="true")
    assert code == 0, printed
    constraints = f"--constraint {ROOT / 'constraints.txt'}"
    assert f"-I -m pip install --quiet --disable-pip-version-check {constraints} {ROOT}" in runner.pips.read_text()
    assert "✅ **chat: all" in runner.summary.read_text(encoding="utf-8")
    (comment,) = runner.comments()
    assert comment.startswith("<!-- sky-melange check of plan/plan.json -->\n✅ **chat: all")
    assert "::notice" in printed


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_comment_links_the_report_of_the_plan(runner: Runner) -> None:
    assert runner.act(budget="0.01", offline="true")[0] == 3
    ((name, page),) = runner.artifacts.items()
    assert name == "sky-melange-plan-plan.json"
    assert "per month" in page
    link = "[Report of the plan](https://github.com/acme/app/actions/runs/1/artifacts/2)"
    assert link in runner.comments()[0]
    assert link in runner.summary.read_text(encoding="utf-8")


@pytest.mark.slow
def test_without_a_report_nothing_is_linked(runner: Runner) -> None:
    assert runner.act(offline="true", artifact="false")[0] == 0
    (runner.repository / "plan" / "plan.json").write_text("{")
    assert runner.act(offline="true")[0] == 2
    assert runner.artifacts == {}
    assert [text for text in runner.comments() if "Report of the plan" in text] == []


@pytest.mark.slow
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
    assert runner.comments() == []
    ET.parse(runner.folder / "runner" / "sky-melange-check" / "report.xml")  # noqa: S314 - our own text


@pytest.mark.slow
def test_the_comment_says_what_changed_against_the_base_branch(runner: Runner) -> None:
    path = runner.repository / "workload.yaml"
    before = (runner.repository / "plan" / "plan.json").read_text(encoding="utf-8")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("request_rate: 8", "request_rate: 80"), encoding="utf-8")
    runner.bash("sky-melange plan workload.yaml --offline")
    runner.gh_state.write_text(json.dumps({"comments": [], "issues": [], "calls": [], "base": before}))
    assert runner.act(offline="true")[0] == 0
    _, first, _, why, *_ = runner.comments()[0].splitlines()
    costs = [
        json.loads(each)["cost"]["total_usd_per_hour"]
        for each in (before, (runner.repository / "plan" / "plan.json").read_text(encoding="utf-8"))
    ]
    change = costs[1] - costs[0]
    assert first.startswith(
        f"✅ **chat: +{change:,.4f} USD per hour, +{change * 730:,.2f} per month (+{change / costs[0]:.1%})"
    )
    assert "traffic.request\\_rate: 8 req/s → 80 req/s" in why
    assert runner.summary.read_text(encoding="utf-8").startswith(first)


@pytest.mark.slow
@pytest.mark.parametrize("base", ["{", '{"schema_version": 99}', ""])
def test_a_base_that_cannot_be_read_fails_nothing(runner: Runner, base: str) -> None:
    runner.gh_state.write_text(json.dumps({"comments": [], "issues": [], "calls": [], "base": base}))
    code, printed = runner.act(offline="true")
    assert code == 0, printed
    assert "the change is not known" in runner.comments()[0]


HOSTILE = "import os, pathlib\npathlib.Path({!r}).joinpath('pwned').write_text(repr(dict(os.environ)))\n"
SHADOWED = (
    "json.py",
    "secrets.py",
    "sys.py",
    "urllib.py",
    "encodings.py",
    "sitecustomize.py",
    "usercustomize.py",
    "click.py",
    "yaml.py",
    "pip.py",
    "venv.py",
    "sky_melange/__init__.py",
    "sky_melange/__main__.py",
    "sky/__init__.py",
    "setup.py",
    "conftest.py",
)


@pytest.mark.slow
def test_a_hostile_pull_request_changes_nothing(runner: Runner) -> None:
    """Modules that shadow others, configuration of tools, and names that are commands: with a token at hand."""
    expected = runner.act(budget="500", offline="true")
    honest = (runner.comments(), runner.summary.read_text(encoding="utf-8"))
    runner.gh_state.unlink()
    runner.summary.unlink()
    for name in SHADOWED:
        path = runner.repository / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(HOSTILE.format(str(runner.folder)), encoding="utf-8")
    for name in ("python", "gh", "od", "sed", "cat", "pip", "`touch pwned`", "$(touch pwned)", "; touch pwned", "-rf"):
        path = runner.repository / name
        path.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(runner.folder / 'pwned'))}\n", encoding="utf-8")
        path.chmod(0o755)
    for name in ("pip.conf", "setup.cfg", "pyvenv.cfg", ".bashrc", ".bash_profile", ".env", ".condarc"):
        (runner.repository / name).write_text("touch pwned\nhome = .\n[global]\nindex-url = http://localhost:9\n")
    runner.environment["PYTHONPATH"] = str(runner.repository)
    code, printed = runner.act(budget="500", offline="true")
    assert (code, _without_token(printed)) == (expected[0], _without_token(expected[1]))
    assert (runner.comments(), runner.summary.read_text(encoding="utf-8")) == honest
    assert not list(runner.folder.rglob("pwned"))


def _without_token(printed: str) -> str:
    """What ends the part of the log without commands is drawn anew each time."""
    return re.sub(r"[0-9a-f]{32}", "TOKEN", printed)


@pytest.mark.slow
def test_a_launch_file_whose_name_is_a_command_is_only_reported(runner: Runner) -> None:
    for name in ("`touch pwned`.sky.yaml", "$(touch pwned).sky.yaml"):
        (runner.repository / "plan" / name).write_text("name: x\n", encoding="utf-8")
    code, printed = runner.act(offline="true")
    assert code == 3
    assert "no group of the plan has this file" in printed
    assert not list(runner.folder.rglob("pwned"))


def test_actions_are_pinned_by_digest() -> None:
    texts = [
        ROOT / "action.yml",
        *(ROOT / "examples").rglob("*.yml"),
        ROOT / "README.md",
        ROOT / "docs" / "check.md",
    ]
    for path in texts:
        for used in re.findall(r"^\s*-? *uses: *(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            assert used == "./.sky-melange" or re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", used), (path, used)


def test_nothing_installs_a_name_that_is_not_ours() -> None:
    """`sky-melange` on a package index is whoever registers it."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        if Path(name).suffix not in {".md", ".yml", ".yaml", ".py", ".toml", ".j2", ".sh"} or name.startswith("tests/"):
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "your-organisation" not in text, name
        assert re.search(r"(pip|uv|pipx) [a-z -]*install[^\n&|;]*[ '\"]sky-melange(?!-)\b(?! @)", text) is None, name


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "hostile", ["$(touch pwned)", "`touch pwned`", "'; touch pwned; '", "--help", "plan.json\n::error::x", "-> <!-- x"]
)
def test_no_input_is_ever_a_command(runner: Runner, hostile: str) -> None:
    code, _ = runner.act(plan=hostile, workload=hostile, budget=hostile, comment_author=hostile, offline="true")
    assert code == 2
    assert not (runner.repository / "pwned").exists()


@pytest.mark.slow
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
            "github.repository": "acme/app",
            "runner.temp": runner.environment["RUNNER_TEMP"],
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
        (step,) = [step for step in job["steps"] if step.get("uses") == "./.sky-melange"]
        assert set(step["with"]) <= set(ACTION["inputs"])


class _Notes(BaseHTTPRequestHandler):
    """GitLab's notes of one merge request."""

    notes: ClassVar[list[dict[str, Any]]] = []
    asked: ClassVar[list[tuple[str, str, str | None]]] = []

    def _answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"]))) if self.command != "GET" else None
        self.asked.append((self.command, self.path, self.headers["PRIVATE-TOKEN"]))
        if self.command == "POST":
            self.notes.append({"id": len(self.notes) + 1, **body})
        elif self.command == "PUT":
            self.notes[int(self.path.rsplit("/", 1)[1]) - 1].update(body)
        text = json.dumps(self.notes if body is None else body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 - the names that the library calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.slow
def test_the_gitlab_job(runner: Runner) -> None:
    job = GITLAB["gpu-plan"]
    commands = [line.replace("plan/plan.json --policy", "plan/plan.json --offline --policy") for line in job["script"]]
    script = "\n".join([*job["before_script"], *commands])
    for place in ("/opt/sky-melange", "/tmp/sky-melange-base.json"):  # noqa: S108 - of the job's container
        assert place in script
        script = script.replace(place, str(runner.folder / Path(place).name))
    assert "SKY_MELANGE: set this variable" in runner.bash(script, expect=None).stderr
    _Notes.notes, _Notes.asked = [{"id": 1, "body": "somebody's"}], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Notes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {
        "SKY_MELANGE": "sky-melange @ git+https://git.example.com/sky-melange@0123",
        "GITLAB_NOTE_TOKEN": "secret",
        "CI_JOB_URL": "https://gitlab.example/acme/app/-/jobs/9",
        "CI_API_V4_URL": f"http://127.0.0.1:{server.server_port}/api/v4",
        "CI_PROJECT_ID": "5",
        "CI_MERGE_REQUEST_IID": "7",
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": runner.bash("git rev-parse HEAD").stdout.strip(),
    }
    runner.bash("git remote add origin .")
    for name in ("json.py", "sky_melange.py", "sitecustomize.py"):
        (runner.repository / name).write_text(HOSTILE.format(str(runner.folder)), encoding="utf-8")
    runner.bash(script, **variables)
    assert runner.pips.read_text().splitlines()[-1] == f"-I -m pip install --quiet {variables['SKY_MELANGE']}"
    root = ET.parse(runner.repository / job["artifacts"]["reports"]["junit"]).getroot()  # noqa: S314 - our own text
    assert root.get("failures") == "0"
    report = (runner.repository / job["artifacts"]["paths"][0]).read_text(encoding="utf-8")
    assert report.startswith("✅ **chat: the cost is the same")
    path = runner.repository / "workload.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("request_rate: 8", "request_rate: 80"), encoding="utf-8")
    runner.bash(script, expect=3, **variables)
    server.shutdown()
    server.server_close()
    assert [note["body"].splitlines()[0] for note in _Notes.notes] == [
        "somebody's",
        "<!-- sky-melange check of plan/plan.json -->",
    ]
    assert "❌ **chat:" in _Notes.notes[1]["body"]
    notes = "/api/v4/projects/5/merge_requests/7/notes"
    assert [each[:2] for each in _Notes.asked] == [
        ("GET", f"{notes}?per_page=100&order_by=created_at"),
        ("POST", notes),
        ("GET", f"{notes}?per_page=100&order_by=created_at"),
        ("PUT", f"{notes}/2"),
    ]
    assert {token for *_, token in _Notes.asked} == {"secret"}
    assert not list(runner.folder.rglob("pwned"))


@pytest.mark.slow
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
