"""What a real HAProxy does with an emitted configuration when replicas die, fill up, or clients leave."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import router_plans as plans
from haproxy_process import Running, haproxy, needs_haproxy
from stub_replica import Loop, StubReplica, post, prompt_body, request_head, running, send_all

from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import LaunchMode
from sky_melange.render import router_haproxy
from sky_melange.render.router_names import endpoint_variables

pytestmark = [needs_haproxy, pytest.mark.server]

ENVELOPE = router_haproxy.envelope_bytes(plans.workload())


@contextmanager
def front_door(
    folder: Path, plan: Plan | None = None, **options: float
) -> Iterator[tuple[Loop, Running, dict[str, StubReplica]]]:
    plan = plan or plans.plan()
    stubs = {name: StubReplica(name, **options) for name in plans.GROUPS}  # type: ignore[arg-type]
    files = router_haproxy.render(plan, plans.workload())
    with running(*stubs.values()) as loop:
        addresses = {f"{name.upper().replace('-', '_')}_ENDPOINT": stub.address for name, stub in stubs.items()}
        with haproxy(files, folder, addresses) as router:
            yield loop, router, stubs


def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def body(input_tokens: int, *, stream: bool = False) -> bytes:
    return prompt_body(input_tokens, envelope_bytes=ENVELOPE, stream=stream)


def test_a_stream_arrives_token_by_token(tmp_path: Path) -> None:
    with front_door(tmp_path, tokens=6) as (loop, router, stubs):

        async def read_stream() -> list[bytes]:
            gate = stubs[plans.LARGE].gate = asyncio.Semaphore(0)
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            sent = body(4000, stream=True)
            writer.write(request_head(len(sent)) + sent)
            await reader.readuntil(b"\r\n\r\n")
            tokens = []
            for _ in range(6):
                # The next token is not even sent before this one has been read here.
                size = int((await asyncio.wait_for(reader.readline(), 5)).strip(), 16)
                tokens.append(await reader.readexactly(size + 2))
                gate.release()
            writer.close()
            return tokens

        tokens = loop.run(read_stream())
    assert [f"{plans.LARGE}-{number}".encode() in token for number, token in enumerate(tokens)] == [True] * 6


@pytest.mark.parametrize(("victim", "bucket"), [(plans.SMALL, 100), (plans.LARGE, 4000)])
def test_a_replica_that_dies_loses_no_request_that_had_not_begun_to_answer(
    victim: str, bucket: int, tmp_path: Path
) -> None:
    count, dies_at = 3000, 1000
    with front_door(tmp_path, delay_s=0.01) as (loop, router, stubs):
        sizes = [100, 1000, 4000]
        work = [(str(sizes[n % 3]), body(sizes[n % 3])) for n in range(count)]
        killed: dict[int, asyncio.Task[None]] = {}

        def at(number: int) -> None:
            """The death must interrupt requests."""
            if number >= dies_at and not killed and stubs[victim].seen.in_flight > 0:
                killed[number] = asyncio.get_running_loop().create_task(stubs[victim].kill())

        replies = loop.run(send_all(router.port, work, at=at))
    assert Counter(reply.status for reply in replies) == {200: count}
    (died_at,) = killed
    late = [
        reply.group
        for reply, (size, _) in zip(replies[died_at + 200 :], work[died_at + 200 :], strict=True)
        if size == str(bucket)
    ]
    assert victim not in late
    # The requests of the dead group went to a group that can serve them, and to no other.
    allowed = {name for name in plans.CAN_SERVE[bucket] if name != victim}
    assert set(late) <= allowed
    assert len(late) > 0


FAILURES = ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"]


@pytest.mark.parametrize("victims", [plans.GROUPS[:1], plans.GROUPS[2:], plans.GROUPS[:2]], ids="+".join)
@pytest.mark.parametrize("failure", FAILURES)
def test_no_request_is_lost_to_groups_that_fail_and_call_themselves_healthy(
    failure: str, victims: tuple[str, ...], tmp_path: Path
) -> None:
    sizes = [size for size in (100, 1000, 4000) if not set(plans.CAN_SERVE[size]) <= set(victims)]
    work = [(str(sizes[n % len(sizes)]), body(sizes[n % len(sizes)])) for n in range(300)]
    with front_door(tmp_path) as (loop, router, stubs):
        for name in victims:
            stubs[name].failure = lambda _: failure
        replies = loop.run(send_all(router.port, work, connections=8))
        asked = sum(stubs[name].seen.total for name in victims)
    assert Counter(reply.status for reply in replies) == {200: 300}
    for reply, (size, _) in zip(replies, work, strict=True):
        assert reply.group in set(plans.CAN_SERVE[int(size)]) - set(victims)
    # Out after three failures of each size, plus those that were on their way.
    assert asked <= 300 / 4


def test_a_single_request_goes_past_two_broken_groups(tmp_path: Path) -> None:
    with front_door(tmp_path) as (loop, router, stubs):
        for name in plans.GROUPS[:2]:
            stubs[name].failure = lambda _: FAILURES[0]
        (reply,) = loop.run(send_all(router.port, [("", body(100))], connections=1))
    assert (reply.status, reply.group) == (200, plans.LARGE)


def test_a_group_that_stops_failing_is_used_again(tmp_path: Path) -> None:
    with front_door(tmp_path) as (loop, router, stubs):
        stubs[plans.LARGE].failure = lambda _: FAILURES[0]
        assert {r.group for r in loop.run(send_all(router.port, [("", body(4000))] * 20))} == {plans.MIDDLE}
        stubs[plans.LARGE].failure = lambda _: None
        until(lambda: loop.run(send_all(router.port, [("", body(4000))], connections=1))[0].group == plans.LARGE, 30)


def test_a_request_that_every_group_fails_on_stops_no_other(tmp_path: Path) -> None:
    """One client's request that breaks the engine's code must not take all groups from the others."""
    poison = body(4000).replace(b"xx", b"!!", 1)
    with front_door(tmp_path) as (loop, router, stubs):
        for stub in stubs.values():
            stub.failure = lambda sent: FAILURES[0] if b"!!" in sent else None
        for _ in range(20):
            bad, *good = loop.run(send_all(router.port, [("", poison)] + [("", body(4000))] * 5, connections=1))
            assert bad.status in (500, 503)
            assert {reply.status for reply in good} == {200}
        health = requests.get(f"http://127.0.0.1:{router.port}/health", timeout=5).status_code
    assert health == 200


def test_a_failure_after_the_answer_began_is_the_clients(tmp_path: Path) -> None:
    """What the client has seen a part of is not asked for again."""
    with front_door(tmp_path, token_delay_s=0.01, tokens=10_000) as (loop, router, stubs):

        async def cut() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            sent = body(4000, stream=True)
            writer.write(request_head(len(sent)) + sent)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readuntil(b"data: ")
            await stubs[plans.LARGE].kill()
            while await reader.read(65536):
                pass
            writer.close()
            return head

        assert b" 200 " in loop.run(cut(), 20)
        assert stubs[plans.MIDDLE].seen.total == 0


def test_a_replica_that_comes_back_is_used_again(tmp_path: Path) -> None:
    with front_door(tmp_path) as (loop, router, stubs):
        loop.run(stubs[plans.LARGE].kill())
        assert {r.group for r in loop.run(send_all(router.port, [("", body(4000))] * 50))} == {plans.MIDDLE}
        lines = (tmp_path / "haproxy.log").read_text().splitlines()
        assert any(f"/{plans.LARGE} is DOWN" in line for line in lines)
        assert not any("/v1/" in line or " 200 " in line for line in lines), "no line a request"
        loop.run(stubs[plans.LARGE].start())
        until(lambda: loop.run(send_all(router.port, [("", body(4000))], connections=1))[0].group == plans.LARGE, 30)
        replies = loop.run(send_all(router.port, [("", body(4000))] * 50))
    assert {reply.group for reply in replies} == {plans.LARGE}


def test_an_engine_that_is_not_ready_gets_nothing(tmp_path: Path) -> None:
    with front_door(tmp_path) as (loop, router, stubs):
        stubs[plans.LARGE].healthy = False
        until(lambda: loop.run(send_all(router.port, [("", body(4000))], connections=1))[0].group == plans.MIDDLE)
        before = stubs[plans.LARGE].seen.total
        assert {r.group for r in loop.run(send_all(router.port, [("", body(4000))] * 50))} == {plans.MIDDLE}
        assert stubs[plans.LARGE].seen.total == before


def test_no_group_is_given_what_it_cannot_serve_even_when_all_others_are_down(tmp_path: Path) -> None:
    with front_door(tmp_path) as (loop, router, stubs):
        for name in (plans.LARGE, plans.MIDDLE):
            loop.run(stubs[name].kill())
        url = f"http://127.0.0.1:{router.port}/health"
        until(lambda: requests.get(url, timeout=5).status_code == 503)
        replies = loop.run(send_all(router.port, [("", body(4000))] * 10, connections=2))
        assert {reply.status for reply in replies} == {503}
        assert {r.group for r in loop.run(send_all(router.port, [("", body(100))] * 10))} == {plans.SMALL}
    assert stubs[plans.SMALL].seen.total == 10


def test_a_full_group_spills_to_the_next_that_can_serve(tmp_path: Path) -> None:
    groups = tuple(plans.group(name, max_concurrency=2 if name == plans.LARGE else 100) for name in plans.GROUPS)
    with front_door(tmp_path, plans.plan(groups=groups), delay_s=0.5) as (loop, router, stubs):
        replies = loop.run(send_all(router.port, [("", body(4000))] * 20, connections=20))
    assert {reply.status for reply in replies} == {200}
    # Two instances of two requests each; requests that arrive together may not see each other yet.
    assert 4 <= stubs[plans.LARGE].seen.most_in_flight <= 6
    assert stubs[plans.MIDDLE].seen.total >= 14
    assert stubs[plans.SMALL].seen.total == 0


def test_fullness_counts_the_requests_of_all_buckets(tmp_path: Path) -> None:
    groups = tuple(plans.group(name, max_concurrency=2 if name == plans.LARGE else 100) for name in plans.GROUPS)
    shares = {(i, o): {plans.LARGE: 1.0} for i in plans.INPUT_EDGES for o in plans.OUTPUT_EDGES}
    plan = plans.plan(groups=groups, routing=plans.routes(shares))
    with front_door(tmp_path, plan, delay_s=1.0) as (loop, router, stubs):

        async def first_small_then_large() -> None:
            small = asyncio.create_task(send_all(router.port, [("", body(100))] * 4, connections=4))
            await asyncio.sleep(0.4)
            await send_all(router.port, [("", body(4000))] * 4, connections=4)
            await small

        loop.run(first_small_then_large())
    assert stubs[plans.LARGE].seen.total == 4
    assert stubs[plans.MIDDLE].seen.total == 4


def test_when_every_group_is_full_requests_wait(tmp_path: Path) -> None:
    groups = tuple(plans.group(name, max_concurrency=1, instances=1) for name in plans.GROUPS)
    with front_door(tmp_path, plans.plan(groups=groups), delay_s=0.05) as (loop, router, stubs):
        replies = loop.run(send_all(router.port, [("", body(4000))] * 60, connections=30))
    assert Counter(reply.status for reply in replies) == {200: 60}
    assert stubs[plans.LARGE].seen.most_in_flight <= 2


@pytest.mark.parametrize("stream", [True, False], ids=["in the answer", "before the answer"])
def test_a_client_that_leaves_frees_the_replica(stream: bool, tmp_path: Path) -> None:
    options = {"token_delay_s": 0.02, "tokens": 100_000} if stream else {"delay_s": 60.0}
    with front_door(tmp_path, **options) as (loop, router, stubs):
        stub = stubs[plans.LARGE]

        async def leave() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", router.port)
            sent = body(4000, stream=stream)
            writer.write(request_head(len(sent)) + sent)
            await writer.drain()
            while not stub.seen.in_flight:
                await asyncio.sleep(0.01)
            if stream:
                await reader.readuntil(b"[DONE]"[:0] + b"\r\n\r\n")
            writer.close()

        loop.run(leave())
        if stream:
            until(lambda: stub.seen.in_flight == 0, 3)
        until(lambda: _connections(router, plans.LARGE) == 0, 3)


def test_the_key_of_the_client_reaches_the_replica(tmp_path: Path) -> None:
    with front_door(tmp_path) as (loop, router, stubs):

        async def ask() -> None:
            connection = await asyncio.open_connection("127.0.0.1", router.port)
            await post(*connection, body(4000), key="sk-someone's own")
            connection[1].close()

        loop.run(ask())
    assert stubs[plans.LARGE].seen.authorizations == {"Bearer sk-someone's own"}


def test_metrics_name_buckets_and_groups_and_nothing_but_the_api_is_served(tmp_path: Path) -> None:
    with front_door(tmp_path) as (loop, router, _):
        loop.run(send_all(router.port, [("", body(4000))] * 7))
        metrics = requests.get(f"http://127.0.0.1:{router.metrics_port}/metrics", timeout=10).text
        others = {
            path: requests.get(f"http://127.0.0.1:{router.port}{path}", timeout=10).status_code
            for path in ("/metrics", "/", "/sleep", "/v1", "/health")
        }
        elsewhere = requests.get(f"http://127.0.0.1:{router.metrics_port}/", timeout=10).status_code
    line = f'haproxy_server_http_responses_total{{proxy="in-4000",server="{plans.LARGE}",code="2xx"}} 7'
    assert line in metrics
    assert others == {"/metrics": 404, "/": 404, "/sleep": 404, "/v1": 404, "/health": 200}
    assert elsewhere == 404


def test_every_instance_of_a_cluster_is_a_server(tmp_path: Path) -> None:
    workload = plans.workload(mode=LaunchMode.CLUSTER)
    plan = plans.plan(groups=tuple(plans.group(name, instances=3) for name in plans.GROUPS))
    stubs = [StubReplica(f"{name}-{number}") for name in plans.GROUPS for number in (1, 2, 3)]
    variables = [variable for group in plan.groups for variable in endpoint_variables(group, workload.launch.mode)]
    assert variables[:2] == ["CHAT_L4_ENDPOINT_1", "CHAT_L4_ENDPOINT_2"]
    files = router_haproxy.render(plan, workload)
    with running(*stubs) as loop:
        addresses = dict(zip(variables, (stub.address for stub in stubs), strict=True))
        with haproxy(files, tmp_path, addresses) as router:
            loop.run(send_all(router.port, [("", body(100))] * 3000))
    for stub in stubs:
        name = stub.name.rpartition("-")[0]
        share = plans.INPUT_AWARE_SHARES[100].get(name, 0.0) / 3
        assert stub.seen.total / 3000 == pytest.approx(share, abs=0.005)


def test_a_plan_without_spare_groups_still_runs(tmp_path: Path) -> None:
    plan = plans.plan()
    plan = replace(plan, routing=tuple(replace(route, can_serve=()) for route in plan.routing))
    with front_door(tmp_path, plan) as (loop, router, stubs):
        loop.run(stubs[plans.LARGE].kill())
        replies = loop.run(send_all(router.port, [("", body(4000))] * 3, connections=3))
    assert {reply.status for reply in replies} == {503}


def _connections(router: Running, group: str) -> float:
    metrics = requests.get(f"http://127.0.0.1:{router.metrics_port}/metrics", timeout=10).text
    lines = [line for line in metrics.splitlines() if line.startswith("haproxy_server_current_sessions{")]
    return sum(float(line.rpartition(" ")[2]) for line in lines if f'server="{group}"' in line)


@pytest.mark.parametrize(("size", "groups"), [(4000, {plans.LARGE}), (100, {plans.SMALL, plans.MIDDLE})])
def test_a_body_in_chunks_is_measured_too(size: int, groups: set[str], tmp_path: Path) -> None:
    """A client that does not say how long its body is."""
    whole = body(size)
    parts = [whole[at : at + 997] for at in range(0, len(whole), 997)]
    with front_door(tmp_path) as (_, router, _):
        answers = [
            requests.post(f"http://127.0.0.1:{router.port}/v1/chat/completions", data=iter(parts), timeout=10)
            for _ in range(5)
        ]
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.headers["x-sky-melange-group"] for answer in answers} <= groups
