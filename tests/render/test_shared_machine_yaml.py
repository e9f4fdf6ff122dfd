"""The launch file of a machine that workloads share: golden bytes, and its `run` with stand-ins for the engines."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from shared_plans import MODELS, shared

from sky_melange.render import shared_machine_yaml
from sky_melange.render.fleet_table import machine_sentence

ENGINE = """
import http.server, json, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps([os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], sys.argv, os.environ.get("VLLM_API_KEY")])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def text(first_port: int = 8000) -> str:
    (found,) = shared_machine_yaml.render(*shared(first_port)).values()
    return found


def test_golden(repository: Path) -> None:
    golden = repository / "tests" / "golden" / "yaml" / "shared-machine.sky.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text(), encoding="utf-8", newline="\n")
    assert text() == golden.read_text(encoding="utf-8")
    fleet, plans = shared()
    assert shared_machine_yaml.render(fleet, plans[::-1]) == {"both-shared-h100-x8.sky.yaml": text()}


def test_one_machine_with_a_port_for_each_engine() -> None:
    task = yaml.safe_load(text())
    assert task["resources"]["ports"] == [8000, 8001, 8002]
    assert task["resources"]["accelerators"] == {"H100": 8}
    assert (task["num_nodes"], task["resources"]["disk_size"]) == (1, 1024)
    assert task["secrets"] == {"HF_TOKEN": None, "CODE_KEY": None, "CHAT_KEY": None}
    assert task["setup"].count("uv venv") == 2
    assert "service" not in task


def test_the_sentence_says_who_has_how_much_and_what_is_idle() -> None:
    said = machine_sentence(shared()[0].machines[0])
    assert said.endswith("USD 31.92 per hour in all. GPUs: 4 code, 2 chat, 2 idle.")


def free_ports() -> int:
    """The first of three that are free."""
    for port in range(29_000, 32_000, 3):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for offset in range(3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            return port
    raise AssertionError("no free ports")


@contextlib.contextmanager
def launched(home: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The `run` of the file, in a home that has both engines."""
    vllm = home / "vllm-env" / "bin" / "vllm"
    vllm.parent.mkdir(parents=True)
    vllm.write_text(f"#!{sys.executable}{ENGINE}", encoding="utf-8")
    vllm.chmod(0o755)
    python = home / "sglang-env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    (home / "lib" / "sglang").mkdir(parents=True)
    (home / "lib" / "sglang" / "__init__.py").touch()
    (home / "lib" / "sglang" / "launch_server.py").write_text(ENGINE, encoding="utf-8")
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(home / "lib"),
        "CHAT_KEY": "chat-key",
        "CODE_KEY": "code-key",
    }
    process = subprocess.Popen(
        ["bash", "-c", yaml.safe_load(text(port))["run"]],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
        if process.stderr is not None:
            process.stderr.close()


def ask(port: int, *, within_s: float = 30.0) -> list[object] | None:
    """What the engine at a port says of itself; None: it does not answer."""
    end = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                found: list[object] = json.load(answer)
                return found
        except OSError:
            if time.monotonic() >= end:
                return None
            time.sleep(0.1)


def test_each_model_answers_at_its_port_on_its_gpus_and_outlives_the_other(tmp_path: Path) -> None:
    port = free_ports()
    with launched(tmp_path, port) as process:
        found = [ask(port + number) for number in range(3)]
        code, *chats = [each for each in found if each is not None]
        assert [each[1] for each in (code, *chats)] == ["0,1,2,3", "4", "5"]
        for each, model, key in ((code, "code", "code-key"), *((chat, "chat", "chat-key") for chat in chats)):
            words = each[2]
            assert isinstance(words, list)
            assert MODELS[model] in words
            assert key == (words[words.index("--api-key") + 1] if model == "code" else each[3])
        os.kill(int(str(code[0])), signal.SIGKILL)
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(4)]
        assert any("An engine has ended. Still running:" in line for line in said)
        assert ask(port, within_s=0) is None
        assert [ask(port + number, within_s=0) for number in (1, 2)] == chats
        assert process.poll() is None
        for chat in chats:
            os.kill(int(str(chat[0])), signal.SIGKILL)
        assert process.wait(timeout=20) == 1


def test_all_engines_end_with_the_task(tmp_path: Path) -> None:
    port = free_ports()
    with launched(tmp_path, port) as process:
        assert all(ask(port + number) for number in range(3))
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        end = time.monotonic() + 10
        while any(ask(port + number, within_s=0) for number in range(3)):
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.mark.parametrize("key", ["", "it's"])
def test_an_engine_without_its_key_does_not_start(tmp_path: Path, key: str) -> None:
    run = yaml.safe_load(text())["run"]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "CHAT_KEY": key, "CODE_KEY": key}
    done = subprocess.run(["bash", "-c", run], env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 1
    assert done.stderr.count("is empty, or has other characters") == 3
    assert "it's" not in done.stderr.replace("its value", "")
