"""What was stored is there after the server was killed and started again; a broken database is no broken server."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

from api_server import ApiServer, api_server
from plugin_server import API, plugins


def test_stored_plans_survive_a_restart_and_another_release_is_refused(tmp_path: Path, plan: dict[str, Any]) -> None:
    with api_server(tmp_path, plugins=plugins(max_plans_per_user=2)) as server:
        stored = server.post(f"{API}/plans", json={"name": "kept", "plan": plan}, user="ada")
        assert stored.status_code == 201, stored.text
        place = f"{API}/plans/{stored.json()['id']}"
        _only_the_server_reads_it(tmp_path)
        server.restart()
        assert server.get(place, user="ada").json() == stored.json()
        assert len(server.get(f"{API}/plans", user="ada").json()["plans"]) == 1

        _no_more_than_the_limit(server, plan)
        server.stop()
        with sqlite3.connect(tmp_path / ".sky" / "sky_melange.db") as connection:
            connection.execute("UPDATE melange_schema SET version = 2")
        connection.close()
        server.start()
        refused = server.get(f"{API}/plans", user="ada")
        assert refused.status_code == 503
        assert "schema version 2, this release reads 1" in refused.json()["detail"][0]["message"]
        assert server.is_healthy()


def _only_the_server_reads_it(home: Path) -> None:
    files = list((home / ".sky").glob("sky_melange.db*"))
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def _no_more_than_the_limit(server: ApiServer, plan: dict[str, Any]) -> None:
    statuses = [
        server.post(f"{API}/plans", json={"name": f"plan {number}", "plan": plan}, user="ada").status_code
        for number in range(2)
    ]
    assert statuses == [201, 409]
    assert len(server.get(f"{API}/plans", user="ada").json()["plans"]) == 2
