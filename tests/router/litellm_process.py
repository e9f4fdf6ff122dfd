"""LiteLLM's own proxy with an emitted configuration, on loopback. It lives in an environment of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests
from haproxy_process import free_port

KEY = "sk-only-for-this-test-0123456789abcdef0123456789abcdef"
LITELLM = os.environ.get("LITELLM") or shutil.which("litellm")

needs_litellm = pytest.mark.skipif(
    LITELLM is None, reason="LITELLM names no litellm (pip install 'litellm[proxy]' in an environment of its own)"
)


@contextlib.contextmanager
def litellm(files: Mapping[str, str], folder: Path, api_bases: Mapping[str, str]) -> Iterator[int]:
    """Runs until the block ends; yields the port."""
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "HF_HUB_OFFLINE": "1",
        "NO_PROXY": "*",
        "LITELLM_MASTER_KEY": KEY,
        **api_bases,
    }
    log = folder / "litellm.log"
    command = [str(LITELLM), "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=environment, cwd=folder / "router", stdout=stream, stderr=stream)
    try:
        _wait(process, port, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=10).status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"litellm is not ready: {log.read_text()[-4000:]}")
