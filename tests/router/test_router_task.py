"""The run script of router.sky.yaml, on this machine: it serves, and a second run takes over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import router_plans as plans
import yaml
from haproxy_process import HAPROXY, free_port, needs_haproxy, written
from stub_replica import StubReplica, prompt_body, running, send_all

from sky_melange.render import router_haproxy, router_sky_yaml

pytestmark = [needs_haproxy, pytest.mark.server]


@contextlib.contextmanager
def task(home: Path, script: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The script as SkyPilot's job runs it: a shell of its own process group."""
    with (home / "job.log").open("ab") as log:
        job = subprocess.Popen(["bash", "-c", script], env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        yield job
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait(10)


def test_a_second_run_takes_over_without_losing_a_request(tmp_path: Path) -> None:
    plan, workload = plans.plan(), plans.workload()
    script = yaml.safe_load(router_sky_yaml.render(plan, workload)["router.sky.yaml"])["run"]
    (tmp_path / "router").mkdir()
    written(router_haproxy.render(plan, workload), tmp_path / "router")
    # Only the HAProxy of this test may be told to hand over.
    (tmp_path / "bin").mkdir()
    own = f"hap{os.getpid()}"
    shutil.copy(str(HAPROXY), tmp_path / "bin" / own)
    for call in ("\nhaproxy -c", "-x haproxy", "exec haproxy -db"):
        assert script.count(call) == 1
        script = script.replace(call, call.replace("haproxy", own))
    port = free_port()
    stubs = [StubReplica(name, delay_s=0.02) for name in plans.GROUPS]
    body = prompt_body(100, envelope_bytes=router_haproxy.envelope_bytes(workload))
    with running(*stubs) as loop:
        environment = {
            "HOME": str(tmp_path),
            "PATH": f"{tmp_path / 'bin'}:/usr/sbin:/usr/bin:/bin",
            "ROUTER_BIND": f"127.0.0.1:{port}",
            "ROUTER_METRICS_BIND": f"127.0.0.1:{free_port()}",
            **{f"{stub.name.upper().replace('-', '_')}_ENDPOINT": stub.address for stub in stubs},
        }
        with task(tmp_path, script, environment) as first:
            _wait_for_health(port, tmp_path)
            with contextlib.ExitStack() as stack:

                async def send_during_handover() -> list[int]:
                    work = asyncio.create_task(send_all(port, [("", body)] * 1500, connections=8))
                    await asyncio.sleep(0.5)
                    stack.enter_context(task(tmp_path, script, environment))
                    return [reply.status for reply in await work]

                statuses = loop.run(send_during_handover())
                assert first.wait(20) == 0, "the first run ends once its requests have"
                _wait_for_health(port, tmp_path)
    # A kept-alive connection may be closed by the old process between two requests; none is cut within one.
    assert statuses.count(200) >= 1500 - 8
    assert set(statuses) <= {200, 0}


def _wait_for_health(port: int, home: Path) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                return
        time.sleep(0.05)
    raise AssertionError((home / "job.log").read_text())
