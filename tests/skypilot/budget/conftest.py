"""One child process with SkyPilot in it for all tests of the guard; what it was told is taken back after each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from api_server import ApiServer
from guard_child import SkyChild, end_child, start_child
from guarded import guarded_server


@pytest.fixture(scope="session")
def sky_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SkyChild]:
    child = start_child(tmp_path_factory.mktemp("guard"))
    yield child
    end_child(child)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One guarded API server for all tests that need a real one."""
    with guarded_server(tmp_path_factory.mktemp("guarded")) as server:
        yield server


@pytest.fixture(scope="session")
def catalog(server: ApiServer) -> str:
    """Its catalog of Google Cloud."""
    return (server.home / ".sky" / "catalogs" / "v8" / "gcp" / "vms.csv").read_text(encoding="utf-8")


@pytest.fixture
def sky(sky_process: SkyChild) -> Iterator[SkyChild]:
    yield sky_process
    sky_process.call("reset")
    sky_process.call("clouds", names=["aws", "gcp"])
    for path in (sky_process.budgets, sky_process.ledger):
        path.unlink(missing_ok=True)
