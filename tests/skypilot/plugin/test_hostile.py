"""Hostile requests get 4xx, and the server goes on."""

from __future__ import annotations

import copy
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from api_server import ApiServer
from plugin_server import API

MIB = 1024 * 1024
SECRET = "root:x:0:0"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def _goes_on(server: ApiServer) -> Iterator[None]:
    """Whatever was sent, the server is the same process and answers."""
    assert server.process is not None
    yield
    assert server.process.poll() is None
    assert server.is_healthy()


def _refused(server: ApiServer, text: str, path: str = "plan") -> Any:
    response = server.post(f"{API}/{path}", json={"workload": text})
    assert 400 <= response.status_code < 500, response.text
    return response.json()


READING = {
    "trace": ("traffic", "trace: /etc/passwd"),
    "trace-url": ("traffic", "trace: s3://bucket/key.csv"),
    "trace-glob": ("traffic", "trace: '../../**/*.csv'"),
    "overrides": (None, "prices: {overrides: ../../../../etc/passwd}"),
    "base-url": (None, "prices: {base_url: 'http://169.254.169.254/latest'}"),
    "profiles": (None, "profiles: {files: [/etc/passwd]}"),
    "keep": (None, "constraints: {keep: {plan: /etc/passwd, switching_usd_per_hour: 1}}"),
}


@pytest.mark.parametrize("case", READING)
def test_a_workload_reads_no_file_and_no_address_of_the_server(server: ApiServer, workload: str, case: str) -> None:
    section, line = READING[case]
    if section == "traffic":
        text = re.sub(r"(?ms)^traffic:\n.*?(?=^\S)", f"traffic:\n  {line}\n\n", workload)
    else:
        key = line.split(":")[0]
        text = re.sub(rf"(?ms)^{key}:.*?(?=^\S|\Z)", "", workload) + f"\n{line}\n"
    answer = _refused(server, text)
    (found,) = answer["detail"]
    assert "is not taken by the server" in found["message"], answer
    assert re.match(r"workload\.yaml:\d+: [a-z_.]+$", found["where"])
    assert SECRET not in json.dumps(answer)


@pytest.mark.parametrize("key", ["overrides", "base_url"])
def test_nor_does_a_posted_plan(server: ApiServer, plan: dict[str, Any], key: str) -> None:
    bad = copy.deepcopy(plan)
    bad["workload"]["prices"][key] = "/etc/passwd"
    for path, body in (("check", {"plan": bad}), ("plans", {"name": "x", "plan": bad})):
        response = server.post(f"{API}/{path}", json=body)
        assert response.status_code == 422, response.text
        assert response.json()["detail"][0]["where"] == f"plan.json: workload.prices.{key}"


def test_nor_profile_files_of_a_plan(server: ApiServer, plan: dict[str, Any]) -> None:
    bad = copy.deepcopy(plan)
    bad["workload"]["profiles"]["files"] = ["/etc/passwd"]
    response = server.post(f"{API}/check", json={"plan": bad})
    assert (response.status_code, SECRET in response.text) == (422, False)
    assert "workload.profiles.files" in response.text


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)
BOMBS = {
    "billion laughs": LAUGHS,
    "merge keys": "a: &a {x: 1}\n<<: [*a, *a]\n",
    "deep lists": "[" * 100_000,
    "deep maps": "{a: " * 20_000,
    "python object": "!!python/object/apply:os.system ['touch /tmp/owned']\n",
    "many keys": "".join(f"k{i}: 1\n" for i in range(60_000)),
    "many documents": "---\n" * 50_000,
    "one long line": "name: " + "x" * 1_000_000,
    "numbers": "version: 1\nname: " + "9" * 500_000,
    "nul": "name: \x00",
    "control": "name: '\x1b[2J'",
    "half a surrogate": "name: \ud800",
    "nothing": " ",
    "a list": "- 1",
}


@pytest.mark.parametrize("case", BOMBS)
def test_yaml_bombs(server: ApiServer, case: str) -> None:
    assert _refused(server, BOMBS[case])["code"] == 2


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "../../x", "a b", "x" * 5000, "'; DROP TABLE melange_plans; --", "\u202e", ""]
)
def test_names_are_plain(server: ApiServer, workload: str, plan: dict[str, Any], name: str) -> None:
    text = re.sub(r"(?m)^name: .*$", lambda _: f"name: {json.dumps(name)}", workload)
    assert _refused(server, text)["code"] == 2
    if name != "a b":
        response = server.post(f"{API}/plans", json={"name": name, "plan": plan})
        assert response.status_code == 422, response.text


