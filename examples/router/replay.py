"""Plan -> router -> three stub replicas -> replayed trace: the load on each group beside the plan's.

    python examples/router/replay.py [--trace azure-llm-2023-conv.csv.gz] [--bytes-per-token 4.0] [--requests N]

Starts a real HAProxy with the emitted file on loopback and sends it one request for each line of the trace (columns
ContextTokens and GeneratedTokens; without --trace, the counts in workload.yaml). Each prompt has as many bytes as its
tokens times --bytes-per-token. The load of a group is what its requests keep busy, by the same throughput profiles as
the plan: the sum over requests of 1 / (requests/s of one replica on that size), divided by the replicas and by the time
that so many requests take to arrive at the planned rate.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import contextlib
import csv
import gzip
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sky_melange import pipeline
from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.profile import Capacity
from sky_melange.domain.size_estimate import size_estimates
from sky_melange.pipeline import Planned
from sky_melange.render import router_haproxy
from sky_melange.render.router_names import HAPROXY_FILE, endpoint_variables
from sky_melange.render.router_sky_yaml import router_secrets

HERE = Path(__file__).resolve().parent
SHOWN_GROUP = "x-sky-melange-group"
CONNECTIONS = 32
KEY = "replayed"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
TEMPLATE_TOKENS = 5
"""That a chat template adds for each message."""
Size = tuple[int, int]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--workload", type=Path, default=HERE / "workload.yaml")
    parser.add_argument("--bytes-per-token", type=float, default=4.0, help="of the prompts that are sent")
    parser.add_argument("--noise", type=float, default=0.0, help="prompts have up to this fraction more or less bytes")
    parser.add_argument("--turns", type=int, default=1, help="messages of each prompt")
    parser.add_argument(
        "--within", action="store_true", help="sizes from within the buckets, not their edges; implied by --noise"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, help="so many, drawn at random, instead of all")
    parser.add_argument("--log", type=Path, help="write the log of these requests: tokens, bytes of the body")
    arguments = parser.parse_args()
    planned = pipeline.plan_file(arguments.workload)
    sizes = _counted(planned) if arguments.trace is None else _traced(arguments.trace)
    draw = random.Random(arguments.seed)  # noqa: S311 - no secret
    if arguments.within or (arguments.noise and arguments.trace is None):
        sizes = _drawn(planned, draw, arguments.requests or 6000)
    elif arguments.requests is not None:
        sizes = draw.sample(sizes, arguments.requests)
    bodies = [
        _body(
            tokens * arguments.bytes_per_token * draw.uniform(1 - arguments.noise, 1 + arguments.noise), most, arguments
        )
        for tokens, most in sizes
    ]
    if arguments.log is not None:
        rows = [(*size, len(body)) for size, body in zip(sizes, bodies, strict=True)]
        with arguments.log.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("ContextTokens", "GeneratedTokens", "body_bytes"), *rows])
    served = asyncio.run(_replay(planned, bodies))
    print(_table(planned, sizes, served))


def _traced(path: Path) -> list[Size]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="", encoding="utf-8") as stream:
        return [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(stream)]


def _counted(planned: Planned) -> list[Size]:
    """The requests of workload.yaml in a fixed mixed order, each as large as its bucket."""
    traffic = planned.workload.traffic
    least = min(bucket.rate_rps for bucket in traffic.buckets())
    each = [
        (index / round(bucket.rate_rps / least), (bucket.input_tokens, bucket.output_tokens))
        for bucket in traffic.buckets()
        for index in range(round(bucket.rate_rps / least))
    ]
    return [size for _, size in sorted(each)]


def _drawn(planned: Planned, draw: random.Random, count: int) -> list[Size]:
    """Requests by the rates of the plan's buckets, within each so that they have the mean of the bucket."""
    traffic = planned.workload.traffic
    buckets, lows = traffic.buckets(), (0, *traffic.grid.input_edges)
    sizes = []
    for bucket in draw.choices(buckets, weights=[bucket.rate_rps for bucket in buckets], k=count):
        low = lows[bucket.input_index]
        mean = None if traffic.mean_tokens is None else traffic.mean_tokens[bucket.input_index][bucket.output_index]
        place = 0.5 if mean is None else min(0.99, max(0.01, (mean[0] - low) / (bucket.input_tokens - low)))
        place = draw.random() ** ((1 - place) / place)
        sizes.append((max(low + 1, round(low + place * (bucket.input_tokens - low))), bucket.output_tokens))
    return sizes


async def _replay(planned: Planned, bodies: list[bytes]) -> list[str]:
    """The group that served each request, by the header that the router adds."""
    plan, workload = planned.plan, planned.workload
    stubs = [await asyncio.start_server(_stub, "127.0.0.1", 0, backlog=1024) for _ in plan.groups]
    variables = [name for group in plan.groups for name in endpoint_variables(group, workload.launch.mode)]
    addresses = {
        name: f"127.0.0.1:{stub.sockets[0].getsockname()[1]}" for name, stub in zip(variables, stubs, strict=True)
    }
    addresses |= dict.fromkeys(router_secrets(workload), KEY)
    files = router_haproxy.render(plan, workload)
    served = [""] * len(bodies)
    queue = iter(enumerate(bodies))
    with _router(files, addresses) as port:

        async def client() -> None:
            reader, writer = await _connect(port)
            for number, body in queue:
                head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: router\r\nAuthorization: Bearer {KEY}\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                answer = (await reader.readuntil(b"\r\n\r\n")).decode()
                headers = dict(line.split(": ", 1) for line in answer.split("\r\n")[1:] if line)
                await reader.readexactly(int(headers["content-length"]))
                served[number] = headers.get(SHOWN_GROUP, "")
            writer.close()

        await asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    for stub in stubs:
        stub.close()
    return served


