"""Many at once: the server answers others meanwhile, and those who wait get the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from api_server import ApiServer, api_server
from plugin_server import API, plugins

from sky_melange.domain.digest import json_sha256

POSTS = 50
ROUNDS = 3
MOST_S = 1.0
JSON = {"Content-Type": "application/json"}


HEALTH = """
import http.client, json, select, sys, time
connection, seconds = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=60), []
while not select.select([sys.stdin], [], [], 0.05)[0]:
    start = time.monotonic()
    connection.request("GET", "/api/health")
    answer = connection.getresponse()
    answer.read()
    seconds.append(time.monotonic() - start)
    assert answer.status == 200, answer.status
print(json.dumps(seconds))
"""
"""Asks the health route until its input ends, from a process of its own: the posts' threads must not slow it down."""


@contextmanager
def health_seconds(server: ApiServer) -> Iterator[list[float]]:
    """How long each answer took; filled at the end."""
    seconds: list[float] = []
    command = [sys.executable, "-c", HEALTH, str(server.port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asker:
        yield seconds
        output, _ = asker.communicate(timeout=120)
        assert asker.returncode == 0
        seconds += json.loads(output)


def _slowest_health_s(server: ApiServer, path: str, body: bytes, expected: bytes | None) -> float:
    """While POSTS bodies are posted at once; each is answered, with `expected` where it is given."""
    with health_seconds(server) as seconds, ThreadPoolExecutor(POSTS) as pool:
        posts = [pool.submit(server.post, f"{API}/{path}", data=body, headers=JSON, timeout=300) for _ in range(POSTS)]
        answers = [post.result() for post in posts]
    assert [answer.status_code for answer in answers] == [200] * POSTS
    assert expected is None or {answer.content for answer in answers} == {expected}
    assert len(seconds) > 10
    return max(seconds)


@pytest.fixture(scope="module")
def fresh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One that is up and was never asked for anything: its worker processes are not there yet."""
    with api_server(tmp_path_factory.mktemp("fresh"), plugins=plugins(max_seconds=120)) as running:
        running.wait_until_idle()
        yield running


@pytest.mark.parametrize("kind", ["workloads", "plans of 4 MB"])
def test_50_posts_at_once_leave_the_server_responsive(
    fresh_server: ApiServer, workload: str, command_line: Path, plan: dict[str, Any], kind: str
) -> None:
    """Three times, the first with workers that have yet to start; the slowest answer of all counts."""
    if kind == "workloads":
        path, body, expected = "plan", json.dumps({"workload": workload}), (command_line / "plan.json").read_bytes()
    else:
        path, expected = "check", None
        edited = {**plan, "assumptions": ["word " * 100] * 7800}
        del edited["plan_sha256"]
        body = json.dumps({"plan": {**edited, "plan_sha256": json_sha256(edited)}})
        assert 3.9e6 < len(body) < 4 * 1024 * 1024
    slowest = [_slowest_health_s(fresh_server, path, body.encode(), expected) for _ in range(ROUNDS)]
    figures = ", ".join(f"{seconds:.2f}" for seconds in slowest)
    print(f"slowest answer of the health route during {POSTS} {kind}: {figures} s")  # noqa: T201 - for pytest -s
    assert max(slowest) < MOST_S, slowest


def test_what_the_server_has_loaded_is_not_searched_for_garbage(repository: Path) -> None:
    """The pauses that it would cost are what made the health route slow."""
    code = (
        "import gc\n"
        "from fastapi import FastAPI\n"
        "from sky.server.plugins import ExtensionContext, PluginContext\n"
        "from sky_melange.skypilot.plugin import MelangePlugin\n"
        "before = len(gc.get_objects())\n"
        "MelangePlugin().install(ExtensionContext(context=PluginContext.UVICORN, app=FastAPI()))\n"
        "print(before, gc.get_freeze_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    before, frozen = map(int, done.stdout.split())
    assert frozen > 0.9 * before


def test_more_than_a_user_may_have_waiting_are_sent_away(server: ApiServer, workload: str) -> None:
    """50 may wait or run; the others are told to come again, and another user's request still gets its turn."""
    with ThreadPoolExecutor(90) as pool:
        posts = [
            pool.submit(server.post, f"{API}/plan", json={"workload": workload}, user="ada", timeout=300)
            for _ in range(80)
        ]
        other = pool.submit(server.post, f"{API}/plan", json={"workload": workload}, user="bob", timeout=300)
        answers = [post.result() for post in posts]
    assert other.result().status_code == 200
    statuses = {answer.status_code for answer in answers}
    assert statuses <= {200, 429}
    assert sum(answer.status_code == 200 for answer in answers) >= 50
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["Retry-After"]) > 0
            assert "this user" in answer.json()["detail"][0]["message"]
    assert server.post(f"{API}/plan", json={"workload": workload}, user="ada").status_code == 200