@pytest.mark.parametrize("place", ["name", "model.id", "groups.0.name", "groups.0.region", "groups.0.file", "key"])
def test_a_plan_with_script_in_its_names_is_not_stored(server: ApiServer, plan: dict[str, Any], place: str) -> None:
    bad = copy.deepcopy(plan)
    *path, last = place.split(".")
    found: Any = bad
    for part in path:
        found = found[int(part)] if part.isdecimal() else found[part]
    found[last] = "<img src=x onerror=alert(1)>"
    if place == "key":
        bad = {**plan, "<script>": 1}
    response = server.post(f"{API}/plans", json={"name": "x", "plan": bad})
    assert response.status_code == 422, response.text
    assert server.get(f"{API}/plans").json() == {"plans": []}


BODIES = {
    "empty": b"",
    "no json": b"{",
    "a list": b"[]",
    "deep": b"[" * 200_000,
    "deep plan": b'{"plan": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "nan": b'{"plan": {"schema_version": NaN}}',
    "big number": b'{"plan": {"schema_version": ' + b"9" * 10_000 + b"}}",
    "not utf-8": b'{"workload": "\xff"}',
    "nul": b'{"workload": "\x00"}',
    "unknown key": b'{"workload": "x", "path": "/etc/passwd"}',
    "number": b'{"workload": 1}',
    "null": b"null",
}


@pytest.mark.parametrize("path", ["plan", "check", "plans"])
@pytest.mark.parametrize("case", BODIES)
def test_malformed_bodies(server: ApiServer, case: str, path: str) -> None:
    response = server.post(f"{API}/{path}", data=BODIES[case], headers=JSON)
    assert (response.status_code, response.json()["code"]) == (422, 2), response.text
    assert len(response.content) < 10_000


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_foreign_page_could_send_is_refused(server: ApiServer, kind: str) -> None:
    response = server.post(f"{API}/plans", data=b"{}", headers={"Content-Type": kind})
    assert response.status_code == 415


@pytest.mark.parametrize(
    "path",
    [
        "plans/..%2f..%2fstate.db",
        "plans/%2e%2e/%2e%2e",
        "plans/' OR 1=1",
        "plans/" + "a" * 5000,
        "plans/" + "0" * 32 + "%00",
        "dashboard/..%2fplugin.py",
        "dashboard/%2e%2e%2fplugin.py",
        "dashboard/plugin.py",
        "dashboard//etc/passwd",
        "prices?accelerator=" + "x" * 5000,
        "prices?cloud=..%2f..%2f",
    ],
)
def test_paths_lead_nowhere(server: ApiServer, path: str) -> None:
    response = server.get(f"{API}/{path}")
    assert 400 <= response.status_code < 500, response.text
    assert "BasePlugin" not in response.text


def _resident_bytes(server: ApiServer) -> int:
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


def test_100_mb_with_a_length_are_refused_unread(server: ApiServer) -> None:
    before = _resident_bytes(server)
    response = server.post(f"{API}/plan", data=b'{"workload": "' + b"x" * (100 * MIB) + b'"}', headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, 2)
    assert _resident_bytes(server) - before < 40 * MIB


def test_100_mb_in_chunks_are_refused_without_being_kept(server: ApiServer) -> None:
    before = _resident_bytes(server)

    def chunks() -> Iterator[bytes]:
        yield b'{"workload": "'
        for _ in range(100):
            yield b"x" * MIB

    response = server.post(f"{API}/plans", data=chunks(), headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, 2)
    assert _resident_bytes(server) - before < 40 * MIB


def test_a_length_that_lies_changes_nothing(server: ApiServer) -> None:
    """Less than is sent: the rest is another, malformed, request. More: the server waits and others do not."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as waiting:
        waiting.sendall(
            b"POST /plugins/api/melange/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
        assert server.get(f"{API}/plans").status_code == 200
    for length in (b"-1", b"99999999999999999999999999", b"1e3"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as odd:
            odd.sendall(
                b"POST /plugins/api/melange/plan HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Connection: close\r\nContent-Length: " + length + b"\r\n\r\n"
            )
            assert odd.recv(4096)[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 413"}


def test_just_too_long_and_just_not(server: ApiServer) -> None:
    body = b'{"workload": "x' + b" " * (4 * MIB)
    assert server.post(f"{API}/plan", data=body[: 4 * MIB - 2] + b'"}', headers=JSON).status_code == 422
    assert server.post(f"{API}/plan", data=body[: 4 * MIB - 1] + b'"}', headers=JSON).status_code == 413


def test_a_workload_over_the_command_lines_limit(server: ApiServer, workload: str) -> None:
    answer = _refused(server, workload + "#" * MIB)
    assert "larger than 1 MiB" in answer["detail"][0]["message"]


def test_nothing_is_left_behind(server: ApiServer) -> None:
    assert not Path("/tmp/owned").exists()  # noqa: S108
    assert "Traceback" not in "".join(line for line in server.log.splitlines() if "sky_melange" in line)
