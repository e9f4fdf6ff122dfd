"""Whose plan is whose, by SkyPilot's own users and roles."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from api_server import ApiServer
from plugin_server import API


def _give_role(server: ApiServer, user: str, role: str) -> None:
    """By SkyPilot's own route, as its administrator. Its ids of proxied users follow from their names."""
    assert server.get("/users/role", user=user).status_code == 200
    user_id = hashlib.md5(user.encode(), usedforsecurity=False).hexdigest()[:8]
    done = server.post("/users/update", json={"user_id": user_id, "role": role})
    assert done.status_code == 200, done.text


def test_a_user_cannot_read_overwrite_or_delete_anothers_plan(
    server: ApiServer, store: Callable[..., str], plan: dict[str, Any]
) -> None:
    place = f"{API}/plans/{store('ada', 'mine')}"
    before = server.get(place, user="ada").json()
    assert server.get("/users/role", user="eve").json()["role"] == "user"

    assert server.get(f"{API}/plans", user="eve").json() == {"plans": []}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/check"), ("GET", "/replicas")):
        response = server.request(method, f"{place}{path}", user="eve")
        absent = server.request(method, f"{API}/plans/{'0' * 32}{path}", user="eve")
        assert (response.status_code, response.content) == (404, absent.content), method
    for method in ("PUT", "PATCH", "POST"):
        response = server.request(method, place, user="eve", json={"name": "mine", "plan": plan})
        assert response.status_code == 405, method
    # A name is no key: the same name is another plan.
    store("eve", "mine")
    assert server.get(place, user="ada").json() == before
    assert len(server.get(f"{API}/plans", user="ada").json()["plans"]) == 1


def test_an_identity_in_the_body_or_the_query_counts_for_nothing(server: ApiServer, plan: dict[str, Any]) -> None:
    forged = {"name": "x", "plan": plan, "owner": "ada", "owner_id": "8c8d357b"}
    assert server.post(f"{API}/plans", json=forged, user="eve").status_code == 422
    assert server.get(f"{API}/plans?owner=ada&user=ada", user="eve").status_code == 200


def test_administrators_see_all_and_may_delete(server: ApiServer, store: Callable[..., str]) -> None:
    plan_id = store("ada")
    _give_role(server, "root", "admin")
    assert plan_id in {entry["id"] for entry in server.get(f"{API}/plans", user="root").json()["plans"]}
    assert server.delete(f"{API}/plans/{plan_id}", user="root").status_code == 204
    assert server.get(f"{API}/plans/{plan_id}", user="ada").status_code == 404


def test_without_authentication_nobody_owns_and_skypilots_local_user_sees_all(
    server: ApiServer, store: Callable[..., str]
) -> None:
    plan_id = store(None)
    assert server.get(f"{API}/plans/{plan_id}").json()["owner"] is None
    assert server.get(f"{API}/plans/{plan_id}", user="eve").status_code == 404
    assert plan_id not in {entry["id"] for entry in server.get(f"{API}/plans", user="eve").json()["plans"]}


def test_viewers_change_nothing(
    server: ApiServer, store: Callable[..., str], plan: dict[str, Any], workload: str
) -> None:
    plan_id = store("vic")
    _give_role(server, "vic", "viewer")
    assert server.post(f"{API}/plans", json={"name": "x", "plan": plan}, user="vic").status_code == 403
    assert server.delete(f"{API}/plans/{plan_id}", user="vic").status_code == 403
    assert server.get(f"{API}/plans/{plan_id}", user="vic").status_code == 200
    assert server.get(f"{API}/plans", user="vic").status_code == 200
    assert server.post(f"{API}/plans/{plan_id}/check", user="vic").status_code == 200
    assert server.post(f"{API}/plan", json={"workload": workload}, user="vic").status_code == 200
    assert server.get(f"{API}/prices?cloud=aws", user="vic").status_code == 200
    assert server.get(f"{API}/dashboard/melange.js", user="vic").status_code == 200


@pytest.mark.parametrize("name", ["ada' OR '1'='1", "<script>alert(1)</script>", "../../etc", "a" * 190])
def test_strange_user_names_own_their_plans_only(server: ApiServer, store: Callable[..., str], name: str) -> None:
    other = store("ada")
    own = store(name)
    listed = server.get(f"{API}/plans", user=name).json()["plans"]
    assert [(entry["id"], entry["owner"]) for entry in listed] == [(own, name)]
    assert server.get(f"{API}/plans/{other}", user=name).status_code == 404
