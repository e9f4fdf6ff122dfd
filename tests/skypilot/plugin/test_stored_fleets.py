"""Fleets on SkyPilot's own server: planned or posted, stored, looked at as a whole and plan by plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer
from fleet_answers import fleet_request
from plugin_server import API

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def request_body(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return fleet_request(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def stored(server: ApiServer, request_body: dict[str, Any]) -> dict[str, Any]:
    answer = server.post(f"{API}/plans", json=request_body, user="ada")
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_fleet_is_stored_and_shown_as_the_command_line_plans_it(
    server: ApiServer, stored: dict[str, Any], request_body: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for name, text in {**request_body["workloads"], "fleet.yaml": request_body["fleet_file"]}.items():
        (folder / name).write_text(text, encoding="utf-8")
    done = server.melange("plan", str(folder / "fleet.yaml"), "--offline", "--out", str(folder / "plan"))
    assert done.returncode == 0, done.stderr
    assert stored["fleet"] == json.loads((folder / "plan" / "fleet.json").read_text(encoding="utf-8"))
    listed = server.get(f"{API}/plans", user="ada").json()["plans"]
    (row,) = [each for each in listed if each["id"] == stored["id"]]
    assert (row["workloads"], row["usd_per_hour"]) == (2, stored["fleet"]["mean_usd_per_hour"])
    address = f"{API}/plans/{stored['id']}"
    assert server.get(address, user="ada").json() == stored
    part = server.get(f"{address}?workload=chat", user="ada").json()
    assert part["plan"] == json.loads((folder / "plan" / "chat" / "plan.json").read_text(encoding="utf-8"))
    assert part["figures"]["monthly"]
    # What the command line prints can be stored as well.
    whole = server.melange("plan", str(folder / "fleet.yaml"), "--offline", "--no-files", "--format", "json")
    again = server.post(f"{API}/plans", json={"name": "again", "fleet": json.loads(whole.stdout)}, user="ada")
    assert again.status_code == 201, again.text
    assert again.json()["fleet_figures"] == stored["fleet_figures"]


def test_a_fleet_is_reported_whole_and_checked_plan_by_plan(server: ApiServer, stored: dict[str, Any]) -> None:
    address = f"{API}/plans/{stored['id']}"
    page = server.get(f"{address}/report", user="ada")
    assert "both: 2 workloads on one budget" in page.text
    assert "per month" in server.get(f"{address}/report?workload=talk", user="ada").text
    for method, path in (("POST", "check"), ("GET", "replicas")):
        refused = server.request(method, f"{address}/{path}", user="ada")
        assert refused.status_code == 422
        assert "?workload=NAME" in refused.json()["detail"][0]["message"]
        assert server.request(method, f"{address}/{path}?workload=chat", user="ada").status_code == 200
    for name, status in (("nobody", 404), ("../chat", 422), ("%00", 422), ("", 422)):
        assert server.get(f"{address}?workload={name}", user="ada").status_code == status
    assert server.get(f"{address}?workload=chat", user="eve").status_code == 404


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body.update(fleet_file=body["fleet_file"].replace("chat.yaml", "/etc/passwd")), "not among"),
        (lambda body: body.update(fleet_file=body["fleet_file"].replace("chat.yaml", "../x.yaml")), "not among"),
        (lambda body: body.update(fleet_file=body["fleet_file"].replace("chat.yaml", "fleet.yaml")), "not among"),
        (lambda body: body["workloads"].update({"../../x.yaml": "a: 1"}), "String should match pattern"),
        (lambda body: body["workloads"].update({"x.yaml\n": "a: 1"}), "String should match pattern"),
        (
            lambda body: body["workloads"].update({"chat.yaml": "prices: {overrides: /etc/passwd}"}),
            "prices.overrides",
        ),
        (lambda body: body.pop("workloads"), "give both, or neither"),
        (lambda body: body.update(workload="version: 1"), "give one of"),
    ],
)
def test_no_file_of_the_server_is_read(
    server: ApiServer, request_body: dict[str, Any], change: Change, said: str
) -> None:
    body = json.loads(json.dumps(request_body))
    change(body)
    refused = server.post(f"{API}/plans", json=body, user="ada")
    assert refused.status_code == 422
    assert said in refused.text
    assert "/tmp/" not in refused.text  # noqa: S108
    assert "root:" not in refused.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda fleet: fleet.pop("plans"), "want the plans by name"),
        (lambda fleet: fleet["plans"].update({"../../x": {}}), "want the plans by name"),
        (lambda fleet: fleet["plans"].update(more=fleet["plans"]["chat"]), "are chat, talk, more; the fleet has"),
        (lambda fleet: fleet["plans"].pop("chat"), "are talk; the fleet has chat, talk"),
        (lambda fleet: fleet["plans"].update(chat=5), "must be an object"),
        (lambda fleet: fleet.update(usd_per_hour=1.0), "is not the digest of this file"),
        (lambda fleet: fleet.update(name="<b>"), "holds a character that no name of a plan has"),
        (lambda fleet: fleet["plans"]["chat"]["workload"]["prices"].update(overrides="x.csv"), "names a file"),
        (lambda fleet: fleet["plans"]["chat"].update(name="other"), "but the workload in this file says"),
    ],
)
def test_a_fleet_that_somebody_edited_is_refused(
    server: ApiServer, stored: dict[str, Any], change: Change, said: str
) -> None:
    address = f"{API}/plans/{stored['id']}"
    plans = {name: server.get(f"{address}?workload={name}", user="ada").json()["plan"] for name in ("chat", "talk")}
    fleet = {**json.loads(json.dumps(stored["fleet"])), "plans": plans}
    change(fleet)
    refused = server.post(f"{API}/plans", json={"name": "edited", "fleet": fleet}, user="ada")
    assert refused.status_code == 422, refused.text
    assert said in refused.text
    assert "/tmp/" not in refused.text  # noqa: S108
