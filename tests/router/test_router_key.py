"""Neither router nor replicas answer whoever does not know the key; no file and no list of processes has it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import router_plans as plans
import yaml
from haproxy_process import HAPROXY, accepts, haproxy, needs_haproxy, written
from stub_replica import StubReplica, prompt_body, running, send_all

from sky_melange.domain.workload import Launch, Workload
from sky_melange.render import router_haproxy, router_litellm, router_sky_yaml, skypilot_yaml

SECRET = "CHAT_KEY"
KEY = 'k-1 "quoted" #$x'
TOKEN = "k-1.~+/_=="


def workload() -> Workload:
    return plans.workload(launch=Launch(secrets=("HF_TOKEN",), api_key_secret=SECRET))


def addresses(stubs: list[StubReplica]) -> dict[str, str]:
    return {f"{stub.name.upper().replace('-', '_')}_ENDPOINT": stub.address for stub in stubs}


@needs_haproxy
def test_only_the_key_opens_the_router_and_it_reaches_the_replicas(tmp_path: Path) -> None:
    stubs = [StubReplica(name) for name in plans.GROUPS]
    files = router_haproxy.render(plans.plan(), workload())
    body = prompt_body(50, envelope_bytes=router_haproxy.envelope_bytes(workload()))
    with running(*stubs) as loop, haproxy(files, tmp_path, {**addresses(stubs), SECRET: KEY}) as router:
        for wrong in ("", "k-1", KEY + "x", KEY.upper()):
            replies = loop.run(send_all(router.port, [("no", body)] * 3, key=wrong, connections=1))
            assert {reply.status for reply in replies} == {401}
        url = f"http://127.0.0.1:{router.port}/v1/chat/completions"
        assert requests.post(url, data=body, timeout=10).status_code == 401
        assert sum(stub.seen.total for stub in stubs) == 0
        replies = loop.run(send_all(router.port, [("yes", body)] * 60, key=KEY))
        assert Counter(reply.status for reply in replies) == {200: 60}
        assert set.union(*(stub.seen.authorizations for stub in stubs)) == {f"Bearer {KEY}"}
        listed = subprocess.run(
            ["ps", "-ww", "-p", str(router.process.pid), "-o", "args"], capture_output=True, text=True, check=True
        )
        assert KEY not in listed.stdout
    assert all(KEY not in path.read_text() for path in tmp_path.iterdir())


@needs_haproxy
def test_a_router_without_its_key_does_not_start(tmp_path: Path) -> None:
    known = {f"{name.upper().replace('-', '_')}_ENDPOINT": "127.0.0.1:1" for name in plans.GROUPS}
    config = written(router_haproxy.render(plans.plan(), workload()), tmp_path)
    assert accepts(config, {**known, SECRET: "k"}).returncode == 0
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **known}
    found = subprocess.run(
        [str(HAPROXY), "-c", "-f", str(config)], env=environment, capture_output=True, text=True, check=False
    )
    assert found.returncode != 0
    assert f"{SECRET} is not set" in found.stderr


@needs_haproxy
@pytest.mark.parametrize("key", ["Sup3r,secret", "it's", '"quoted"', "(a)", "a b", "100%", "$HOME", "\\"])
def test_no_key_is_printed(key: str, tmp_path: Path) -> None:
    known = {f"{name.upper().replace('-', '_')}_ENDPOINT": "127.0.0.1:1" for name in plans.GROUPS}
    config = written(router_haproxy.render(plans.plan(), workload()), tmp_path)
    found = accepts(config, {**known, SECRET: key})
    assert key not in found.stdout + found.stderr
    task = yaml.safe_load(skypilot_yaml.render_group(plans.group(plans.SMALL), workload()))
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", SECRET: key}
    refused = subprocess.run(["bash", "-c", task["run"]], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "other characters" in refused.stderr
    assert key not in refused.stdout + refused.stderr


def test_the_engine_gets_the_key_by_its_environment(tmp_path: Path) -> None:
    """The `run` of a replica, with a stub in the engine's place."""
    task = yaml.safe_load(skypilot_yaml.render_group(plans.group(plans.SMALL), workload()))
    assert task["secrets"] == {"HF_TOKEN": None, SECRET: None}
    engine = tmp_path / "vllm-env" / "bin" / "vllm"
    engine.parent.mkdir(parents=True)
    engine.write_text('#!/bin/sh\necho "key=$VLLM_API_KEY"\necho "arguments=$*"\n')
    engine.chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    started = subprocess.run(
        ["bash", "-c", task["run"]], env={**environment, SECRET: TOKEN}, capture_output=True, text=True, check=True
    )
    key, arguments = started.stdout.splitlines()
    assert key == f"key={TOKEN}"
    assert TOKEN not in arguments
    refused = subprocess.run(["bash", "-c", task["run"]], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"{SECRET} is empty, or has other characters")


@pytest.mark.slow
def test_a_launch_by_hand_without_the_key_starts_nothing(tmp_path: Path) -> None:
    """The commands that we print, with SkyPilot's own program: it asks for the key before anything else."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "HF_TOKEN": "x",
    }
    group = plans.group(plans.SMALL)
    for command in (
        skypilot_yaml.launch_command(group, workload()),
        router_sky_yaml.launch_command(plans.plan(), workload()),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{command} </dev/null"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert f"{SECRET} is not set in local environment" in done.stderr


def test_whoever_launches_by_hand_is_told_of_the_key() -> None:
    assert f"--secret {SECRET}" in skypilot_yaml.launch_command(plans.group(plans.SMALL), workload())
    assert router_sky_yaml.router_secrets(workload()) == (SECRET,)
    assert f"os.environ/{SECRET}" in router_litellm.render(plans.plan(), workload())["router/litellm.yaml"]
    open_one = replace(workload(), launch=Launch())
    assert "authorization" not in router_haproxy.render(plans.plan(), open_one)["router/haproxy.cfg"]
