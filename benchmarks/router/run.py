"""What HAProxy with an emitted configuration costs, next to a plain proxy: latency, requests/s, processor time.

    python -m benchmarks.router.run [--requests N] [--seconds S] [--rounds N]

nginx plays the replicas, and in processes of its own the plain proxy: a worker a processor, as the router has a thread
a processor, kept connections on both sides, bodies in memory and no log. Rounds of full load alternate, the proxy first
or the router first, and the median of their ratios counts: other work on the machine affects all alike. The router
starts anew in each round: one that runs on keeps the luck of where its threads and buffers lie. The processor time of a
request is that of the proxy's or router's own processes; other work on the machine changes it less than rates. Needs
Linux, haproxy, nginx and wrk (Debian: apt-get install haproxy nginx-light wrk).
Everything shares this machine's processors: the load generator, the router and the replicas. Exit code 1 where a target
is missed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.router.nginx import free_port, plain_proxy, program, replicas, wait_for
from sky_melange import pipeline
from sky_melange.render import router_haproxy
from sky_melange.render.router_names import HAPROXY_FILE, endpoint_variables
from sky_melange.render.router_sky_yaml import router_secrets

WORKLOAD = Path(__file__).parent.parent.parent / "examples" / "router" / "workload.yaml"
MOST_ADDED_MS = 0.1
LEAST_OF_PLAIN_PROXY = 0.5
KEY = "benchmark"
PROMPT_BYTES = 4000


def main() -> int:
    """Prints both figures beside their targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4000, help="of each kind, for the latency")
    parser.add_argument("--seconds", type=int, default=2, help="of full load on each, in each round")
    parser.add_argument("--rounds", type=int, default=7, help="of full load on the replica, the proxy and the router")
    arguments = parser.parse_args()
    missing = [
        name for name, path in (("haproxy", _haproxy()), ("nginx", program()), ("wrk", shutil.which("wrk"))) if not path
    ]
    if missing:
        print(f"cannot measure: {', '.join(missing)} not installed")
        return 1
    planned = pipeline.plan_file(WORKLOAD)
    plan, workload = planned.plan, planned.workload
    with (
        tempfile.TemporaryDirectory() as name,
        replicas(Path(name), len(plan.groups)) as ports,
        plain_proxy(Path(name), ports[0]) as proxy,
    ):
        folder = Path(name)
        for file, text in router_haproxy.render(plan, workload).items():
            (folder / Path(file).name).write_text(text, encoding="utf-8")
        variables = [v for group in plan.groups for v in endpoint_variables(group, workload.launch.mode)]
        environment = {"PATH": os.environ["PATH"]}
        environment |= {variable: f"127.0.0.1:{port}" for variable, port in zip(variables, ports, strict=True)}
        environment |= dict.fromkeys(router_secrets(workload), KEY)
        return _measure(folder, environment, ports[0], proxy, arguments)


