"""One API server with the plugin for all tests here, its users by an authenticating proxy's header."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server
from plugin_server import API, plugins


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Whoever comes first is no administrator; a request without the proxy's header is."""
    config = {"rbac": {"default_role": "user"}}
    with api_server(tmp_path_factory.mktemp("home"), plugins=plugins(max_seconds=120), config=config) as running:
        yield running


@pytest.fixture(scope="session")
def workload(repository: Path) -> str:
    return (repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def command_line(server: ApiServer, workload: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command line writes for the workload, in the server's own environment."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "workload.yaml").write_text(workload, encoding="utf-8")
    done = server.melange("plan", str(folder / "workload.yaml"), "--offline", "--out", str(folder / "plan"))
    assert done.returncode == 0, done.stderr
    return folder / "plan"


@pytest.fixture(scope="session")
def plan(command_line: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((command_line / "plan.json").read_text(encoding="utf-8"))
    return document


@pytest.fixture
def store(server: ApiServer, plan: dict[str, Any]) -> Iterator[Callable[..., str]]:
    """Stores the plan for a user and returns its id; all are gone after the test."""
    ids = []

    def post(user: str | None = None, name: str = "chat") -> str:
        response = server.post(f"{API}/plans", json={"name": name, "plan": plan}, user=user)
        assert response.status_code == 201, response.text
        ids.append(response.json()["id"])
        return str(ids[-1])

    yield post
    for plan_id in ids:
        server.delete(f"{API}/plans/{plan_id}")
