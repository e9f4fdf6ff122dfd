"""The guard where it works: in SkyPilot's own API server, asked by SkyPilot's own client."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from api_server import ApiServer
from guarded import L4, ask, post_launch, reservations, write_budgets
from tasks import cluster, gcp_price, service


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
        assert "cluster 'mine' costs up to" in said
