"""Every route of the plugin on SkyPilot's own server; answers are those of the command line."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from plugin_server import API

import sky_melange

SERVICES = "fake_services.json"


def _without_ages(value: Any) -> Any:
    """Ages go on while a test runs: those, and the figure that they are checked by, count as 0."""
    if isinstance(value, dict):
        same_age = value.get("unit") == "hours"
        return {
            key: 0 if key == "age_hours" or (same_age and key == "figure") else _without_ages(entry)
            for key, entry in value.items()
        }
    return [_without_ages(entry) for entry in value] if isinstance(value, list) else value


def _comparable(text: str) -> str:
    """With the order of keys and the layout as they are."""
    return json.dumps(_without_ages(json.loads(text)), indent=2, ensure_ascii=False) + "\n"


def test_skypilot_lists_the_plugin(server: ApiServer) -> None:
    listed = server.get("/api/plugins").json()["plugins"]
    assert [(entry["name"], entry["version"]) for entry in listed] == [("melange", sky_melange.__version__)]
    script = server.get(listed[0]["js_extension_path"])
    assert script.status_code == 200
    assert script.headers["content-type"].startswith("text/javascript")


def test_every_route_is_described(server: ApiServer) -> None:
    document = server.get("/openapi.json").json()
    described = {
        (method.upper(), path.removeprefix(API)): operation
        for path, operations in document["paths"].items()
        if path.startswith(API)
        for method, operation in operations.items()
    }
    assert set(described) == {
        ("POST", "/plan"),
        ("POST", "/check"),
        ("GET", "/prices"),
        ("GET", "/plans"),
        ("POST", "/plans"),
        ("GET", "/plans/{plan_id}"),
        ("DELETE", "/plans/{plan_id}"),
        ("GET", "/plans/{plan_id}/report"),
        ("POST", "/plans/{plan_id}/check"),
        ("GET", "/plans/{plan_id}/replicas"),
    }
    for (method, path), operation in described.items():
        assert operation["summary"], path
        if method == "POST":
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert schema["additionalProperties"] is False, path
            assert "413" in operation["responses"], path


def test_a_posted_workload_gives_the_command_lines_bytes(server: ApiServer, workload: str, command_line: Path) -> None:
    response = server.post(f"{API}/plan", json={"workload": workload})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.content == (command_line / "plan.json").read_bytes()
    assert server.post(f"{API}/plan", json={"workload": workload}, user="bob").content == response.content


def test_an_explained_plan_too(server: ApiServer, workload: str, tmp_path: Path) -> None:
    (tmp_path / "workload.yaml").write_text(workload, encoding="utf-8")
    arguments = ("plan", str(tmp_path / "workload.yaml"), "--offline", "--explain", "--out", str(tmp_path / "plan"))
    assert server.melange(*arguments).returncode == 0
    response = server.post(f"{API}/plan", json={"workload": workload, "explain": True})
    assert response.content == (tmp_path / "plan" / "plan.json").read_bytes()
    assert "explanation" in response.json()


def test_a_posted_plan_is_checked_as_on_the_command_line(
    server: ApiServer, plan: dict[str, Any], command_line: Path
) -> None:
    script = (
        "import os, sys; os.chdir(sys.argv.pop(1)); sys.argv[0] = 'sky-melange';"
        "from sky_melange.cli import main; main()"
    )
    done = server.run("-c", script, str(command_line), "check", "plan.json", "--offline", "--format", "json")
    response = server.post(f"{API}/check", json={"plan": plan})
    assert response.status_code == 200, response.text
    assert done.returncode == 0, done.stderr
    here, there = (json.loads(text) for text in (response.text, done.stdout))
    # Only the command line has a workload file to compare with.
    assert [report.pop("checks")[0]["verdict"] for report in (here, there)] == ["skipped", "pass"]
    assert [report.pop("summary").replace("4 checks hold (7", "3 checks hold (8") for report in (here, there)] == [
        response.json()["summary"]
    ] * 2
    assert _comparable(json.dumps(here)) == _comparable(json.dumps(there))
    checks = [json.loads(text)["checks"][1:] for text in (response.text, done.stdout)]
    assert _without_ages(checks[0]) == _without_ages(checks[1])
    assert response.json()["verdict"] == "pass"


def test_a_policy_fails_a_plan(server: ApiServer, plan: dict[str, Any]) -> None:
    policy = {"version": 1, "banned_clouds": [plan["groups"][0]["cloud"]]}
    response = server.post(f"{API}/check", json={"plan": plan, "policy": policy})
    assert response.status_code == 200, response.text
    assert response.json()["verdict"] == "fail"
    misspelt = server.post(f"{API}/check", json={"plan": plan, "policy": {"version": 1, "baned_clouds": ["aws"]}})
    assert misspelt.status_code == 422
    assert misspelt.json()["code"] == 2
    assert misspelt.json()["detail"][0]["where"].startswith("policy.yaml:")


def test_prices_with_age_and_quarantine(server: ApiServer) -> None:
    arguments = ("prices", "--offline", "--cloud", "aws", "--accelerator", "L4", "--format", "json")
    done = server.melange(*arguments)
    response = server.get(f"{API}/prices?cloud=aws&accelerator=L4")
    assert response.status_code == 200, response.text
    printed, found = (_without_ages(json.loads(text)) for text in (done.stdout, response.text))
    assert {**found, "quarantined": []} == {**printed, "quarantined": []}
    assert all(offer["age_hours"] > 0 for offer in response.json()["offers"])
    everything = server.get(f"{API}/prices?all=true").json()
    assert len(everything["offers"]) > 1000
    assert {item["rule"] for item in everything["quarantined"]}
    unknown = server.get(f"{API}/prices?accelerator=H1000")
    assert (unknown.status_code, unknown.json()["code"]) == (422, 2)
    assert "there is no 'H1000'" in unknown.json()["detail"][0]["message"]


def test_a_stored_plan_from_first_to_last(server: ApiServer, workload: str, plan: dict[str, Any]) -> None:
    made = server.post(f"{API}/plans", json={"name": "first one", "workload": workload}, user="ada")
    assert made.status_code == 201, made.text
    stored = made.json()
    assert (stored["name"], stored["owner"], stored["plan"]) == ("first one", "ada", plan)
    assert stored["figures"]["monthly"] == f"{730 * plan['cost']['total_usd_per_hour']:,.2f}"
    assert [tile["name"] for tile in stored["figures"]["tiles"]][:2] == ["Rented", "Serves"]
    place = f"{API}/plans/{stored['id']}"
    assert server.get(place, user="ada").json() == stored

    (listed,) = server.get(f"{API}/plans", user="ada").json()["plans"]
    assert listed["usd_per_hour"] == plan["cost"]["total_usd_per_hour"]
    assert listed["usd_per_month"] == pytest.approx(730 * listed["usd_per_hour"])
    assert listed["worst_case_usd_per_hour"] == plan["cost"]["worst_case_usd_per_hour"]
    assert listed["priced_at"] == min(group["price"]["fetched_at"] for group in plan["groups"])
    assert (listed["groups"], listed["model"]) == (len(plan["groups"]), plan["model"]["id"])

    checked = server.post(f"{place}/check", user="ada")
    assert (checked.status_code, checked.json()["verdict"]) == (200, "pass")
    assert server.delete(place, user="ada").status_code == 204
    assert server.get(place, user="ada").status_code == 404
    assert server.delete(place, user="ada").status_code == 404
    assert server.get(f"{API}/plans", user="ada").json() == {"plans": []}


def test_a_stored_plan_as_the_reports_page(server: ApiServer, store: Callable[..., str], plan: dict[str, Any]) -> None:
    """It says every text of `figures`, runs nothing, and is its owner's as the plan is."""
    place = f"{API}/plans/{store('ada')}"
    figures = server.get(place, user="ada").json()["figures"]
    answer = server.get(f"{place}/report", user="ada")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.text
    text = html.unescape(answer.text)
    said = [*figures["missing"], *figures["sentences"], *figures["promise"], *figures["beyond"], figures["why"]]
    assert [each for each in said if each not in text] == []
    assert f"sha256 {plan['plan_sha256'][:12]}" in text
    assert "<script" not in answer.text
    assert server.get(f"{place}/report", user="eve").status_code == 404


