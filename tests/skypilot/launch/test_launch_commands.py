"""`sky-melange up`, `status` and `down` at the command line, with a fake SkyPilot behind them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_cloud import FakeCloud, stand_in

from sky_melange.cli import cli


@pytest.fixture(scope="module")
def planned(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planned")
    workload = repository / "examples" / "means" / "workload.yaml"
    done = CliRunner().invoke(cli, ["plan", str(workload), "--out", str(folder / "plan"), "--offline"])
    assert done.exit_code == 0, done.output
    return folder / "plan"


@pytest.fixture
def plan(planned: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    import shutil

    return Path(shutil.copytree(planned, tmp_path / "plan"))


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:

    fake = FakeCloud()
    fake.replicas = dict.fromkeys(("chat-h100", "chat-b200", "chat-l40s"), 100)
    stand_in(monkeypatch, fake)
    return fake


def run(*arguments: Any, answer: str | None = None) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments], input=answer)


def groups_of(plan: Path) -> list[dict[str, Any]]:
    document = json.loads((plan / "plan.json").read_text(encoding="utf-8"))
    return list(document["groups"])


def test_up_status_down(plan: Path, cloud: FakeCloud) -> None:
    up = run("up", plan, "--yes", "--offline")
    assert up.exit_code == 0, up.stderr
    lines = dict(line.split("=") for line in up.stdout.splitlines())
    assert lines["ROUTER_ENDPOINT"] == "10.9.9.9:8080"
    assert len(lines) == len(groups_of(plan)) + 1
    status = run("status", plan, "--format", "json")
    assert status.exit_code == 0, status.stderr
    assert {unit["name"] for unit in json.loads(status.stdout)} == {g["name"] for g in groups_of(plan)} | {
        "chat-router"
    }
    down = run("down", plan, "--yes")
    assert down.exit_code == 0, down.stderr
    assert "controller still runs" in down.stderr
    assert cloud.running == {}
    assert not (plan / "endpoints.env").exists()
    assert run("down", plan, "--yes").exit_code == 0
    nothing = run("status", plan)
    assert (nothing.exit_code, nothing.stdout) == (0, "")


def test_the_cost_is_shown_before_money_is_spent(plan: Path, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can answer SkyPilot is not even asked: that starts an API server."""
    from sky_melange.cli import up

    def forbidden(_: str = "") -> None:
        raise AssertionError("SkyPilot was asked")

    monkeypatch.setattr(up, "connect", forbidden)
    refused = run("up", plan, "--offline")
    assert refused.exit_code == 2
    assert "not a terminal" in refused.stderr
    assert "pass --yes" in refused.stderr
    total = json.loads((plan / "plan.json").read_text(encoding="utf-8"))["cost"]["total_usd_per_hour"]
    assert f"The plan costs USD {total:.4f} per hour" in refused.stderr
    assert cloud.events == []