async def _stub(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A replica that answers everything at once."""
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            _, found, rest = head.partition("content-length: ")
            await reader.readexactly(int(rest.split("\r\n")[0]) if found else 0)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()
    writer.close()


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(200):
        with contextlib.suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.05)
    raise SystemExit("haproxy did not start")


def _body(prompt_bytes: float, output_tokens: int, arguments: argparse.Namespace) -> bytes:
    """A chat request whose messages have that many bytes, but for those that their template's tokens stand for."""
    turns = arguments.turns
    room = max(turns, round(prompt_bytes - TEMPLATE_TOKENS * (turns - 1) * arguments.bytes_per_token))
    texts = ["x" * (room // turns + (turn < room % turns)) for turn in range(turns)]
    messages = [{"role": "assistant" if turn % 2 else "user", "content": text} for turn, text in enumerate(texts)]
    return json.dumps({"model": MODEL, "messages": messages, "max_tokens": output_tokens, "stream": True}).encode()


@contextlib.contextmanager
def _router(files: dict[str, str], addresses: dict[str, str]) -> Iterator[int]:
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise SystemExit("haproxy is not installed (Debian: apt-get install haproxy)")
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    binds = {"ROUTER_BIND": f"127.0.0.1:{ports[0]}", "ROUTER_METRICS_BIND": f"127.0.0.1:{ports[1]}"}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / Path(name).name).write_text(text, encoding="utf-8")
        path = Path(folder) / Path(HAPROXY_FILE).name
        environment = {"PATH": os.environ["PATH"], **addresses, **binds}
        process = subprocess.Popen([program, "-db", "-f", str(path)], env=environment, stdout=subprocess.DEVNULL)
        try:
            yield ports[0]
        finally:
            process.terminate()
            process.wait(10)


def _table(planned: Planned, sizes: list[Size], served: list[str]) -> str:
    plan, traffic = planned.plan, planned.workload.traffic
    seconds = len(sizes) / traffic.request_rate_rps
    requests = Counter(served)
    total = sum(route.routed_rps for route in plan.routing)
    lines = [
        f"{len(sizes):,} requests, {requests['']:,} without an answer from a group; "
        f"at {traffic.request_rate_rps:g} requests/s they arrive in {seconds:.0f} s",
        f"{'group':24} {'replicas':>8} {'requests':>9} {'planned':>8} {'load':>7} {'planned':>8}",
    ]
    for group in plan.groups:
        share = sum(route.routed_rps * dict(route.shares).get(group.name, 0.0) for route in plan.routing) / total
        busy = _busy_replica_seconds(
            planned, group, [s for s, name in zip(sizes, served, strict=True) if name == group.name]
        )
        load = busy / seconds / group.replicas
        lines.append(
            f"{group.name:24} {group.replicas:8} {requests[group.name] / len(sizes):9.1%} {share:8.1%} "
            f"{load:7.1%} {group.utilization:8.1%}"
        )
    return "\n".join(lines)


def _busy_replica_seconds(planned: Planned, group: ReplicaGroup, sizes: list[Size]) -> float:
    """Seconds of one replica that these requests take, at the capacities that the plan was made with."""
    candidate = next(
        c
        for c in planned.candidates
        if (c.offer.cloud, c.offer.region, c.offer.instance_type, c.offer.use_spot, c.profile.key.tensor_parallel)
        == (group.cloud, group.region, group.instance_type, group.use_spot, group.tensor_parallel)
    )
    grid, buckets = planned.workload.traffic.grid, planned.workload.traffic.buckets()
    places = {(b.input_index, b.output_index): number for number, b in enumerate(buckets)}
    strays = list(zip(size_estimates(planned.workload).strays, candidate.strays, strict=True))
    total = 0.0
    for input_tokens, output_tokens in sizes:
        i = min(bisect.bisect_left(grid.input_edges, input_tokens), len(grid.input_edges) - 1)
        o = min(bisect.bisect_left(grid.output_edges, output_tokens), len(grid.output_edges) - 1)
        capacity = candidate.capacities[places[i, o]]
        if not isinstance(capacity, Capacity):
            # Not at the targets for all of its bucket: a request near its lower edge that was taken for a smaller one.
            able = (
                found
                for stray, found in strays
                if (stray.input_index, stray.output_index) == (i, o) and stray.input_tokens >= input_tokens
            )
            capacity = next(able, capacity)
        if not isinstance(capacity, Capacity):
            raise SystemExit(
                f"{group.name} was sent a request of {input_tokens} × {output_tokens}, which it cannot serve"
            )
        total += 1 / capacity.request_rate_rps
    return total


if __name__ == "__main__":
    main()
