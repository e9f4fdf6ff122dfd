"""The page of a stored fleet: what all cost, its workloads and their plans, what they share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from dashboard_stub import Stub, serve
from fleet_answers import described, fleet_request

from sky_melange.skypilot.plugin.store import StoredPlan
from sky_melange.skypilot.plugin.stored_routes import _part, _whole

LIST = "/dashboard/plugins/melange"
FLEET = f"{LIST}/f1"


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> StoredPlan:
    found = described(fleet_request(tmp_path_factory.mktemp("fleet")))
    texts = {"plan": found.pop("plan"), "summary": json.dumps(found.pop("summary")), "shown": json.dumps(found)}
    times = dict.fromkeys(("created_at", "updated_at"), "2026-06-02T10:00:00Z")
    return StoredPlan(id="f1", name="assistants", owner_id="ada", owner_name="ada", **times, **texts)


@pytest.fixture
def stub(stored: StoredPlan) -> Iterator[Stub]:
    row = {"id": "f1", "name": "assistants", "owner": "ada", "created_at": "", "updated_at": ""}
    with serve() as stub:
        stub.answers = {
            ("GET", "plans"): (200, {"plans": [row | json.loads(stored.summary)]}),
            ("GET", "plans/f1"): (200, json.loads(_whole(stored))),
            ("GET", "plans/f1?workload=chat"): (200, json.loads(_whole(_part(stored, "chat")))),
            ("GET", "plans/f1/replicas?workload=chat"): (200, {"groups": [], "observed_at": "2026-06-02T10:00:00Z"}),
            ("POST", "plans/f1/check?workload=chat"): (422, {"detail": [{"where": "", "message": "no prices"}]}),
        }
        yield stub


def test_a_fleet_is_listed_and_leads_to_its_plans_and_back(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{LIST}")
    ((name, models, *_),) = browser.rows("Stored plans")
    assert name == "assistants\nfleet of 2 workloads"
    assert models == "meta-llama/Llama-3.1-8B-Instruct, Qwen/Qwen2.5-7B-Instruct"
    browser.press(browser.link("assistants"))
    browser.says("What is shared")
    browser.press(browser.link("chat"))
    browser.find(".heat")
    assert browser.driver.current_url == f"{stub.url}{FLEET}/chat"
    assert str(browser.link("Report").get_attribute("href")).endswith("/plans/f1/report?workload=chat")
    browser.press(browser.button("Run check"))
    browser.says("no prices")
    assert ("POST", "plans/f1/check?workload=chat", {}) in stub.asked
    assert len(browser.errors()) == 1
    # What is deleted is the fleet.
    assert [button.text for button in browser.find_all(".melange button") if button.text == "Delete"] == []
    browser.press(browser.link("assistants"))
    browser.says("What is shared")


def test_a_fleet_states_its_total_its_budget_its_workloads_and_its_quotas(
    browser: Browser, stub: Stub, stored: StoredPlan
) -> None:
    figures = json.loads(stored.shown)["fleet_figures"]
    browser.open(f"{stub.url}{FLEET}")
    browser.says("What is shared")
    page = browser.text(".melange .page")
    assert f"USD {figures['monthly']} per month" in page
    assert figures["proof"] in page
    for sentence in figures["sentences"]:
        assert sentence in page
    assert any("Budget: USD 60.00 per hour" in sentence for sentence in figures["sentences"])
    assert any("One router serves all workloads" in sentence for sentence in figures["sentences"])
    chat, talk = browser.rows("Workloads")
    assert (chat[0], talk[0]) == ("chat", "talk")
    assert (chat[3], chat[5], chat[6]) == (figures["member_rows"][0][3], "12 req/s", "–")
    ((quota, _, of, *_),) = browser.rows("What is shared")
    assert (quota, of) == ("max_accelerators.H100", "1")
    assert str(browser.link("Report").get_attribute("href")).endswith("/plans/f1/report")
    assert "null" not in page
    assert "undefined" not in page


def test_it_reads_on_a_desk_and_a_phone_in_light_and_dark(browser: Browser, stub: Stub) -> None:
    browser.open(f"{stub.url}{FLEET}")
    browser.says("What is shared")
    for _, width in browser.first_screens("fleet"):
        assert browser.driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_hostile_names_of_a_fleet_are_text(browser: Browser, stub: Stub) -> None:
    answer: Any = stub.answers["GET", "plans/f1"][1]  # type: ignore[index]
    bad = "<img src=x onerror='window.hacked=1'>"
    answer["name"] = answer["fleet_figures"]["title"] = answer["fleet_figures"]["sentences"][0] = bad
    answer["fleet_figures"]["member_rows"][0][:2] = ["../../x?<b>", bad]
    answer["fleet_figures"]["shared_rows"][0][3] = bad
    browser.open(f"{stub.url}{FLEET}")
    browser.says("What is shared")
    assert browser.text(".melange .page").count("onerror") >= 4
    assert browser.driver.execute_script("return window.hacked") is None
    href = str(browser.link("../../x?<b>").get_attribute("href"))
    assert href == f"{stub.url}{FLEET}/..%2F..%2Fx%3F%3Cb%3E"


def test_a_fleet_is_planned_from_its_files(browser: Browser, stub: Stub, tmp_path: Path) -> None:
    stub.answers["POST", "plans"] = (201, {"id": "f1"})
    request = fleet_request(tmp_path)
    browser.open(f"{stub.url}{LIST}")
    browser.press(browser.button("New plan"))
    browser.find("#melange-name").send_keys("assistants")
    browser.find("#melange-file").send_keys(str(tmp_path / "fleet.yaml"))
    browser.find("#melange-workloads").send_keys(f"{tmp_path / 'chat.yaml'}\n{tmp_path / 'talk.yaml'}")
    browser.wait(lambda: browser.driver.execute_script("return document.querySelector('#melange-workload').value"))
    browser.press(browser.button("Plan and store"))
    browser.says("What is shared")
    assert [body for method, path, body in stub.asked if (method, path) == ("POST", "plans")] == [request]
