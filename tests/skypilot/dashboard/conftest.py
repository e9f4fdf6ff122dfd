"""One browser for all tests of the page, and the answers of the plugin's routes for one real plan."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, chromium
from click.testing import CliRunner
from stub_server import Stub, serve

from sky_melange.cli import cli


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
    """The quickstart's plan.json, and its check."""
    folder = tmp_path_factory.mktemp("plan")
    workload = repository / "examples" / "quickstart" / "workload.yaml"
    runner = CliRunner(mix_stderr=False)
    made = runner.invoke(cli, ["plan", str(workload), "--offline", "--out", str(folder)])
    assert made.exit_code == 0, made.stderr
    checked = runner.invoke(cli, ["check", str(folder), "--offline", "--budget", "10", "--format", "json"])
    plan = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    return {"plan": plan, "check": json.loads(checked.stdout)}


def stored_plan(plan: dict[str, Any]) -> dict[str, Any]:
    """What GET plans/{id} answers. The figures of the heat map are made up; they hold every kind of cell."""
    grid = plan["workload"]["traffic"]["grid"]
    inputs, outputs = grid["input_edges"], grid["output_edges"]
    groups = []
    for number, group in enumerate(plan["groups"]):
        figures = [
            [round(4e6 / (i + 8 * o) * (1 + number * 0.4 * (o < 200) - number * 0.3 * (o > 200)), 2) for o in outputs]
            for i in inputs
        ]
        figures[-1][-1] = None
        figures[-1][0] = 0.0 if number else None
        groups.append({"group": group["name"], "accelerator": group["accelerator"], "requests_per_usd": figures})
    return {
        "id": "p1",
        "name": "chat in production",
        "owner": "ada",
        "created_at": "2026-06-01T10:00:00Z",
        "updated_at": "2026-06-02T10:00:00Z",
        "plan": plan,
        "requests_per_usd": {"input_edges": inputs, "output_edges": outputs, "groups": groups},
    }


def listed(stored: dict[str, Any]) -> dict[str, Any]:
    """Its line in GET plans."""
    plan = stored["plan"]
    kept = {key: stored[key] for key in ("id", "name", "owner", "created_at", "updated_at")}
    return {
        **kept,
        "model": plan["model"]["id"],
        "usd_per_hour": plan["cost"]["total_usd_per_hour"],
        "usd_per_month": plan["unit_costs"]["usd_per_month"],
        "worst_case_usd_per_hour": plan["cost"]["worst_case_usd_per_hour"],
        "priced_at": "2026-05-07",
        "groups": len(plan["groups"]),
        "replicas": sum(group["instances"] * group["replicas_per_instance"] for group in plan["groups"]),
    }


@pytest.fixture
def stored(planned: dict[str, Any]) -> dict[str, Any]:
    return stored_plan(copy.deepcopy(planned["plan"]))


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
