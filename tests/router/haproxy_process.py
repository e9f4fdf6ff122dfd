"""A real HAProxy with an emitted configuration, on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

HAPROXY = shutil.which("haproxy") or next(filter(os.path.exists, ["/usr/sbin/haproxy"]), None)

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed (apt-get install haproxy)")


@dataclass(frozen=True, slots=True)
class Running:
    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(config: Path, addresses: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """`haproxy -c`."""
    return subprocess.run(
        [str(HAPROXY), "-c", "-f", str(config)],
        env={"PATH": os.environ["PATH"], "VLLM_API_KEY": "key", **addresses},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def written(files: Mapping[str, str], folder: Path) -> Path:
    """The configuration of the router's files, once they lie beside each other in `folder`."""
    for name, text in files.items():
        (folder / Path(name).name).write_text(text, encoding="utf-8")
    return folder / "haproxy.cfg"


@contextlib.contextmanager
def haproxy(
    files: Mapping[str, str], folder: Path, addresses: Mapping[str, str], *, ready: bool = True
) -> Iterator[Running]:
    """Runs until the block ends. `ready`: waits for all kinds of requests to have a server."""
    config = written(files, folder)
    port, metrics_port = free_port(), free_port()
    binds = {"ROUTER_BIND": f"127.0.0.1:{port}", "ROUTER_METRICS_BIND": f"127.0.0.1:{metrics_port}"}
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen(
            [str(HAPROXY), "-db", "-f", str(config)],
            env={"PATH": os.environ["PATH"], **binds, **addresses},
            stdout=log,
            stderr=log,
        )
    try:
        _wait(process, port, folder / "haproxy.log", ready=ready)
        yield Running(process, port, metrics_port)
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path, *, ready: bool) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200 or not ready:
                return
        time.sleep(0.05)
    raise AssertionError(f"haproxy is not ready: {log.read_text()}")
