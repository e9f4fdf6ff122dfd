"""LiteLLM's own proxy with the emitted file and hook divides requests as the plan says."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import router_plans as plans
from fleet_plans import CHAT, CODE, CODE_GROUP, SQL, two_models
from litellm_process import KEY, litellm, needs_litellm
from stub_replica import StubReplica, running, send_all

from sky_melange.domain.workload import RoutingPolicy
from sky_melange.render import router_litellm

REQUESTS = 1500
TWO_POINTS = 0.02

pytestmark = [needs_litellm, pytest.mark.server]


def _body(input_tokens: int, **extra: object) -> bytes:
    """Words that every tokenizer takes for about one token each; sizes stay well inside their buckets."""
    message = {"role": "user", "content": " hello" * input_tokens}
    return json.dumps({"model": "example/model-8b", "messages": [message], **extra}).encode()


MIDDLES = {100: 50, 1000: 500, 4000: 2500}


@pytest.mark.parametrize("policy", [RoutingPolicy.INPUT_AWARE, RoutingPolicy.SIZE_AWARE])
def test_the_proxy_divides_every_bucket_by_its_shares(policy: RoutingPolicy, tmp_path: Path) -> None:
    plan, workload = plans.plan(policy), plans.workload(policy)
    stubs = [StubReplica(name) for name in plans.GROUPS]
    bodies = {route: _body(MIDDLES[route.input_tokens], max_tokens=route.output_tokens - 3) for route in plan.routing}
    drawn = plans.drawn_buckets(plan, REQUESTS)
    with running(*stubs) as loop, litellm(router_litellm.render(plan, workload), tmp_path, _bases(stubs)) as port:
        replies = loop.run(send_all(port, [("", bodies[route]) for route in drawn], connections=16, key=KEY), 500)
    assert Counter(reply.status for reply in replies) == {200: REQUESTS}
    received: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for route, reply in zip(drawn, replies, strict=True):
        bucket = f"{route.input_tokens}" + (f"/{route.output_tokens}" if policy is RoutingPolicy.SIZE_AWARE else "")
        answer = json.loads(reply.body)["choices"][0]["message"]["content"]
        received[bucket][answer.removeprefix("from ")] += 1
    assert sum(stub.seen.total for stub in stubs) == REQUESTS
    for route in plan.routing:
        bucket = f"{route.input_tokens}" + (f"/{route.output_tokens}" if policy is RoutingPolicy.SIZE_AWARE else "")
        counts, shares = received[bucket], dict(route.shares)
        total = sum(counts.values())
        for name in {*counts, *shares}:
            assert counts[name] / total == pytest.approx(shares.get(name, 0.0), abs=TWO_POINTS), (bucket, counts)


def test_a_dead_group_is_left_out(tmp_path: Path) -> None:
    plan, workload = plans.plan(), plans.workload()
    stubs = [StubReplica(name) for name in plans.GROUPS]
    with running(*stubs) as loop, litellm(router_litellm.render(plan, workload), tmp_path, _bases(stubs)) as port:
        loop.run(stubs[2].kill())
        replies = loop.run(send_all(port, [("", _body(2500))] * 60, connections=4, key=KEY), 300)
    assert Counter(reply.status for reply in replies) == {200: 60}
    # Sizes of 4000 may go to the middle group, never to the small one.
    assert {stub.name: stub.seen.total for stub in stubs} == {plans.SMALL: 0, plans.MIDDLE: 60, plans.LARGE: 0}


def test_the_proxy_of_a_fleet_sends_each_model_to_its_own_replicas(tmp_path: Path) -> None:
    made, stubs = two_models(), [StubReplica(name) for name in (*plans.GROUPS, CODE_GROUP)]
    models = (CHAT, CODE, SQL)
    bodies = {model: _body(500).replace(b"example/model-8b", model.encode()) for model in (*models, "gpt-4")}
    with (
        running(*stubs) as loop,
        litellm(router_litellm.render_fleet("both", made), tmp_path, _bases(stubs)) as port,
    ):
        sent = [(model, bodies[model]) for _ in range(200) for model in models]
        replies = loop.run(send_all(port, sent, connections=16, key=KEY), 500)
        (refused,) = loop.run(send_all(port, [("", bodies["gpt-4"])], connections=1, key=KEY), 60)
    assert Counter(reply.status for reply in replies) == {200: 600}
    answers = Counter(
        (model, json.loads(reply.body)["choices"][0]["message"]["content"].removeprefix("from "))
        for (model, _), reply in zip(sent, replies, strict=True)
    )
    assert answers[CODE, CODE_GROUP] == answers[SQL, CODE_GROUP] == 200
    for name, share in plans.INPUT_AWARE_SHARES[1000].items():
        assert answers[CHAT, name] / 200 == pytest.approx(share, abs=0.1)
    assert 400 <= refused.status < 500


def _bases(stubs: list[StubReplica]) -> dict[str, str]:
    return {f"{stub.name.upper().replace('-', '_')}_API_BASE": f"http://{stub.address}/v1" for stub in stubs}