def test_requests_per_dollar_agree_with_the_plans_own_load(
    server: ApiServer, store: Callable[..., str], plan: dict[str, Any]
) -> None:
    """A group's utilisation follows from its shares and capacities: the heat map must give the same capacities."""
    heat = server.get(f"{API}/plans/{store()}").json()["requests_per_usd"]
    edges = (heat["input_edges"], heat["output_edges"])
    assert [group["group"] for group in heat["groups"]] == [group["name"] for group in plan["groups"]]
    for group, shown in zip(plan["groups"], heat["groups"], strict=True):
        load = 0.0
        for bucket in plan["routing"]["buckets"]:
            share = bucket["shares"].get(group["name"], 0.0)
            row, column = edges[0].index(bucket["input_tokens"]), edges[1].index(bucket["output_tokens"])
            cell = shown["requests_per_usd"][row][column]
            assert (cell is not None) == (group["name"] in bucket["can_serve"])
            if share:
                load += bucket["rate_rps"] * share / (cell * group["price_usd_per_hour"] / 3600)
        # The router takes some requests for those of other buckets, which this sum leaves where they belong.
        assert load / group["instances"] == pytest.approx(group["utilization"], rel=0.01)


def test_replicas_beside_the_planned_ones(server: ApiServer, store: Callable[..., str], plan: dict[str, Any]) -> None:
    place = f"{API}/plans/{store('ada')}/replicas"
    first, *others = [group["name"] for group in plan["groups"]]
    state = [
        {"name": first, "status": "READY", "replicas": ["READY", "STARTING", "READY", "PREEMPTED", "FAILED"]},
        {"name": "of-others", "status": "READY", "replicas": ["READY"]},
    ]
    (server.home / ".sky" / SERVICES).write_text(json.dumps(state), encoding="utf-8")
    answer = server.get(place, user="ada").json()
    assert answer["observed_at"].endswith("Z")
    by_name = {group["group"]: group for group in answer["groups"]}
    assert set(by_name) == {first, *others}
    found = by_name[first]
    assert (found["ready"], found["total"], found["status"], found["reason"]) == (2, 3, "READY", None)
    assert found["planned"] == plan["groups"][0]["instances"]
    for name in others:
        assert (by_name[name]["ready"], by_name[name]["status"]) == (0, "NOT RUNNING")

    (server.home / ".sky" / SERVICES).write_text(json.dumps({"error": "no controller"}), encoding="utf-8")
    for group in server.get(place, user="ada").json()["groups"]:
        assert (group["ready"], group["total"], group["status"]) == (None, None, None)
        assert group["reason"] == "SkyServe has no controller that is up on this server"