def test_no_means_nothing_happens(plan: Path, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    import click

    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(click, "get_text_stream", lambda _: Terminal())
    refused = run("up", plan, "--offline", answer="n\n")
    assert refused.exit_code == 2
    assert "nothing was changed" in refused.stderr
    assert cloud.events == []
    assert run("up", plan, "--offline", answer="y\n").exit_code == 0
    assert cloud.verbs()


def test_a_dry_run_asks_skypilot_nothing(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sky_melange.cli import up

    def forbidden() -> None:
        raise AssertionError("SkyPilot was asked")

    monkeypatch.setattr(up, "connect", forbidden)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    done = run("up", plan, "--dry-run", "--offline")
    assert done.exit_code == 0, done.stderr
    assert "start   router   chat-router" in done.stdout
    document = json.loads((plan / "plan.json").read_text(encoding="utf-8"))
    for machine in (*document["groups"], *document["overhead"]):
        (line,) = (
            line
            for line in done.stdout.splitlines()
            if f" {machine['instance_type']} " in line and machine["region"] in line
        )
        assert f"on {machine['cloud']} {machine['region']}" in line
        assert f"USD {machine['price_usd_per_hour']:.4f}" in line
    shown = json.loads(run("up", plan, "--dry-run", "--offline", "--format", "json").stdout)["machines"]
    assert [(entry["for"], entry["price_usd_per_hour"]) for entry in shown] == [
        (machine.get("name", machine.get("purpose")), machine["price_usd_per_hour"])
        for machine in (*document["groups"], *document["overhead"])
    ]
    assert "The plan costs USD" in done.stdout
    assert "at worst" not in done.stdout
    assert not (plan / "launch.json").exists()


def test_up_and_down_speak_json(plan: Path, cloud: FakeCloud) -> None:
    """On stdout there is nothing else; what people read goes to stderr."""
    written = json.loads((plan / "plan.json").read_text(encoding="utf-8"))
    dry = json.loads(run("up", plan, "--dry-run", "--offline", "--format", "json").stdout)
    assert dry["endpoints"] is None
    assert dry["cost"] == written["cost"]
    assert sum(dry["groups_usd_per_hour"].values()) == pytest.approx(written["cost"]["replicas_usd_per_hour"])
    assert cloud.events == []

    done = json.loads(run("up", plan, "--yes", "--offline", "--format", "json").stdout)
    assert done["steps"] == dry["steps"]
    assert {(step["action"], step["why"]) for step in done["steps"]} == {("start", "it is new")}
    assert [step["group"] for step in done["steps"]] == [*(group["name"] for group in groups_of(plan)), None]
    lines = (plan / "endpoints.env").read_text(encoding="utf-8").splitlines()
    assert {f"{name}={address}" for name, address in done["endpoints"].items()} == {x for x in lines if "=" in x}
    assert done["endpoints"]["ROUTER_ENDPOINT"]

    ended = json.loads(run("down", plan, "--yes", "--format", "json").stdout)
    assert {step["name"] for step in ended["steps"]} == {step["name"] for step in done["steps"]}
    assert {step["action"] for step in ended["steps"]} == {"remove"}
    assert ended["controller_still_runs"] is True
    again = json.loads(run("down", plan, "--yes", "--format", "json").stdout)
    assert again == {"steps": [], "controller_still_runs": False, "dry_run": False}


def test_down_says_what_it_would_end(plan: Path, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("up", plan, "--yes", "--offline").exit_code == 0
    record, running, events = (plan / "launch.json").read_bytes(), dict(cloud.running), list(cloud.events)
    done = run("down", plan, "--dry-run")
    assert done.exit_code == 0, done.stderr
    names = [group["name"] for group in groups_of(plan)]
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["remove", "router", "chat-router"],
        *(["remove", "service", name] for name in sorted(names)),
    ]
    assert "would still run" in done.stderr
    as_json = json.loads(run("down", plan, "--dry-run", "--format", "json").stdout)
    assert as_json["dry_run"] is True
    assert [step["group"] for step in as_json["steps"]] == [None, *sorted(names)], "the router serves all groups"
    assert (plan / "launch.json").read_bytes() == record
    assert (cloud.running, cloud.events) == (running, events)


def test_the_worst_case_of_spot_is_shown_before_money_is_spent(repository: Path, tmp_path: Path) -> None:
    workload = repository / "examples" / "constraints" / "max-spot-share" / "workload.yaml"
    assert run("plan", workload, "--offline", "--out", tmp_path / "plan").exit_code == 0
    cost = json.loads((tmp_path / "plan" / "plan.json").read_text(encoding="utf-8"))["cost"]
    assert cost["worst_case_usd_per_hour"] > cost["total_usd_per_hour"]
    done = run("up", tmp_path / "plan", "--dry-run", "--offline")
    assert f"at worst {cost['worst_case_usd_per_hour']:.4f} while on-demand machines" in done.stdout


def test_a_plan_with_prices_of_ones_own_can_be_launched(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "examples" / "prices", tmp_path / "prices")
    workload = tmp_path / "prices" / "workload.yaml"
    assert run("plan", workload, "--offline", "--out", tmp_path / "plan").exit_code == 0
    found = run("up", tmp_path / "plan", "--dry-run", "--offline")
    assert found.exit_code == 0, found.stderr
    moved = workload.rename(tmp_path / "prices" / "moved.yaml")
    without = run("up", tmp_path / "plan", "--dry-run", "--offline")
    assert without.exit_code == 2
    assert "give --workload" in without.stderr
    done = run("up", tmp_path / "plan", "--dry-run", "--offline", "--workload", moved)
    assert done.exit_code == 0, done.stderr
    assert "USD 0.0000 per hour" in done.stdout


@pytest.mark.parametrize("name", ["router/haproxy.cfg", "router.sky.yaml", "router/litellm_hook.py", "group"])
@pytest.mark.parametrize("how", ["edited", "missing"])
def test_up_refuses_a_folder_that_fails_the_check(name: str, how: str, plan: Path, cloud: FakeCloud) -> None:
    path = plan / (groups_of(plan)[0]["file"] if name == "group" else name)
    if how == "edited":
        path.write_text(path.read_text(encoding="utf-8") + "# edited\n", encoding="utf-8")
    else:
        path.unlink()
    done = run("up", plan, "--yes", "--offline")
    assert done.exit_code == 3, done.stderr
    assert path.name in done.stderr
    assert cloud.events == []


def test_up_refuses_a_plan_over_budget(repository: Path, tmp_path: Path, cloud: FakeCloud) -> None:
    workload = (repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    (tmp_path / "w.yaml").write_text(workload + "budget: {usd_per_hour: 1000}\n", encoding="utf-8")
    assert run("plan", tmp_path / "w.yaml", "--out", tmp_path / "plan", "--offline").exit_code == 0
    (tmp_path / "w.yaml").write_text(workload + "budget: {usd_per_hour: 1}\n", encoding="utf-8")
    done = run("up", tmp_path / "plan", "--yes", "--offline")
    assert done.exit_code == 3
    assert "budget-total" in done.stderr
    assert "lock" in done.stderr
    path = tmp_path / "plan" / "plan.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"instances": 1', '"instances": 2'), encoding="utf-8")
    assert run("up", tmp_path / "plan", "--yes", "--offline").exit_code == 2
    assert cloud.events == []


def test_up_refuses_to_pay_for_engines_that_may_not_run_the_models_code(tmp_path: Path, cloud: FakeCloud) -> None:
    text = (
        "version: 1\nname: chat\nmodel: {id: moonshotai/Kimi-K2.5}\nslo: {attainment: mean, tpot_ms: 100}\n"
        "traffic: {request_rate: 1, preset: azure-conversation-2023}\n"
    )
    for allowed in (False, True):
        launch = "launch: {trust_remote_code: true}\n" if allowed else ""
        (tmp_path / "w.yaml").write_text(text + launch, encoding="utf-8")
        planned = run("plan", tmp_path / "w.yaml", "--out", tmp_path / "plan", "--offline", "-v")
        assert planned.exit_code == 0, planned.stderr
        assert ("`up` refuses the plan" in " ".join(planned.stdout.split())) is not allowed
        yamls = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "plan").glob("*.sky.yaml"))
        assert ("--trust-remote-code" in yamls) is allowed
        done = run("up", tmp_path / "plan", "--dry-run", "--offline")
        assert done.exit_code == (0 if allowed else 2), done.stderr
    # Of a plan that was allowed, somebody takes the consent back.
    path = tmp_path / "plan" / "plan.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"trust_remote_code": true', '"trust_remote_code": false'))
    done = run("up", tmp_path / "plan", "--yes", "--offline")
    assert done.exit_code == 2
    assert cloud.events == []


def test_a_secret_that_is_not_set_is_named_before_anything_starts(
    plan: Path, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    done = run("up", plan, "--yes", "--offline")
    assert done.exit_code == 2
    assert "HF_TOKEN" in done.stderr
    assert cloud.events == []


def test_a_failure_is_exit_code_3_and_can_be_resumed(plan: Path, cloud: FakeCloud) -> None:
    name = groups_of(plan)[0]["name"]
    cloud.broken = {name}
    failed = run("up", plan, "--yes", "--offline")
    assert failed.exit_code == 3
    assert f"no capacity for {name}" in failed.stderr
    assert failed.stdout == ""
    assert run("status", plan).exit_code == 3
    cloud.broken = set()
    assert run("up", plan, "--yes", "--offline").exit_code == 0


def test_planning_again_keeps_what_was_started(plan: Path, cloud: FakeCloud, repository: Path) -> None:
    assert run("up", plan, "--yes", "--offline").exit_code == 0
    record = (plan / "launch.json").read_bytes()
    workload = repository / "examples" / "means" / "workload.yaml"
    assert run("plan", workload, "--out", plan, "--offline").exit_code == 0
    assert (plan / "launch.json").read_bytes() == record
    cloud.events.clear()
    assert run("up", plan, "--yes", "--offline").exit_code == 0
    assert cloud.verbs() == []


@pytest.mark.parametrize("name", ["router/mine.txt", "router/deep/mine.txt", "mine.txt", "other/mine.txt"])
def test_planning_again_does_not_remove_what_is_not_ours(name: str, plan: Path, repository: Path) -> None:
    (plan / name).parent.mkdir(exist_ok=True, parents=True)
    (plan / name).write_text("precious")
    workload = repository / "examples" / "means" / "workload.yaml"
    done = run("plan", workload, "--out", plan, "--offline")
    assert done.exit_code == 2
    assert "no plan wrote" in done.stderr
    assert (plan / name).read_text() == "precious"


def test_a_link_is_never_one_of_our_files(plan: Path, tmp_path: Path, repository: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    (plan / "launch.json").symlink_to(tmp_path / "elsewhere")
    workload = repository / "examples" / "means" / "workload.yaml"
    assert run("plan", workload, "--out", plan, "--offline").exit_code == 2


@pytest.mark.parametrize("command", ["up", "status", "down"])
def test_a_folder_that_is_no_plan_is_named(command: str, tmp_path: Path) -> None:
    done = run(command, tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "nowhere" in done.stderr
    done = run(command, tmp_path)
    assert done.exit_code == 2
    assert "plan.json" in done.stderr
