"""SkyPilot's own server on PostgreSQL, by its own connection setting: the plugin stores there too."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from api_server import api_server
from plugin_server import API, plugins
from postgres_server import missing, running_postgres

from sky_melange.skypilot.plugin.store import engine_of


@pytest.mark.engines
def test_plans_are_stored_where_skypilot_keeps_its_state(tmp_path: Path, plan: dict[str, Any]) -> None:
    if importlib.util.find_spec("psycopg") is None:
        missing(
            "psycopg is not installed, which SkyPilot's own state needs with SQLAlchemy 2.1: pip install '.[postgres]'"
        )
    with running_postgres() as url:
        address = url.replace("postgres://", "postgresql://", 1)
        settings = {"SKYPILOT_DB_CONNECTION_URI": address}
        with api_server(tmp_path, plugins=plugins(), environment=settings) as server:
            stored = server.post(f"{API}/plans", json={"name": "kept", "plan": plan}, user="ada")
            assert stored.status_code == 201, stored.text
            place = f"{API}/plans/{stored.json()['id']}"
            server.restart()
            assert server.get(place, user="ada").json() == stored.json()
        assert not list((tmp_path / ".sky").glob("sky_melange.db*"))
        engine = engine_of(url)
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("SELECT name FROM melange_plans")).scalar_one() == "kept"
        engine.dispose()