@contextmanager
def _router(folder: Path, environment: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Its port and process."""
    port = free_port()
    binds = {"ROUTER_BIND": f"127.0.0.1:{port}", "ROUTER_METRICS_BIND": f"127.0.0.1:{free_port()}"}
    command = [_haproxy(), "-db", "-f", str(folder / Path(HAPROXY_FILE).name)]
    router = subprocess.Popen(command, env=environment | binds, stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        time.sleep(1)
        yield port, router.pid
    finally:
        router.terminate()
        router.wait(10)


def _measure(
    folder: Path, environment: dict[str, str], direct: int, proxy: tuple[int, int], arguments: argparse.Namespace
) -> int:
    count = len(os.sched_getaffinity(0))
    print(f"{count} processors, shared by the load generator, the router and the replicas")
    with _router(folder, environment) as (routed, _):
        latencies = _latencies([direct, routed], arguments.requests)
    medians = [statistics.median(values) * 1000 for values in latencies]
    added = medians[1] - medians[0]
    p99 = [statistics.quantiles(values, n=100)[98] * 1000 for values in latencies]
    print(f"latency, median of {arguments.requests} alternating requests of {PROMPT_BYTES} bytes:")
    print(f"  direct {medians[0]:.3f} ms (p99 {p99[0]:.3f}), by router {medians[1]:.3f} ms (p99 {p99[1]:.3f})")
    print(f"  added {added:.3f} ms; target at most {MOST_ADDED_MS} ms: {'met' if added <= MOST_ADDED_MS else 'MISSED'}")
    rounds = [
        _round(folder, environment, direct, proxy, arguments.seconds, number) for number in range(arguments.rounds)
    ]
    parts = sorted(routed.rate_rps / proxied.rate_rps for _, proxied, routed in rounds)
    part = statistics.median(parts)
    rates = [statistics.median(load.rate_rps for load in loads) for loads in zip(*rounds, strict=True)]
    times = [statistics.median(load.cpu_us for load in loads) for loads in zip(*rounds, strict=True)]
    print(
        f"full load, medians of {arguments.rounds} rounds of {arguments.seconds} s each: direct {rates[0]:,.0f} "
        f"requests/s, by nginx as a plain proxy {rates[1]:,.0f}, by router {rates[2]:,.0f}"
    )
    print(f"  processor time of a request: nginx as a plain proxy {times[1]:.1f} us, router {times[2]:.1f} us")
    verdict = "met" if part >= LEAST_OF_PLAIN_PROXY else "MISSED"
    print(
        f"  {part:.0%} of the plain proxy's rate ({parts[0]:.0%} to {parts[-1]:.0%}); "
        f"target at least {LEAST_OF_PLAIN_PROXY:.0%}: {verdict}"
    )
    return 0 if added <= MOST_ADDED_MS and part >= LEAST_OF_PLAIN_PROXY else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Full load on one port: requests per second, and the processor time that the process there spent on each."""

    rate_rps: float
    cpu_us: float


def _round(
    folder: Path, environment: dict[str, str], direct: int, proxy: tuple[int, int], seconds: int, number: int
) -> tuple[Load, Load, Load]:
    """On a replica, the proxy and the router; in every other round the router comes first."""
    with _router(folder, environment) as router:
        order = [(direct, None), proxy, router]
        loads = {port: _load(folder, port, pid, seconds) for port, pid in order[:: -1 if number % 2 else 1]}
        return loads[direct], loads[proxy[0]], loads[router[0]]


def _latencies(ports: list[int], count: int) -> list[list[float]]:
    """Seconds from sending to the whole answer, by port; requests alternate, so that all see the same machine."""
    request = _request(PROMPT_BYTES)
    sockets = [socket.create_connection(("127.0.0.1", port)) for port in ports]
    taken: list[list[float]] = [[] for _ in ports]
    for connection in sockets:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(count):
        for place, connection in enumerate(sockets):
            started = time.perf_counter()
            connection.sendall(request)
            answer = connection.recv(65536)
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            taken[place].append(time.perf_counter() - started)
    for connection in sockets:
        connection.close()
    return taken


def _request(prompt_bytes: int) -> bytes:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "' + b"x" * prompt_bytes + b'"}]}'
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\nContent-Type: application/json\r\n"
    head += f"Authorization: Bearer {KEY}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _load(folder: Path, port: int, pid: int | None, seconds: int) -> Load:
    script = folder / "post.lua"
    body = _request(PROMPT_BYTES).partition(b"\r\n\r\n")[2].decode()
    script.write_text(
        f"wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\n"
        f"wrk.headers['Authorization'] = 'Bearer {KEY}'\nwrk.body = '{body}'\n"
    )
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    command = ["wrk", "-t2", "-c64", f"-d{seconds}s", "-s", str(script), url]
    before = _cpu_s(pid)
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    spent = _cpu_s(pid) - before
    if "Non-2xx" in found or "Socket errors" in found:
        raise SystemExit(f"requests failed under load:\n{found}")
    rate, count = re.search(r"Requests/sec:\s+([\d.]+)", found), re.search(r"(\d+) requests in", found)
    if rate is None or count is None:
        raise SystemExit(f"wrk said something else:\n{found}")
    return Load(rate_rps=float(rate.group(1)), cpu_us=spent / int(count.group(1)) * 1e6)


def _cpu_s(pid: int | None) -> float:
    """Processor time of a process and its children so far, in the kernel and outside."""
    if pid is None:
        return 0.0
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    stats = [Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split() for each in (str(pid), *children)]
    return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


def _haproxy() -> str:
    return shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or ""


if __name__ == "__main__":
    sys.exit(main())
