"""What was stored is there after the server was killed and started again; a broken database is no broken server."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

from api_server import ApiServer, api_server
from plugin_server import API, plugins

PASSWORD = "not a secret"
FROM_OUTSIDE = {"X-Forwarded-For": "192.0.2.7"}
"""To SkyPilot what comes from this machine needs no password."""


def asking(user: str, password: str = PASSWORD) -> dict[str, Any]:
    return {"auth": (user, password), "headers": FROM_OUTSIDE}


def test_stored_plans_survive_a_restart_and_another_release_is_refused(tmp_path: Path, plan: dict[str, Any]) -> None:
    """With SkyPilot's basic authentication."""
    settings = {"plugins": plugins(max_plans_per_user=2), "environment": {"ENABLE_BASIC_AUTH": "true"}}
    with api_server(tmp_path, **settings) as server:
        _create_users(server)
        stored = server.post(f"{API}/plans", json={"name": "kept", "plan": plan}, **asking("ada"))
        assert stored.status_code == 201, stored.text
        assert stored.json()["owner"] == "ada"
        place = f"{API}/plans/{stored.json()['id']}"
        _only_the_server_reads_it(tmp_path)
        server.restart()
        assert server.get(place, **asking("ada")).json() == stored.json()
        assert server.get(place, **asking("eve")).status_code == 404
        assert server.delete(place, **asking("eve")).status_code == 404
        assert server.get(place, **asking("ada", "wrong")).status_code == 401
        assert server.get(place, headers=FROM_OUTSIDE).status_code == 401
        # Where a password is asked for, the header of a proxy says nothing.
        assert server.get(place, user="ada", headers=FROM_OUTSIDE).status_code == 401

        _no_more_than_the_limit(server, plan)
        server.stop()
        with sqlite3.connect(tmp_path / ".sky" / "sky_melange.db") as connection:
            connection.execute("UPDATE melange_schema SET version = 2")
        connection.close()
        server.start()
        refused = server.get(f"{API}/plans", **asking("ada"))
        assert refused.status_code == 500
        assert "schema version 2, this release reads 1" in refused.json()["detail"][0]["message"]
        assert server.is_healthy()


def _create_users(server: ApiServer) -> None:
    for name in ("ada", "eve"):
        user = {"username": name, "password": PASSWORD, "role": "user"}
        done = server.post("/users/create", json=user)
        assert done.status_code == 200, done.text


def _only_the_server_reads_it(home: Path) -> None:
    files = list((home / ".sky").glob("sky_melange.db*"))
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def _no_more_than_the_limit(server: ApiServer, plan: dict[str, Any]) -> None:
    statuses = [
        server.post(f"{API}/plans", json={"name": f"plan {number}", "plan": plan}, **asking("ada")).status_code
        for number in range(2)
    ]
    assert statuses == [201, 409]
    assert len(server.get(f"{API}/plans", **asking("ada")).json()["plans"]) == 2