def test_clusters_are_no_services(server: ApiServer, workload: str) -> None:
    text = workload.replace("mode: serve", "mode: cluster")
    assert text != workload
    made = server.post(f"{API}/plans", json={"name": "clusters", "workload": text}, user="ada").json()
    for group in server.get(f"{API}/plans/{made['id']}/replicas", user="ada").json()["groups"]:
        assert (group["service"], group["ready"]) == (None, None)
        assert "clusters, not services" in group["reason"]
    assert server.delete(f"{API}/plans/{made['id']}", user="ada").status_code == 204


@pytest.mark.parametrize(
    ("pattern", "changed", "code", "says"),
    [
        (r"tpot_ms: [0-9.]+", "tpot_ms: -1", 2, "tpot_ms"),
        (
            r"(?ms)tpot_ms: [0-9.]+(.*)^candidates:\n.*?(?=^\S)",
            r"tpot_ms: 1\1candidates: {accelerators: [H100], clouds: [aws]}\n",
            4,
            "no candidate can serve",
        ),
        (r"id: \S+", "id: example/no-such-model", 5, "there is no profile of example/no-such-model"),
    ],
)
def test_errors_have_the_exit_code_of_the_command_line(
    server: ApiServer, workload: str, pattern: str, changed: str, code: int, says: str
) -> None:
    text = re.sub(pattern, changed, workload, count=1)
    response = server.post(f"{API}/plan", json={"workload": text})
    assert (response.status_code, response.json()["code"]) == (422, code), response.text
    assert says in response.text
    assert all(set(entry) == {"where", "message", "help"} for entry in response.json()["detail"])
    assert "/tmp" not in response.text  # noqa: S108 - where the server worked is none of the caller's business


def test_a_plan_over_its_budget_is_refused_with_the_figure(server: ApiServer, workload: str) -> None:
    text = re.sub(r"(?m)^budget:.*$", "", workload) + "\nbudget: {usd_per_hour: 0.01}\n"
    response = server.post(f"{API}/plan", json={"workload": text})
    assert (response.status_code, response.json()["code"]) == (422, 3), response.text
    assert "over budget.usd_per_hour 0.01" in response.json()["detail"][0]["message"]
