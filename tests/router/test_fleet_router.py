"""A real HAProxy in front of two models: the model that a body names picks the plan, whatever else the body says."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import router_plans as plans
import yaml
from fleet_plans import CHAT, CODE, CODE_GROUP, SQL, two_models
from haproxy_process import Running, accepts, haproxy, needs_haproxy, written
from stub_replica import Loop, StubReplica, prompt_body, running, send_all

from sky_melange.domain.adapter import Adapter
from sky_melange.domain.workload import LaunchMode
from sky_melange.errors import InputError
from sky_melange.render import router_haproxy, router_litellm

pytestmark = [needs_haproxy, pytest.mark.server]


@contextmanager
def front_door(
    folder: Path, *keys: str | None, **values: str
) -> Iterator[tuple[Running, Loop, dict[str, StubReplica]]]:
    stubs = {name: StubReplica(name) for name in (*plans.GROUPS, CODE_GROUP)}
    with running(*stubs.values()) as loop:
        addresses = {f"{name.upper().replace('-', '_')}_ENDPOINT": stub.address for name, stub in stubs.items()}
        with haproxy(router_haproxy.render_fleet("both", two_models(*keys)), folder, {**addresses, **values}) as router:
            yield router, loop, stubs
            assert router.process.poll() is None, "HAProxy ended"


def ask(router: Running, body: bytes, path: str = "/v1/chat/completions", **headers: str) -> requests.Response:
    return requests.post(f"http://127.0.0.1:{router.port}{path}", data=body, headers=headers, timeout=10)


def chat_body(model: str, tokens: int = 50) -> bytes:
    envelope = router_haproxy.envelope_bytes(plans.workload())
    return prompt_body(tokens, envelope_bytes=envelope).replace(b'"m"', json.dumps(model).encode(), 1)


def test_each_request_reaches_its_model_in_the_planned_shares(tmp_path: Path) -> None:
    sent = [(model, chat_body(model, 500)) for _ in range(1000) for model in (CHAT, CODE, CHAT, SQL)]
    with front_door(tmp_path) as (router, loop, stubs):
        replies = loop.run(send_all(router.port, sent))
    assert Counter(reply.status for reply in replies) == {200: 4000}
    of_chat = Counter(name for name in plans.GROUPS for _ in range(stubs[name].seen.buckets[CHAT]))
    for name, share in plans.INPUT_AWARE_SHARES[1000].items():
        assert of_chat[name] / 2000 == pytest.approx(share, abs=0.01)
    assert stubs[CODE_GROUP].seen.buckets == {CODE: 1000, SQL: 1000}


def test_a_stream_comes_token_by_token(tmp_path: Path) -> None:
    with front_door(tmp_path) as (router, _, stubs):
        stubs[CODE_GROUP].token_delay_s = 0.1
        body = json.dumps({"messages": [], "stream": True, "model": SQL}).encode()
        url = f"http://127.0.0.1:{router.port}/v1/chat/completions"
        with requests.post(url, data=body, stream=True, timeout=10) as answer:
            times = [time.monotonic() for line in answer.iter_lines() if line.startswith(b"data: {")]
    assert len(times) == 5
    assert times[-1] - times[0] > 0.3


REACHES = {
    "after the messages": b'{"messages": [{"role": "user", "content": "x"}], "model": "org/sql"}',
    "in a message's text": b'{"messages": [{"c": "\\"model\\": \\"example/model-8b\\" \\\\"}], "model": "org/sql"}',
    "in a tool": b'{"tools": [{"model": "example/model-8b"}], "model": "org/sql"}',
    "in an object before": b'{"x": {"model": "example/model-8b"}, "model": "org/sql"}',
    "as a value": b'{"x": "model", "y": ["model"], "model": "org/sql"}',
    "with slashes as PHP writes them": b'{"model": "org\\/sql"}',
    "with escaped letters": b'{"mod\\u0065l": "org/\\u0073ql"}',
    "with much space": b'\r\n {\t"model" \n:\r "org/sql" }',
    "before a large prompt": b'{"model": "org/sql", "x": "' + b"y" * 700_000 + b'"}',
    "after 9,000 escaped quotes": b'{"x": "' + b'\\"' * 9_000 + b'", "model": "org/sql"}',
    "after 11,000 lists": b'{"x": ' + b"[]" * 11_000 + b', "model": "org/sql"}',
    "with NaN": b'{"x": NaN, "model": "org/sql"}',
    "cut off": b'{"model": "org/sql"',
}
REFUSED = {
    "unknown": (b'{"model": "gpt-4"}', 404),
    "another case": (b'{"model": "Org/sql"}', 404),
    "with a NUL byte": (b'{"model": "org/sql\x00"}', 404),
    "with quotes and percents": (b'{"model": "%[env(VLLM_API_KEY)]\\"\'"}', 404),
    "empty": (b'{"model": ""}', 404),
    "none": (b'{"messages": []}', 400),
    "twice": (b'{"model": "org/sql", "model": "example/model-8b"}', 400),
    "twice the same": (b'{"model": "org/sql", "x": [{}], "model": "org/sql"}', 400),
    "twice with escapes": (b'{"model": "org/sql", "mod\\u0065l": "example/model-8b"}', 400),
    "a number": (b'{"model": 5}', 400),
    "null": (b'{"model": null}', 400),
    "a list": (b'{"model": ["org/sql"]}', 400),
    "only in a list": (b'[{"model": "org/sql"}]', 400),
    "no JSON": (b"model=org/sql", 400),
    "a mark before": (b'\xef\xbb\xbf{"model": "org/sql"}', 400),
    "bytes": (b"\xff\xfe\x00" * 100, 400),
    "only a key": (b'{"model"', 400),
    "an open string": (b'{"model": "org/sql', 400),
    "after a large prompt": (b'{"x": "' + b"y" * 700_000 + b'", "model": "org/sql"}', 413),
}


def test_only_the_model_of_the_body_decides_and_what_names_none_is_refused(tmp_path: Path) -> None:
    with front_door(tmp_path) as (router, _, stubs):
        found = {name: ask(router, body).status_code for name, body in REACHES.items()}
        assert found == dict.fromkeys(REACHES, 200)
        assert stubs[CODE_GROUP].seen.total == len(REACHES)
        chunked = requests.post(
            f"http://127.0.0.1:{router.port}/v1/completions", data=iter([b'{"mod', b'el": "org/sql"}']), timeout=10
        )
        assert (chunked.status_code, stubs[CODE_GROUP].seen.total) == (200, len(REACHES) + 1)
        refused = {name: ask(router, body) for name, (body, _) in REFUSED.items()}
        assert {name: answer.status_code for name, answer in refused.items()} == {
            name: status for name, (_, status) in REFUSED.items()
        }
        assert sum(stub.seen.total for stub in stubs.values()) == len(REACHES) + 1
        for answer in refused.values():
            error = answer.json()["error"]
            assert (error["type"], error["param"]) == ("invalid_request_error", "model")
        said = refused["unknown"].json()["error"]
        assert said["message"] == f"no such model; there are: {CHAT}, {CODE}, {SQL}"
        assert said["code"] == "model_not_found"


def test_models_are_listed_by_the_router_itself(tmp_path: Path) -> None:
    with front_door(tmp_path) as (router, _, stubs):
        url = f"http://127.0.0.1:{router.port}/v1"
        listed = requests.get(f"{url}/models", timeout=10).json()
        assert [each["id"] for each in listed["data"]] == [CHAT, CODE, SQL]
        assert requests.get(f"{url}/models/{SQL}", timeout=10).json()["id"] == SQL
        assert requests.get(f"{url}/models/gpt-4", timeout=10).json()["error"]["code"] == "model_not_found"
        assert requests.get(f"{url}/completions", timeout=10).status_code == 405
        assert sum(stub.seen.total for stub in stubs.values()) == 0


def test_a_dead_model_leaves_the_others_alone(tmp_path: Path) -> None:
    with front_door(tmp_path) as (router, loop, stubs):
        loop.run(stubs[CODE_GROUP].kill())
        health = f"http://127.0.0.1:{router.port}/health"
        deadline = time.monotonic() + 15
        while requests.get(f"{health}/code", timeout=5).status_code != 503:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert ask(router, chat_body(CODE)).status_code == 503
        replies = loop.run(send_all(router.port, [("", chat_body(CHAT))] * 200))
        assert Counter(reply.status for reply in replies) == {200: 200}
        assert [requests.get(f"{health}{path}", timeout=5).status_code for path in ("", "/chat")] == [200, 200]


def test_each_workload_has_its_key(tmp_path: Path) -> None:
    with front_door(tmp_path, "CHAT_KEY", "CODE_KEY", CHAT_KEY="one", CODE_KEY="two") as (router, _, _):
        asked = {
            (model, key): ask(router, chat_body(model), Authorization=f"Bearer {key}").status_code
            for model in (CHAT, SQL)
            for key in ("one", "two", "three", "")
        }
        assert [pair for pair, status in asked.items() if status == 200] == [(CHAT, "one"), (SQL, "two")]
        assert {status for status in asked.values() if status != 200} == {401}
        # Whoever has no key is not told which models there are.
        assert ask(router, b'{"model": "gpt-4"}').status_code == 401
        assert ask(router, b'{"model": "gpt-4"}', Authorization="Bearer one").status_code == 404
    with front_door(tmp_path, None, "CODE_KEY", CODE_KEY="two") as (router, _, _):
        assert ask(router, chat_body(CHAT)).status_code == 200
        assert ask(router, chat_body(CODE)).status_code == 401
        assert ask(router, chat_body(CODE), Authorization="Bearer two").status_code == 200


def test_sixty_models_with_thirty_adapters_each_are_accepted(tmp_path: Path) -> None:
    """HAProxy reads at most 64 words of a line."""
    made = []
    for number in range(60):
        name = f"w{number}"
        (_, _), (plan, workload) = two_models("KEY", f"KEY_{number}")
        group = plans.group(f"{name}-h100")
        routing = plans.routes({(100, 100): {group.name: 1.0}})
        routing = tuple(replace(route, can_serve=(group.name,)) for route in routing)
        adapters = tuple(Adapter(id=f"org/{name}-{each}", share=0.01, rank=8) for each in range(30))
        model = replace(workload.model, id=f"org/{name}", adapters=adapters)
        made.append(
            (replace(plan, name=name, groups=(group,), routing=routing), replace(workload, name=name, model=model))
        )
    addresses = {f"W{number}_H100_ENDPOINT": "127.0.0.1:1" for number in range(60)}
    keys = {f"KEY_{number}": "key" for number in range(60)}
    done = accepts(written(router_haproxy.render_fleet("big", made), tmp_path), addresses | keys)
    assert done.returncode == 0, done.stderr


def test_litellm_has_a_group_of_deployments_for_each_model() -> None:
    text = router_litellm.render_fleet("both", two_models())["router/litellm.yaml"]
    models = yaml.safe_load(text)["model_list"]
    assert Counter(each["model_name"] for each in models) == {CHAT: 3, CODE: 1, SQL: 1}
    assert len({each["model_info"]["id"] for each in models}) == 5


def test_plans_that_cannot_be_told_apart_are_refused() -> None:
    (chat, code) = two_models()
    with pytest.raises(InputError) as caught:
        router_haproxy.render_fleet("both", [chat, (chat[0], code[1])])
    assert "have an address in common: CHAT_L4_ENDPOINT" in str(caught.value)
    same = replace(code[1], launch=replace(code[1].launch, engine_args=("--served-model-name", CHAT)))
    with pytest.raises(InputError) as caught:
        router_litellm.render_fleet("both", [chat, (code[0], same)])
    assert f"have a model in common: {CHAT}" in str(caught.value)
    assert chat[1].launch.mode is LaunchMode.SERVE
