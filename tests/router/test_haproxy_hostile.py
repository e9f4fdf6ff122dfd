"""What a real HAProxy with an emitted configuration answers to requests that mean harm, or make no sense."""

from __future__ import annotations

import contextlib
import gzip
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import router_plans as plans
from haproxy_process import Running, haproxy, needs_haproxy
from stub_replica import StubReplica, running

from sky_melange.domain.workload import RoutingPolicy
from sky_melange.render import router_haproxy

pytestmark = [needs_haproxy, pytest.mark.server]

LONG_CONTEXT = (100, 1000, 400_000)
"""Its buffers hold 1 MiB, so that large headers are not refused for want of room."""


@contextmanager
def front_door(
    folder: Path, *, edges: tuple[int, ...] = plans.INPUT_EDGES, **changes: Any
) -> Iterator[tuple[Running, dict[str, StubReplica]]]:
    policy = RoutingPolicy.SIZE_AWARE
    plan = plans.plan(policy, **changes)
    if edges != plans.INPUT_EDGES:
        wider = dict(zip(plans.INPUT_EDGES, edges, strict=True))
        routing = tuple(replace(route, input_tokens=wider[route.input_tokens]) for route in plan.routing)
        plan = replace(plan, routing=routing)
    stubs = {name: StubReplica(name) for name in plans.GROUPS}
    with running(*stubs.values()):
        addresses = {f"{name.upper().replace('-', '_')}_ENDPOINT": stub.address for name, stub in stubs.items()}
        with haproxy(router_haproxy.render(plan, plans.workload(policy)), folder, addresses) as router:
            yield router, stubs
            assert router.process.poll() is None, "HAProxy ended"
            assert ask(router, b"GET /health HTTP/1.1\r\nHost: r\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def ask(router: Running, sent: bytes, *, timeout_s: float = 10.0) -> bytes:
    """What comes back for these bytes until the router is silent or closes; the head of the answer at least."""
    with socket.create_connection(("127.0.0.1", router.port), timeout_s) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while b"\r\n\r\n" not in answer and (part := connection.recv(65536)):
                answer += part
    return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def post(
    path: bytes = b"/v1/chat/completions", headers: bytes = b"", body: bytes = b"{}", *, length: bool = True
) -> bytes:
    stated = b"Content-Length: %d\r\n" % len(body) if length else b""
    return b"POST " + path + b" HTTP/1.1\r\nHost: r\r\n" + stated + headers + b"\r\n" + body


def total(stubs: dict[str, StubReplica]) -> int:
    return sum(stub.seen.total for stub in stubs.values())


ALLOWED = [
    b"/v1/chat/completions",
    b"/v1/chat/completions?a=/../b",
    b"/v1/completions",
    b"/v1/embeddings",
    b"/v1/messages",
    b"/v1/responses",
    b"http://r/v1/completions",
]
REFUSED = [
    b"/v1/../metrics",
    b"/v1/%2e%2e/metrics",
    b"/v1/%2E./metrics",
    b"/v1/..%2fmetrics",
    b"/v1/.%2e%2fmetrics",
    b"/v1%2f..%2fmetrics",
    b"/v1/%252e%252e/metrics",
    b"/v1/..;/metrics",
    b"/v1/..\\metrics",
    b"/v1/..%5cmetrics",
    b"/v1/chat/../../metrics",
    b"/v1/chat/completions/../../../metrics",
    b"/v1/./metrics",
    b"//v1/completions",
    b"/v1//completions",
    b"/v1/completions/",
    b"/v1/completions#/../../metrics",
    b"/v1/completions%00",
    b"/v1/completions%20",
    b"/v1/completions;x",
    b"/v1/c%6fmpletions",
    b"/V1/completions",
    b"/v1/models/../../metrics",
    b"/v1/models/..",
    b"/v1/models/x/../../../metrics",
    b"/v1/models/x%2f..%2f..%2f..%2fmetrics",
    b"/v1/models/.hidden",
    b"/v1/load_lora_adapter",
    b"/v1/unload_lora_adapter",
    b"/metrics",
    b"/sleep",
    b"/health/../metrics",
    b"/%68ealth/../metrics",
    b"http://r/v1/../metrics",
    b"http://r/metrics",
    b"http://elsewhere.example/v1/completions",
    b"*",
    b"/",
    b"",
]


def test_only_the_paths_of_the_api_reach_a_replica(tmp_path: Path) -> None:
    with front_door(tmp_path) as (router, stubs):
        reached = {path: status(ask(router, post(path))) for path in ALLOWED}
        assert total(stubs) == len(ALLOWED)
        refused = {path: status(ask(router, post(path))) for path in REFUSED}
        assert total(stubs) == len(ALLOWED), refused
        # The stub answers 404 itself to what is no POST: the router's own answer names no group.
        for path in (b"/v1/models", b"/v1/models/example/model-8b"):
            answer = ask(router, b"GET " + path + b" HTTP/1.1\r\nHost: r\r\n\r\n")
            assert b"x-sky-melange-group" in answer, path
    assert set(reached.values()) == {200}, reached
    assert set(refused.values()) <= {400, 404}, refused


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"get", b"X"])
def test_methods_that_the_api_does_not_have_are_refused(method: bytes, tmp_path: Path) -> None:
    with front_door(tmp_path) as (router, _):
        answer = ask(router, method + b" /v1/completions HTTP/1.1\r\nHost: r\r\nContent-Length: 0\r\n\r\n")
    assert status(answer) in (400, 404, 405)
    assert b"x-sky-melange-group" not in answer


