"""One browser for all tests of the page, and the answers of the plugin's routes for one real plan."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, chromium
from click.testing import CliRunner
from dashboard_stub import Stub, serve
from page_answers import listed, stored_plan

from sky_melange.cli import cli
from sky_melange.plan_file import read_plan
from sky_melange.render.plan_report import figures


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of the page go: SKY_MELANGE_SCREENSHOTS, or a temporary folder."""
    folder = os.environ.get("SKY_MELANGE_SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def chromium_browser(tmp_path_factory: pytest.TempPathFactory, shots: Path) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile"), shots) as browser:
        yield browser


@pytest.fixture
def browser(chromium_browser: Browser) -> Iterator[Browser]:
    """The browser, with an empty console; the test fails when the page leaves an error there."""
    chromium_browser.open("about:blank")
    chromium_browser.errors()
    chromium_browser.scheme("light")
    yield chromium_browser
    chromium_browser.open("about:blank")
    left = chromium_browser.errors()
    assert left == [], "\n".join(left)


@pytest.fixture(scope="session")
def planned(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A plan.json, its check, and its figures."""
    folder = tmp_path_factory.mktemp("plan")
    workload = repository / "examples" / "means" / "workload.yaml"
    runner = CliRunner(mix_stderr=False)
    made = runner.invoke(cli, ["plan", str(workload), "--offline", "--out", str(folder)])
    assert made.exit_code == 0, made.stderr
    checked = runner.invoke(cli, ["check", str(folder), "--offline", "--budget", "10", "--format", "json"])
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    document = read_plan(folder)
    # As JSON brings them: lists, no tuples.
    shown = json.loads(json.dumps(asdict(figures(document.plan, document.workload))))
    return {"plan": plan, "check": json.loads(checked.stdout), "figures": shown}


@pytest.fixture
def stored(planned: dict[str, Any]) -> dict[str, Any]:
    return stored_plan(copy.deepcopy(planned["plan"]), copy.deepcopy(planned["figures"]))


@pytest.fixture
def stub(stored: dict[str, Any], planned: dict[str, Any]) -> Iterator[Stub]:
    """A server that has one plan."""
    first, second = (group["name"] for group in stored["plan"]["groups"])
    running = [
        {"group": first, "service": first, "planned": 1, "ready": 1, "total": 1, "status": "READY"},
        {"group": second, "service": second, "planned": 3, "ready": 1, "total": 2, "status": "REPLICA_INIT"},
    ]
    with serve() as stub:
        stub.answers = {
            ("GET", "plans"): (200, {"plans": [listed(stored)]}),
            ("GET", "plans/p1"): (200, stored),
            ("GET", "plans/p1/replicas"): (200, {"groups": running, "observed_at": "2026-06-02T10:00:00Z"}),
            ("POST", "plans/p1/check"): (200, planned["check"]),
            ("DELETE", "plans/p1"): (204, None),
        }
        yield stub
