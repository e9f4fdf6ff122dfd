"""What the router adds to a request, beside a direct call in the same run. benchmarks/router measures the rest."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from socket import create_connection

import pytest
import router_plans as plans
from haproxy_process import haproxy, needs_haproxy
from stub_replica import prompt_body, request_head

from benchmarks.router import nginx
from sky_melange.render import router_haproxy

MOST_ADDED_S = 0.001

pytestmark = [
    needs_haproxy,
    pytest.mark.skipif(nginx.program() is None, reason="nginx is not installed (apt-get install nginx-light)"),
]


def test_the_router_adds_at_most_a_millisecond_at_the_median() -> None:
    plan, workload = plans.plan(), plans.workload()
    body = prompt_body(1000, envelope_bytes=router_haproxy.envelope_bytes(workload))
    request = request_head(len(body)) + body
    text = router_haproxy.render(plan, workload)["router/haproxy.cfg"]
    with tempfile.TemporaryDirectory() as name, nginx.replicas(Path(name), 3) as ports:
        addresses = {
            f"{group.upper().replace('-', '_')}_ENDPOINT": f"127.0.0.1:{port}"
            for group, port in zip(plans.GROUPS, ports, strict=True)
        }
        with haproxy(text, Path(name), addresses) as router:
            medians = _medians([ports[0], router.port], request)
    assert medians[1] - medians[0] <= MOST_ADDED_S, medians


def _medians(ports: list[int], request: bytes, count: int = 1000) -> list[float]:
    """Seconds, by port; requests alternate, so that both see the same machine."""
    connections = [create_connection(("127.0.0.1", port)) for port in ports]
    taken: list[list[float]] = [[] for _ in ports]
    for _ in range(count):
        for place, connection in enumerate(connections):
            started = time.perf_counter()
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            taken[place].append(time.perf_counter() - started)
            assert answer.startswith(b"HTTP/1.1 200")
    for connection in connections:
        connection.close()
    return [statistics.median(times) for times in taken]
