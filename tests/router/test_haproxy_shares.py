"""20,000 requests through a real HAProxy are divided as the plan says, whatever the routing policy."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest
import router_plans as plans
from haproxy_process import haproxy, needs_haproxy
from stub_replica import StubReplica, prompt_body, running, send_all

from sky_melange.domain.front_door import request_classes
from sky_melange.domain.plan import Route
from sky_melange.domain.workload import RoutingPolicy
from sky_melange.render import router_haproxy

REQUESTS = 20_000
POINT = 0.01

pytestmark = [needs_haproxy, pytest.mark.server]


@pytest.mark.parametrize("policy", list(RoutingPolicy))
def test_every_bucket_is_divided_by_its_shares(policy: RoutingPolicy, tmp_path: Path) -> None:
    plan, workload = plans.plan(policy), plans.workload(policy)
    envelope = router_haproxy.envelope_bytes(workload)
    stubs = [StubReplica(name) for name in plans.GROUPS]
    drawn = plans.drawn_buckets(plan, REQUESTS)
    files = router_haproxy.render(plan, workload)
    with running(*stubs) as loop, haproxy(files, tmp_path, _addresses(stubs)) as router:
        requests = [
            (
                f"{route.input_tokens}/{route.output_tokens}",
                prompt_body(_size_within(route, number), envelope_bytes=envelope, max_tokens=route.output_tokens - 3),
            )
            for number, route in enumerate(drawn)
        ]
        replies = loop.run(send_all(router.port, requests))
    assert Counter(reply.status for reply in replies) == {200: REQUESTS}
    received: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for stub in stubs:
        for bucket, count in stub.seen.buckets.items():
            received[_told_apart(policy, bucket)][stub.name] += count
    assert sum(sum(counts.values()) for counts in received.values()) == REQUESTS
    for route in plan.routing:
        counts = received[_told_apart(policy, f"{route.input_tokens}/{route.output_tokens}")]
        _within_a_point(counts, dict(route.shares))
    # What the client is told is what happened.
    assert Counter(reply.group for reply in replies) == Counter({stub.name: stub.seen.total for stub in stubs})


def test_requests_that_state_no_limit_go_by_their_input(tmp_path: Path) -> None:
    policy = RoutingPolicy.SIZE_AWARE
    plan, workload = plans.plan(policy), plans.workload(policy)
    envelope = router_haproxy.envelope_bytes(workload)
    expected = {one.max_input_tokens: dict(one.shares) for one in request_classes(plan) if not one.max_output_tokens}
    assert expected[100] == pytest.approx({plans.SMALL: 0.6, plans.MIDDLE: 0.4})
    stubs = [StubReplica(name) for name in plans.GROUPS]
    files = router_haproxy.render(plan, workload)
    with running(*stubs) as loop, haproxy(files, tmp_path, _addresses(stubs)) as router:
        requests = [("100", prompt_body(80, envelope_bytes=envelope))] * 1000
        replies = loop.run(send_all(router.port, requests))
    _within_a_point(Counter(reply.group for reply in replies), expected[100])


def test_sizes_beyond_the_grid_go_to_the_last_bucket(tmp_path: Path) -> None:
    plan, workload = plans.plan(), plans.workload()
    stubs = [StubReplica(name) for name in plans.GROUPS]
    files = router_haproxy.render(plan, workload)
    with running(*stubs) as loop, haproxy(files, tmp_path, _addresses(stubs)) as router:
        huge = prompt_body(700_000, envelope_bytes=0)
        replies = loop.run(send_all(router.port, [("huge", huge)] * 20, connections=4))
    assert Counter((reply.status, reply.group) for reply in replies) == {(200, plans.LARGE): 20}


def _told_apart(policy: RoutingPolicy, bucket: str) -> str:
    """What the policy knows of a bucket. Within it requests fall to the groups by chance, as exact as chance is."""
    known = {RoutingPolicy.INPUT_AWARE: bucket.partition("/")[0], RoutingPolicy.BLIND: "all"}
    return known.get(policy, bucket)


def _size_within(route: Route, number: int) -> int:
    """Sizes over the whole width of the bucket, its upper edge among them."""
    edges = (0, *plans.INPUT_EDGES)
    below = edges[plans.INPUT_EDGES.index(route.input_tokens)]
    return route.input_tokens - number % (route.input_tokens - below)


def _addresses(stubs: list[StubReplica]) -> dict[str, str]:
    return {f"{stub.name.upper().replace('-', '_')}_ENDPOINT": stub.address for stub in stubs}


def _within_a_point(counts: Counter[str], shares: dict[str, float]) -> None:
    total = sum(counts.values())
    assert total > 0
    for name in {*counts, *shares}:
        assert counts[name] / total == pytest.approx(shares.get(name, 0.0), abs=POINT), (name, counts, shares)
