"""The guard where it works: in SkyPilot's own API server, asked by SkyPilot's own client."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_server import ApiServer, api_server, catalogs_of
from tasks import cluster, gcp_price, service

from sky_melange.skypilot.budget.ledger import Ledger, Reservation

L4 = {"infra": "gcp", "instance_type": "g2-standard-4", "accelerators": "L4:1"}
POLICY = "sky_melange.skypilot.budget_policy.BudgetPolicy"
CLIENT = """
import sys
import sky, yaml
from sky import serve
kind, path, name = sys.argv[1:]
task = sky.Task.from_yaml_config(yaml.safe_load(open(path)))
try:
    if kind == "up":
        print("REQUEST", serve.up(task, name))
    elif kind == "up-and-wait":
        sky.get(serve.up(task, name))
    else:
        sky.get(sky.launch(task, cluster_name=name, dryrun=True))
        print("PASSED")
except Exception as error:
    print("REFUSED", type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    home = tmp_path_factory.mktemp("guarded")
    (home / "client.py").write_text(CLIENT, encoding="utf-8")
    settings: dict[str, Any] = {
        "clouds": ("aws", "gcp"),
        "catalogs": catalogs_of(["A100", "L4"], clouds=("aws", "gcp")),
        "config": {"admin_policy": POLICY},
        "plugins": [{"class": "sky_melange.skypilot.budget_pin.PinnedAdminPolicy"}],
        "environment": {"SKY_MELANGE_BUDGETS": str(home / "budgets.yaml")},
    }
    with api_server(home, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def catalog(server: ApiServer) -> str:
    return (server.home / ".sky" / "catalogs" / "v8" / "gcp" / "vms.csv").read_text(encoding="utf-8")


def write_budgets(server: ApiServer, **sections: Any) -> None:
    (server.home / "budgets.yaml").write_text(yaml.safe_dump({"version": 1, **sections}), encoding="utf-8")


def ask(server: ApiServer, kind: str, task: dict[str, Any], name: str) -> str:
    (server.home / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    done = server.run(str(server.home / "client.py"), kind, "task.yaml", name)
    assert done.returncode == 0, done.stderr
    return done.stdout


def reservations(server: ApiServer) -> tuple[Reservation, ...]:
    return Ledger.at(server.home / ".sky" / "melange" / "budget-ledger.db").read()


def test_serve_up_of_three_a100_is_rejected_with_its_figure(server: ApiServer, catalog: str) -> None:
    write_budgets(server, users={"*": {"usd_per_hour": 2}})
    said = ask(server, "up-and-wait", service(), "chat")
    figure = 3 * gcp_price(catalog, "a2-highgpu-1g", "A100")
    assert "REFUSED UserRequestRejectedByPolicy" in said
    assert f"service 'chat' costs up to {figure:.4f} USD/h" in said
    assert "2.0000 of 2.0000 USD/h" in said
    assert reservations(server) == ()


def test_a_cheaper_one_passes_and_holds_its_share(server: ApiServer, catalog: str) -> None:
    """The name that counts is the one given to `serve up`, which SkyPilot does not show to a policy."""
    write_budgets(server, prefixes={"chat-": {"usd_per_hour": 2}})
    said = ask(server, "up", service("another-name", replicas=1, **L4), "chat-cheap")
    assert "REQUEST" in said, said
    deadline = time.monotonic() + 120
    while not reservations(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    (entry,) = reservations(server)
    assert entry.spending.name == "chat-cheap"
    assert entry.spending.usd_per_hour == pytest.approx(gcp_price(catalog, "g2-standard-4", "L4"))
    assert entry.request_id in said


def test_launches_are_weighed_too(server: ApiServer, catalog: str) -> None:
    write_budgets(server, workspaces={"default": {"usd_per_hour": 2}})
    said = ask(server, "launch", cluster(nodes=2), "train")
    assert f"cluster 'train' costs up to {2 * gcp_price(catalog, 'a2-highgpu-1g', 'A100'):.4f} USD/h" in said
    assert "the budget workspaces.'default'" in said
    write_budgets(server, workspaces={"default": {"usd_per_hour": 3}})
    # Without rsync SkyPilot refuses even a dry run, after the guard.
    assert "budget guard" not in ask(server, "launch", cluster(**L4), "train-cheap")


def test_a_budgets_file_with_a_mistake_stops_launches_and_says_where(server: ApiServer) -> None:
    (server.home / "budgets.yaml").write_text("version: 1\nuser: {}\n", encoding="utf-8")
    said = ask(server, "launch", cluster(**L4), "train")
    assert "budgets.yaml:2: user: unknown key; did you mean 'users'?" in said


def post_launch(server: ApiServer, *, env_vars: dict[str, str] | None = None, **body: Any) -> str:
    """What the server says to a launch that is posted to it by hand."""
    user = {"SKYPILOT_USER_ID": "12345678", "SKYPILOT_USER": "mallory"}
    posted = {"task": yaml.safe_dump(cluster(**L4)), "cluster_name": "mine", "dryrun": True, **body}
    started = server.post("/launch", json={**posted, "env_vars": {**user, **(env_vars or {})}})
    assert started.status_code == 200, started.text
    ended = server.get("/api/get", params={"request_id": started.headers["X-Skypilot-Request-ID"]})
    return str(ended.json())


def test_a_client_cannot_bring_its_own_budgets(server: ApiServer, tmp_path: Path) -> None:
    write_budgets(server, users={"*": {"usd_per_hour": 0}})
    (tmp_path / "rich.yaml").write_text("version: 1\nusers: {'*': {usd_per_hour: 1000}}\n", encoding="utf-8")
    said = post_launch(server, env_vars={"SKY_MELANGE_BUDGETS": str(tmp_path / "rich.yaml")})
    assert "the request sets SKY_MELANGE_BUDGETS" in said


def test_a_client_cannot_bring_its_own_policy(server: ApiServer) -> None:
    """SkyPilot would take it from the client's config; the plugin keeps it from that."""
    write_budgets(server, users={"mallory": {"usd_per_hour": 0}})
    for policy in ("no.such.Policy", "http://127.0.0.1:9/yes", None):
        said = post_launch(server, override_skypilot_config={"admin_policy": policy})
        assert "Rejected by the budget guard" in said
        assert "cluster 'mine' costs up to" in said.replace("\\", "")