BAD = {
    "gzip": (post(headers=b"Content-Encoding: gzip\r\n", body=gzip.compress(b"{}" * 1000)), 415),
    "identity": (post(headers=b"Content-Encoding: identity\r\n"), 200),
    "several encodings": (post(headers=b"Content-Encoding: identity, gzip\r\n"), 415),
    "no length": (post(body=b"", length=False), 411),
    "length 0": (post(body=b""), 411),
    "no length in HTTP/1.0": (b"POST /v1/completions HTTP/1.0\r\n\r\n", 411),
    "an empty body in chunks": (post(headers=b"Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n", length=False), 411),
    "chunks": (post(headers=b"Transfer-Encoding: chunked\r\n", body=b"2\r\n{}\r\n0\r\n\r\n", length=False), 200),
    "a chunk that is no number": (
        post(headers=b"Transfer-Encoding: chunked\r\n", body=b"zz\r\n{}\r\n0\r\n\r\n", length=False),
        400,
    ),
    "a chunk of 2^64": (
        post(headers=b"Transfer-Encoding: chunked\r\n", body=b"ffffffffffffffff1\r\n{}\r\n", length=False),
        400,
    ),
    "two lengths": (post(headers=b"Content-Length: 3\r\n"), 400),
    "a length that is no number": (post(headers=b"Content-Length: 2x\r\n", length=False), 400),
    "a negative length": (post(headers=b"Content-Length: -1\r\n", length=False), 400),
    "a length of 400 digits": (post(headers=b"Content-Length: " + b"9" * 400 + b"\r\n", length=False), 400),
    "an unknown transfer": (post(headers=b"Transfer-Encoding: gzip\r\n", length=False), 400),
    "a header of 20 kB": (post(headers=b"X-A: " + b"a" * 20_000 + b"\r\n"), 431),
    "headers of 20 kB": (post(headers=b"".join(b"X-A%d: %s\r\n" % (n, b"a" * 1000) for n in range(20))), 431),
    "headers of 1 MB": (post(headers=b"".join(b"X-A%d: %s\r\n" % (n, b"a" * 20_000) for n in range(50))), 431),
    "a header of 1 MB": (post(headers=b"X-A: " + b"a" * 1_000_000 + b"\r\n"), 431),
    "10,000 headers": (post(headers=b"".join(b"X%d: a\r\n" % n for n in range(10_000))), 400),
    "a long query": (post(b"/v1/completions?" + b"a" * 8_000), 414),
    "no host": (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 200),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "two encodings": (post(headers=b"Content-Encoding: identity\r\nContent-Encoding: br\r\n"), 415),
}


