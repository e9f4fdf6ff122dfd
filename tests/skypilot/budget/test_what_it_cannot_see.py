"""Each line of "What it cannot see" in docs/budget-guard.md is shown here, by its title, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from api_server import ApiServer
from guard_child import SkyChild, end_child, start_child
from guarded import post, post_launch, write_budgets
from tasks import aws_price, cluster, gcp_price, service

DOCS = Path(__file__).resolve().parents[3] / "docs" / "budget-guard.md"
L4 = {"infra": "gcp", "instance_type": "g2-standard-4", "accelerators": "L4:1"}


@pytest.fixture
def l4(sky: SkyChild) -> float:
    return gcp_price(sky.catalog("gcp"), "g2-standard-4", "L4")


def test_failover(sky: SkyChild) -> None:
    dear, cheap = sorted(
        (aws_price(sky.catalog("aws"), "p5.4xlarge"), gcp_price(sky.catalog("gcp"), "a3-highgpu-1g", "H100")),
        reverse=True,
    )
    assert dear > 1.01 * cheap
    sky.write_budgets(users={"*": {"usd_per_hour": 1.01 * cheap}})
    assert sky.ask(cluster(accelerators="H100:1"), request="launch")["passed"]


def test_controllers(sky: SkyChild) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": 0}})
    for request in ("serve.launch_controller", "jobs.launch_controller"):
        assert sky.ask(cluster(), request=request)["passed"]


def test_sky_start(server: ApiServer) -> None:
    write_budgets(server, users={"*": {"usd_per_hour": 0}})
    said = post(server, "/start", "", cluster_name="asleep")
    assert "Cluster 'asleep' does not exist" in said
    assert "budget guard" not in said


def test_a_rolling_updates_overlap(sky: SkyChild, l4: float) -> None:
    sky.call("service", name="chat", text=yaml.safe_dump(service("chat", replicas=3, **L4)), user="alice")
    sky.write_budgets(users={"*": {"usd_per_hour": 3 * l4}})
    changed = {**service("chat", replicas=3, **L4), "run": "serve --another-way"}
    assert sky.ask(changed, request="serve.update")["passed"]


def test_disks_traffic_storage_and_discounts(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": l4}})
    assert sky.ask(cluster(**L4, disk_size=4096, disk_tier="best"), request="launch")["passed"]


def test_how_long_something_runs(sky: SkyChild, l4: float) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": l4}})
    assert sky.ask(cluster(**L4, autostop=False), request="launch")["passed"]


@pytest.mark.parametrize("cloud", ["Kubernetes", "SSH", "Slurm"])
def test_machines_of_your_own_without_a_price(sky: SkyChild, cloud: str) -> None:
    assert sky.call("own_machine", cloud=cloud) == 0


def test_what_is_started_elsewhere(sky: SkyChild, l4: float, tmp_path: Path) -> None:
    other = start_child(tmp_path)
    try:
        other.call("cluster", name="elsewhere", resources=L4, user="alice")
        sky.write_budgets(users={"*": {"usd_per_hour": l4}})
        assert sky.ask(cluster(**L4), request="launch")["passed"]
    finally:
        end_child(other)


def test_machines_without_their_service_or_job(sky: SkyChild, l4: float) -> None:
    sky.call("cluster", name="purged-1", resources=L4, user="alice", is_managed=True)
    sky.write_budgets(users={"*": {"usd_per_hour": l4}})
    assert sky.ask(cluster(**L4), request="launch")["passed"]


def test_jobs_that_the_asking_user_may_not_read(sky: SkyChild) -> None:
    workspaces = {"default": {}, "secret": {"private": True, "allowed_users": ["bob"]}}
    assert sky.call("readable_workspaces", user="bob", workspaces=workspaces) == ["default", "secret"]
    assert sky.call("readable_workspaces", user="alice", workspaces=workspaces) == ["default"]


def test_names_of_the_users_choice(sky: SkyChild) -> None:
    sky.write_budgets(prefixes={"chat-": {"usd_per_hour": 0}})
    assert not sky.ask(service("chat-a"))["passed"]
    assert sky.ask(service("talk-a"))["passed"]


def test_a_server_without_the_plugin(sky: SkyChild) -> None:
    assert sky.call("overridden", config={"admin_policy": "the.clients"}) == "the.clients"


def test_clients_that_are_somebody_else(server: ApiServer) -> None:
    write_budgets(server, users={"*": {"usd_per_hour": 0}, "alice": {"usd_per_hour": 100}})
    assert "budget guard" in post_launch(server)
    assert "budget guard" not in post_launch(
        server, env_vars={"SKYPILOT_USER": "alice", "SKYPILOT_USER_ID": "a11ce000"}
    )


def test_clients_that_state_to_be_a_controller(sky: SkyChild) -> None:
    sky.write_budgets(users={"*": {"usd_per_hour": 0}})
    assert not sky.ask(cluster(**L4), request="serve.launch_replica", is_consolidated=False)["passed"]
    assert sky.ask(cluster(**L4), request="serve.launch_replica", is_consolidated=True)["passed"]


def test_the_list_is_complete_and_nothing_else_is_in_it() -> None:
    section = DOCS.read_text(encoding="utf-8").split("## What it cannot see")[1].split("\n## ")[0]
    titles = re.findall(r"^- \*\*(.+?)\.\*\*", section, re.MULTILINE)
    shown = {name.removeprefix("test_") for name in globals() if name.startswith("test_") and "list_is" not in name}
    assert {re.sub(r"[^a-z ]", "", title.lower()).replace(" ", "_") for title in titles} == shown
