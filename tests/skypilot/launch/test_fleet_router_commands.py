"""`plan`, `check`, `up`, `status` and `down` of a fleet with one router for all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fake_cloud import FakeCloud, stand_in
from fleet_files import fleet, workload

from sky_melange.cli import cli
from sky_melange.domain.digest import json_sha256

ROUTER = "both-router"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def run(*arguments: Any) -> Result:
    return CliRunner(mix_stderr=False).invoke(cli, [str(argument) for argument in arguments])


def files_of(folder: Path, router: str, *, talk: str = "Qwen/Qwen2.5-7B-Instruct", more: str = "") -> Path:
    path = fleet(folder, workload(folder, "chat", rate=12), workload(folder, "talk", rate=3), more=router)
    text = (folder / "talk.yaml").read_text(encoding="utf-8").replace(MODEL, talk)
    (folder / "talk.yaml").write_text(text + more, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    done = run("plan", files_of(folder, "  router: one\n"), "--out", folder / "out", "--offline")
    assert done.exit_code == 0, done.stderr
    return folder


@pytest.fixture
def out(planned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(planned, tmp_path / "fleet")) / "out"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    fake = FakeCloud()
    fake.replicas = dict.fromkeys(("chat-h100", "chat-l40s", "talk-l40s"), 100)
    stand_in(monkeypatch, fake)
    return fake


def test_the_router_is_paid_for_once_and_by_no_plan(out: Path) -> None:
    document = json.loads((out / "fleet.json").read_text(encoding="utf-8"))
    plans = [json.loads((out / name / "plan.json").read_text(encoding="utf-8")) for name in ("chat", "talk")]
    assert [[each["purpose"] for each in plan["overhead"]] for plan in plans] == [["SkyServe controller"]] * 2
    assert not list(out.glob("*/router*"))
    router = document["router_machine"]
    assert (router["cluster"], router["instance_type"]) == (ROUTER, "m6i.large")
    whole = sum(plan["cost"]["total_usd_per_hour"] for plan in plans)
    assert document["usd_per_hour"] == pytest.approx(
        whole - document["shared_usd_per_hour"] + router["price_usd_per_hour"]
    )
    checked = run("check", out, "--offline", "--format", "json")
    assert checked.exit_code == 0, checked.stderr
    charged = run("report", out, "--as", "focus-csv", "-o", out.parent / "fleet.csv")
    assert charged.exit_code == 0, charged.stderr
    assert (out.parent / "fleet.csv").read_text(encoding="utf-8").count("m6i.large (no GPU)") == 1


def test_an_edited_router_fails_the_check(out: Path) -> None:
    path = out / "router" / "haproxy.cfg"
    path.write_text(path.read_text(encoding="utf-8").replace("weight", "weigth"), encoding="utf-8")
    failed = run("check", out, "--offline")
    assert failed.exit_code == 3
    assert "fleet-files" in failed.stderr


@pytest.mark.slow
def test_up_starts_the_router_last_and_down_ends_it_first(out: Path, cloud: FakeCloud) -> None:
    dry = run("up", out, "--dry-run", "--offline")
    assert dry.exit_code == 0, dry.stderr
    line = f"router of all:\nstart   router   {ROUTER}  m6i.large on aws us-east-1: USD 0.0960 per hour  (it is new)"
    assert line in dry.stdout
    assert cloud.events == []
    started = run("up", out, "--yes", "--offline")
    assert started.exit_code == 0, started.stderr
    assert cloud.verbs()[-1] == ("launch", ROUTER)
    task = cloud.tasks[ROUTER]
    assert set(task.envs) == {"CHAT_H100_ENDPOINT", "CHAT_L40S_ENDPOINT", "TALK_L40S_ENDPOINT"}
    assert task.secrets == {"VLLM_API_KEY": "key_x"}
    assert started.stdout.count("ROUTER_ENDPOINT=") == 1
    assert (out / "endpoints.env").read_text(encoding="utf-8").startswith("ROUTER_ENDPOINT=")
    events = list(cloud.events)
    assert run("up", out, "--yes", "--offline").exit_code == 0
    assert cloud.events == events
    shown = run("status", out, "--format", "json")
    assert shown.exit_code == 0, shown.stderr
    (row,) = json.loads(shown.stdout)["router"]
    assert (row["name"], row["is_ready"], row["is_as_planned"]) == (ROUTER, True, True)
    ended = run("down", out, "--yes")
    assert ended.exit_code == 0, ended.stderr
    assert cloud.running == {}
    assert cloud.verbs()[len(cloud.verbs()) - 4] == ("down", ROUTER)
    assert not (out / "launch.json").exists()
    assert not (out / "endpoints.env").exists()


@pytest.mark.slow
def test_a_router_that_fails_leaves_the_plans_and_a_second_try_goes_on(out: Path, cloud: FakeCloud) -> None:
    cloud.broken = {ROUTER}
    failed = run("up", out, "--yes", "--offline")
    assert failed.exit_code == 3
    assert "no capacity" in failed.stderr
    cloud.broken = set()
    again = run("up", out, "--yes", "--offline")
    assert again.exit_code == 0, again.stderr
    assert "ROUTER_ENDPOINT=" in again.stdout


@pytest.mark.slow
def test_a_fleet_that_has_a_router_each_ends_the_one_for_all(out: Path, cloud: FakeCloud) -> None:
    assert run("up", out, "--yes", "--offline").exit_code == 0
    planned = run("plan", files_of(out.parent, ""), "--out", out, "--offline")
    assert planned.exit_code == 0, planned.stderr
    assert not (out / "router").exists()
    assert not (out / "router.sky.yaml").exists()
    assert (out / "chat" / "router.sky.yaml").exists()
    assert run("up", out, "--yes", "--offline").exit_code == 0
    assert ROUTER not in cloud.running
    assert "chat-router" in cloud.running


@pytest.mark.parametrize(
    ("talk", "more", "said"),
    [
        (MODEL, "", "talk.yaml: model.id: 'meta-llama/Llama-3.1-8B-Instruct' is served by"),
        ("Qwen/Qwen2.5-7B-Instruct", "router: {kind: none}\n", "talk.yaml: router.kind: is none, and"),
        ("Qwen/Qwen2.5-7B-Instruct", "router: {kind: litellm}\n", "talk.yaml: router.kind: is litellm, and haproxy in"),
        ("Qwen/Qwen2.5-7B-Instruct", "router: {port: 9000}\n", "talk.yaml: router.port: is 9000, and 8080 in"),
        (
            "Qwen/Qwen2.5-7B-Instruct",
            f"launch: {{engine_args: [--served-model-name, {MODEL}]}}\n",
            "'meta-llama/Llama-3.1-8B-Instruct' is served by",
        ),
    ],
)
def test_workloads_that_one_router_cannot_serve(tmp_path: Path, talk: str, more: str, said: str) -> None:
    refused = run("plan", files_of(tmp_path, "  router: one\n", talk=talk, more=more), "--no-files", "--offline")
    assert refused.exit_code == 2
    assert said in refused.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda fleet: fleet.pop("router_machine"), "on who routes its requests; plan the fleet again"),
        (
            lambda fleet: fleet["router_machine"].update(cluster="x; rm -rf /"),
            "is not the name that the router's cluster has",
        ),
        (
            lambda fleet: fleet["router_machine"].update(cluster="a b-router") or fleet.update(name="a b"),
            "is not the name that",
        ),
        (lambda fleet: fleet.update(name="a\nfrontend x"), "want one line of text"),
    ],
)
def test_a_fleet_json_that_somebody_edited_is_refused(
    out: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    path = out / "fleet.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    del document["fleet_plan_sha256"]
    document["fleet_plan_sha256"] = json_sha256(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    for command in (["check", "--offline"], ["up", "--dry-run", "--offline"], ["status"], ["down", "--yes"]):
        refused = run(command[0], out, *command[1:])
        assert refused.exit_code == 2, command
        assert said in refused.stderr
