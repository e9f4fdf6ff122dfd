"""Many at once: the server answers others meanwhile, and those who wait get the same bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from api_server import ApiServer
from plugin_server import API

POSTS = 50
MOST_S = 1.0


class Health:
    """Asks the health route again and again, and keeps how long each answer took."""

    def __init__(self, server: ApiServer) -> None:
        self.seconds: list[float] = []
        self._server = server
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Health:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _ask(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not self._done.is_set():
                start = time.monotonic()
                assert session.get(f"{self._server.url}/api/health", timeout=60).status_code == 200
                self.seconds.append(time.monotonic() - start)
                self._done.wait(0.05)


def test_50_posts_at_once_leave_the_server_responsive(
    server: ApiServer, workload: str, command_line: Path, record_property: Callable[[str, object], None]
) -> None:
    with Health(server) as health, ThreadPoolExecutor(POSTS) as pool:
        answers = list(
            pool.map(lambda _: server.post(f"{API}/plan", json={"workload": workload}, timeout=300), range(POSTS))
        )
    expected = (command_line / "plan.json").read_bytes()
    assert [answer.status_code for answer in answers] == [200] * POSTS
    assert {answer.content for answer in answers} == {expected}
    record_property("slowest_health_s", max(health.seconds))
    assert max(health.seconds) < MOST_S
    assert len(health.seconds) > 10


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
