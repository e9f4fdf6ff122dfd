"""The page on a real SkyPilot API server with the plugin: what a user does, from the navigation to the check."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server
from browser import Browser

from sky_melange.domain.digest import json_sha256

PLUGINS = [
    {"class": "fake_serve.FakeServe"},
    {"class": "sky_melange.skypilot.plugin.MelangePlugin", "parameters": {"offline": True}},
]
LIST = "/dashboard/plugins/melange"


@pytest.fixture(scope="module")
def server(chromium_browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """Started only where there is a browser."""
    home = tmp_path_factory.mktemp("home")
    with api_server(home, plugins=PLUGINS) as server:
        services_file(server).write_text(json.dumps({"error": "no controller"}), encoding="utf-8")
        yield server


def services_file(server: ApiServer) -> Path:
    """What SkyServe says on this server."""
    return server.home / ".sky" / "fake_services.json"


@pytest.fixture
def browser(browser: Browser, server: ApiServer) -> Iterator[Browser]:
    yield browser
    assert errors(browser, server) == []


def errors(browser: Browser, server: ApiServer) -> list[str]:
    """Those of the console, less what the dashboard itself asks for in vain where no job was ever launched."""
    return [error for error in browser.errors() if not is_of_the_job_queue(error, server)]


def is_of_the_job_queue(error: str, server: ApiServer) -> bool:
    found = re.match(rf"{server.url}/internal/dashboard/api/get\?request_id=([0-9a-f-]+) - .* status of 500 ", error)
    if found is None:
        return False
    (request,) = server.get(f"/api/status?request_ids={found[1]}").json()
    return bool(request["name"] == "sky.jobs.queue_v2")


@pytest.fixture(scope="module")
def stored_on(server: ApiServer, planned: dict[str, Any]) -> dict[str, Any]:
    """A plan on the server, with the budget that its check will fail."""
    answer = server.post("/plugins/api/melange/plans", json={"name": "chat in production", "plan": planned["plan"]})
    assert answer.status_code == 201, answer.text
    stored: dict[str, Any] = answer.json()
    return stored


def test_from_the_navigation_to_the_groups_the_heat_map_and_a_check(
    browser: Browser, server: ApiServer, stored_on: dict[str, Any]
) -> None:
    browser.open(f"{server.url}/dashboard/clusters")
    browser.press(browser.link("Mélange"))
    browser.press(browser.link("chat in production"))
    assert [row[0] for row in browser.rows("Groups")] == [group["name"] for group in stored_on["plan"]["groups"]]
    assert browser.driver.current_url == f"{server.url}{LIST}/{stored_on['id']}"

    heat = stored_on["requests_per_usd"]
    browser.press(browser.find(".chooser input[value='0'] + span"))
    browser.says(f"{heat['groups'][0]['group']}: requests per USD")
    cells = [cell.text for cell in browser.find_all(".heat tbody td")]
    figures = [value for row in heat["groups"][0]["requests_per_usd"] for value in row]
    assert [cell.replace(",", "") for cell in cells] == ["✕" if value is None else shown(value) for value in figures]
    assert len({value for value in figures if value}) > 10
    browser.shot("plan-top", end="section[aria-label='Requests per dollar']")
    browser.press(browser.find(".chooser input[value='best'] + span"))

    for row in browser.rows("Running replicas"):
        assert row[2:5] == ["1", "unknown", "unknown"]
        assert "SkyServe has no controller that is up" in row[5]
    first, second = (group["name"] for group in stored_on["plan"]["groups"])
    services = [{"name": first, "status": "READY", "replicas": ["READY"]}]
    services_file(server).write_text(json.dumps(services), encoding="utf-8")
    browser.press(browser.button("Refresh running replicas"))
    browser.says("✓ as planned")
    assert [row[1:] for row in browser.rows("Running replicas")] == [
        [first, "1", "1", "1", "✓ as planned", "READY"],
        [second, "1", "0", "0", "! 1 missing", "NOT RUNNING"],
    ]
    browser.press(browser.button("Run check"))
    rows = {row[0]: row for row in browser.rows("Findings of the check")}
    assert rows["prices-known"][1] == "✓ pass"
    assert rows["serves"][1] == "✓ pass"
    assert browser.find(".melange .verdict .badge").text == "✓ pass"
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        assert browser.shot(f"plan-{scheme}").stat().st_size > 20_000
    assert browser.hosts() == {server.url.removeprefix("http://")}


def shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def test_a_plan_is_made_and_deleted_on_the_page(browser: Browser, server: ApiServer, repository: Path) -> None:
    workload = (repository / "examples" / "means" / "workload.yaml").read_text(encoding="utf-8")
    browser.open(f"{server.url}{LIST}")
    browser.press(browser.button("New plan"))
    browser.find("#melange-name").send_keys("made on the page")
    fill(browser, workload.replace("tpot_ms:", "tpot_mss:"))
    browser.press(browser.button("Plan and store"))
    browser.says("tpot_mss", "dialog [role=alert]")
    (refused,) = errors(browser, server)
    assert "status of 422" in refused
    fill(browser, workload)
    browser.press(browser.button("Plan and store"))
    browser.find(".heat")
    browser.says("made on the page")
    browser.press(browser.button("Delete"))
    browser.press(browser.button("Delete", "dialog"))
    browser.says("Stored plans")
    names = [plan["name"] for plan in server.get("/plugins/api/melange/plans").json()["plans"]]
    assert "made on the page" not in names


def fill(browser: Browser, text: str) -> None:
    """As pasting does; typing a whole file takes minutes."""
    browser.driver.execute_script("arguments[0].value = arguments[1]", browser.find("#melange-workload"), text)


HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


def test_hostile_names_are_refused_and_hostile_notes_are_text(
    browser: Browser, server: ApiServer, planned: dict[str, Any]
) -> None:
    browser.open(f"{server.url}{LIST}")
    browser.press(browser.button("New plan"))
    browser.find("#melange-name").send_keys(HOSTILE)
    fill(browser, "version: 1")
    browser.press(browser.button("Plan and store"))
    browser.says("No plan was stored", "dialog [role=alert]")
    assert "name" in browser.text("dialog [role=alert] .where")
    (refused,) = errors(browser, server)
    assert "status of 422" in refused

    plan = {**planned["plan"], "warnings": [HOSTILE], "assumptions": [HOSTILE]}
    del plan["plan_sha256"]
    plan["plan_sha256"] = json_sha256(plan)
    answer = server.post("/plugins/api/melange/plans", json={"name": "hostile", "plan": plan})
    assert answer.status_code == 201, answer.text
    browser.open(f"{server.url}{LIST}/{answer.json()['id']}")
    browser.rows("Running replicas")
    content = browser.driver.execute_script("return document.querySelector('.melange').textContent")
    assert content.count(HOSTILE) == 2
    assert browser.driver.execute_script("return document.querySelectorAll('.melange :is(img, script)').length") == 0
    assert browser.driver.execute_script("return window.hacked") is None
    assert server.delete(f"/plugins/api/melange/plans/{answer.json()['id']}").status_code == 204