@pytest.mark.parametrize("edges", [plans.INPUT_EDGES, LONG_CONTEXT], ids=["small buffers", "large buffers"])
def test_what_cannot_be_read_has_an_answer_and_harms_nothing(edges: tuple[int, ...], tmp_path: Path) -> None:
    with front_door(tmp_path, edges=edges) as (router, stubs):
        found = {name: status(ask(router, sent)) for name, (sent, _) in BAD.items()}
        reached = total(stubs)
    wanted = {name: code for name, (_, code) in BAD.items()}
    if edges is plans.INPUT_EDGES:
        # What does not fit the buffers is not read as HTTP at all.
        wanted |= {"headers of 1 MB": 400, "a header of 1 MB": 400}
    assert found == wanted
    assert reached == list(wanted.values()).count(200)


HOSTILE_LIMITS = (
    *(b'"x"', b"-1", b"-9223372036854775809", b"1e309", b"9" * 400, b"NaN", b"null", b"[]", b"{}"),
    *(b"1.5", b"true", b"", b'"\\ud800"'),
)


def test_limits_of_answers_that_are_none_have_an_answer(tmp_path: Path) -> None:
    with front_door(tmp_path) as (router, stubs):
        for value in HOSTILE_LIMITS:
            body = b'{"messages": [], "max_tokens": ' + value + b"}"
            assert status(ask(router, post(body=body))) == 200, value
        for body in (b"[" * 50_000, b'{"a":' * 10_000, b"\xff\xfe\x00", b"null", b'{"max_tokens"', b"\x00" * 5000):
            assert status(ask(router, post(body=body))) == 200, body[:20]
        assert total(stubs) == len(HOSTILE_LIMITS) + 6


def test_a_nul_byte_hides_nothing_of_a_body_s_size(tmp_path: Path) -> None:
    messages = b", ".join(b'{"role": "user", "content": "' + b"x" * 400 + b'"}' for _ in range(40))
    with front_door(tmp_path) as (router, stubs):
        for nul in (b"", b"\x00"):
            assert status(ask(router, post(body=b'{"x": "' + nul + b'", "messages": [' + messages + b"]}"))) == 200
        assert stubs[plans.SMALL].seen.total == 0


HALVES = [
    b"",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: r\r\nContent-Length: 1000\r\n\r\n{",
]


@contextmanager
def half_open(router: Running, count: int) -> Iterator[None]:
    """Requests from 127.0.0.1 that are never completed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 1000:
        pytest.skip("this machine allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 1000), hard))
    with contextlib.ExitStack() as connections:
        for number in range(count):
            with contextlib.suppress(ConnectionError):
                half = connections.enter_context(socket.create_connection(("127.0.0.1", router.port), 10))
                half.sendall(HALVES[number % len(HALVES)])
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask_from(source: str, router: Running, sent: bytes) -> int:
    """The status of the answer; 0 for none."""
    try:
        with socket.create_connection(("127.0.0.1", router.port), 5, (source, 0)) as connection:
            connection.sendall(sent)
            return status(connection.recv(65536))
    except (TimeoutError, ConnectionError):
        return 0


HEALTH = b"GET /health HTTP/1.1\r\nHost: r\r\n\r\n"


def test_thousands_of_half_open_requests_leave_the_router_answering(tmp_path: Path) -> None:
    with front_door(tmp_path) as (router, _), half_open(router, 3500):
        for source in ("127.0.0.1", "127.0.0.2"):
            assert ask_from(source, router, HEALTH) == 200
            assert ask_from(source, router, post()) == 200


def test_an_address_cannot_take_every_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More half-open requests than the router takes connections at all."""
    monkeypatch.setattr(router_haproxy, "MIN_CONNECTIONS", 400)
    groups = tuple(plans.group(name, max_concurrency=10) for name in plans.GROUPS)
    with front_door(tmp_path, groups=groups) as (router, _), half_open(router, 1000):
        assert ask_from("127.0.0.2", router, HEALTH) == 200
        assert ask_from("127.0.0.2", router, post()) == 200
        assert ask_from("127.0.0.1", router, HEALTH) == 0


def test_a_half_open_request_ends(tmp_path: Path) -> None:
    with front_door(tmp_path) as (router, _), socket.create_connection(("127.0.0.1", router.port), 20) as half:
        half.sendall(HALVES[1])
        began = time.monotonic()
        assert status(half.recv(65536)) == 408
        assert time.monotonic() - began < 15
