"""Launch files: golden bytes, and proof that a shell passes each value on as one argument and runs nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from plans import LARGE, group, plan, workload

from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.workload import LaunchMode, Workload
from sky_melange.errors import InputError
from sky_melange.render import launch_steps, output_files, render_files
from sky_melange.render.engine_command import engine_arguments
from sky_melange.render.skypilot_yaml import launch_command, nodes_per_launch, render_group
from sky_melange.workload_file import read_workload
from sky_melange.workload_file.field_types import ENGINE_ARGUMENT

SERVE, CLUSTER = LaunchMode.SERVE, LaunchMode.CLUSTER
CASES: dict[str, tuple[ReplicaGroup, Workload]] = {
    "serve": (group(), workload(SERVE, secrets=("HF_TOKEN",))),
    "cluster": (group(), workload(CLUSTER, secrets=("HF_TOKEN", "OTHER"))),
    "data-parallel": (group("chat-h100-x8", **LARGE, replicas_per_instance=8), workload(SERVE)),
    "tensor-parallel": (
        group("chat-h100-x8", **LARGE, replicas_per_instance=2, tensor_parallel=4),
        workload(SERVE),
    ),
    "fp8": (group(), workload(SERVE, dtype="fp8")),
    "expert-parallel": (
        group("chat-h100-x8", **LARGE, tensor_parallel=8, layout="ep", engine_version="0.19.0"),
        workload(SERVE),
    ),
    "data-parallel-attention": (
        group("chat-h100-x8", **LARGE, tensor_parallel=8, layout="dp-ep", engine_args=()),
        workload(SERVE),
    ),
    "apart": (
        group("chat-h100-x8", **LARGE, replicas_per_instance=2, tensor_parallel=4, layout="dp-ep", runs_apart=True),
        workload(SERVE, api_key_secret="VLLM_API_KEY"),
    ),
    "sglang": (
        group(engine="sglang", engine_version="0.5.9", engine_args=(), disk_gb=832),
        workload(SERVE, api_key_secret="VLLM_API_KEY"),
    ),
    "sglang-replicas": (
        group(
            "chat-h100-x8",
            **LARGE,
            engine="sglang",
            replicas_per_instance=4,
            tensor_parallel=2,
            layout="ep",
            engine_args=(),
        ),
        workload(CLUSTER, dtype="fp8"),
    ),
    "sglang-data-parallel": (
        group(
            "chat-h100-x8",
            **LARGE,
            engine="sglang",
            tensor_parallel=8,
            layout="dp-ep",
            engine_version="nightly",
            engine_args=(),
        ),
        workload(SERVE),
    ),
    "spot": (group("chat-l4-spot", use_spot=True), workload(SERVE)),
    "zone": (group(cloud="gcp", region="us-central1", zone="us-central1-a", instance_type="g2-standard-4"), workload()),
    "one-node-clusters": (
        group(cloud="runpod", region="CA", instance_type="1x_L4_SECURE", instances=2),
        workload(CLUSTER, secrets=("HF_TOKEN",)),
    ),
    "engine-arguments": (group(), workload(SERVE, engine_args=("--enable-prefix-caching", "--seed", "7"))),
    "hostile": (
        group(engine_args=(("override-generation-config", '{"a": "$(id)"}'),)),
        workload(SERVE, id="x; rm -rf /", engine_args=("$(id)", "`id`", "a 'b' \"c\"", "{{ x }}", "é 日本", "a\\")),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, repository: Path) -> None:
    golden = repository / "tests" / "golden" / "yaml" / f"{name}.sky.yaml"
    text = render_group(*CASES[name])
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8", newline="\n")
    assert text == golden.read_text(encoding="utf-8")
    assert text == render_group(*CASES[name])
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def loaded(a_group: ReplicaGroup, a_workload: Workload) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(render_group(a_group, a_workload))
    return found


def arguments(run: str, home: Path) -> list[str]:
    """What the engine is started with when bash runs the script; the engine is a stand-in that prints them."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash on this machine")
    engine = home / "vllm-env" / "bin" / "vllm"
    engine.parent.mkdir(parents=True, exist_ok=True)
    engine.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n", encoding="utf-8")
    engine.chmod(0o755)
    done = subprocess.run(
        [bash, "-c", run],
        capture_output=True,
        check=True,
        cwd=home,
        env={"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C"},
        timeout=30,
    )
    assert done.stderr == b""
    assert sorted(path.name for path in home.iterdir()) == ["vllm-env"]
    return done.stdout.decode().split("\0")[:-1]


HOSTILE = (
    "x; rm -rf /",
    "$(touch owned)",
    "`touch owned`",
    "${HOME}",
    "it's",
    '"quoted"',
    "a\\",
    "\\n",
    "&& touch owned",
    "| touch owned",
    "> owned",
    "# not a comment",
    "key: value",
    "- item",
    "{{ group.name }}",
    "{% raw %}",
    "é 日本 😀",
    "!!python/object/apply:os.system [id]",
    "*anchor",
    "~",
    "",
    " ",
    "  leading and trailing  ",
    "\t",
    "*",
    "-rf",
)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_engine_argument_is_one_argument(value: str, tmp_path: Path) -> None:
    document = loaded(group(), workload(engine_args=("--flag", value, "last")))
    assert arguments(document["run"], tmp_path)[-3:] == ["--flag", value, "last"]
    assert set(document) == set(loaded(group(), workload()))


@pytest.mark.parametrize("value", [value for value in HOSTILE if value])
def test_a_hostile_model_id_is_one_argument(value: str, tmp_path: Path) -> None:
    found = arguments(loaded(group(), workload(id=value))["run"], tmp_path)
    assert found[:2] == ["serve", value]
    assert found[2:] == arguments(loaded(group(), workload())["run"], tmp_path)[2:]


@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_of_a_profile_setting_is_one_argument(value: str, tmp_path: Path) -> None:
    found = arguments(loaded(group(engine_args=(("setting", value),)), workload())["run"], tmp_path)
    assert found[-2:] == ["--setting", value]


def test_a_hostile_name_of_a_profile_setting_is_one_argument(tmp_path: Path) -> None:
    found = arguments(loaded(group(engine_args=(("a;touch owned;b", "1"),)), workload())["run"], tmp_path)
    assert "--a;touch owned;b" in found


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x1b", "\x0b", "\x7f"])
def test_a_line_separator_or_control_character_does_not_break_the_file(separator: str, tmp_path: Path) -> None:
    value = f"a{separator}num_nodes: 9{separator}#"
    if re.search(ENGINE_ARGUMENT, value) is None:
        return  # refused at the edge: cannot get here
    document = loaded(group(), workload(engine_args=(value,)))
    assert "num_nodes" not in document
    assert arguments(document["run"], tmp_path)[-1] == value


def test_a_hostile_place_or_machine_stays_one_value() -> None:
    odd = group(region='a": {x: 1} #', instance_type="b: [c]\\", catalog_accelerator='H"1')
    resources = loaded(odd, workload())["resources"]
    assert resources["infra"] == 'aws/a": {x: 1} #'
    assert resources["instance_type"] == "b: [c]\\"
    assert resources["accelerators"] == {'H"1': 1}


def test_what_the_engine_is_told(tmp_path: Path) -> None:
    plain = arguments(loaded(*CASES["serve"])["run"], tmp_path)
    assert plain[:2] == ["serve", "meta-llama/Llama-3.1-8B-Instruct"]
    told = dict(zip(plain[2::2], plain[3::2], strict=True))
    assert told == {
        "--host": "0.0.0.0",  # noqa: S104 - inside the rented machine
        "--port": "8000",
        "--dtype": "bfloat16",
        "--tensor-parallel-size": "1",
        "--max-model-len": "8192",
        "--max-num-seqs": "24",
        "--gpu-memory-utilization": "0.9",
        "--max-num-batched-tokens": "8192",
    }
    assert "--data-parallel-size 8" in loaded(*CASES["data-parallel"])["run"]
    several = loaded(*CASES["tensor-parallel"])["run"]
    assert "--data-parallel-size 2" in several
    assert "--tensor-parallel-size 4" in several
    assert "--quantization fp8" in loaded(*CASES["fp8"])["run"]


def test_layouts_are_launched_as_they_were_measured() -> None:
    """24 at once of a replica are 3 of each of 8 ranks of vLLM; SGLang divides them itself."""
    spread = loaded(*CASES["expert-parallel"])["run"]
    assert "--tensor-parallel-size 8" in spread
    assert "--enable-expert-parallel" in spread
    assert "--data-parallel-size" not in spread
    assert "--max-num-seqs 24" in spread
    attention = loaded(*CASES["data-parallel-attention"])["run"]
    for flag in ("--tensor-parallel-size 1", "--data-parallel-size 8", "--enable-expert-parallel", "--max-num-seqs 3"):
        assert flag in attention
    sglang = loaded(*CASES["sglang-data-parallel"])["run"]
    for flag in ("--tp-size 8", "--attn-dp-size 8", "--ep-size 8", "--max-running-requests 24"):
        assert flag in sglang
    assert "--dp-size" not in sglang
    replicas = loaded(*CASES["sglang-replicas"])["run"]
    for flag in ("--tp-size 2", "--ep-size 2", "--dp-size 4", "--quantization fp8", "--context-length 8192"):
        assert flag in replicas


def test_launch_files_say_how_far_their_version_is_from_the_profile() -> None:
    comments = {
        name: [line for line in render_group(*CASES[name]).splitlines() if "profile is" in line] for name in CASES
    }
    assert comments["serve"] == []
    assert comments["sglang"] == ["# SGLang 0.5.23 is installed; the profile is of 0.5.9, 14 patch versions earlier."]
    assert comments["sglang-data-parallel"] == [
        "# SGLang 0.5.23 is installed; the profile is of nightly, which cannot be compared."
    ]


FAKE_SGLANG = """
import argparse, json, logging, multiprocessing, os, pathlib, sys

def child(queue):
    queue.put(pathlib.Path("/proc/self/cmdline").read_bytes().decode())

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    parser = argparse.ArgumentParser()
    for flag in ("--api-key", "--model-path", "--host", "--port", "--dtype", "--tp-size", "--context-length"):
        parser.add_argument(flag)
    parser.add_argument("--max-running-requests", type=int)
    arguments = parser.parse_args(sys.argv[1:])
    logging.info("server_args=%s", arguments)
    logging.getLogger("uvicorn").warning(f"started with {vars(arguments)}")
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    lines = pathlib.Path("/proc/self/cmdline").read_bytes().decode() + queue.get()
    process.join()
    pathlib.Path("seen.json").write_text(json.dumps({**vars(arguments), "processes": lines}))
"""


def test_sglang_gets_its_key_past_the_argument_list_and_the_log(tmp_path: Path) -> None:
    """The `run` of a replica, with a stand-in that logs its arguments and starts children as SGLang does."""
    package = tmp_path / "lib" / "sglang"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "launch_server.py").write_text(FAKE_SGLANG)
    python = tmp_path / "sglang-env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": str(package.parent)}
    run = ["bash", "-c", loaded(*CASES["sglang"])["run"]]
    key = "s3cret-key.of~mine"
    done = subprocess.run(
        run,
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**environment, "VLLM_API_KEY": key},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert seen["api_key"] == key
    assert seen["model_path"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert seen["max_running_requests"] == 24
    assert key not in done.stdout + done.stderr + seen["processes"]
    assert done.stderr.count("(the key)") == 2
    refused = subprocess.run(run, capture_output=True, text=True, check=False, env=environment, timeout=60)
    assert refused.returncode == 1
    assert refused.stderr.startswith("VLLM_API_KEY is empty")


FAKE_VLLM = """#!{python}
import http.server, json, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps([os.environ["CUDA_VISIBLE_DEVICES"], os.environ["VLLM_API_KEY"], sys.argv[1:]]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

if "die" in os.environ["PATH"] and os.environ["CUDA_VISIBLE_DEVICES"].startswith("4"):
    sys.exit(3)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def run_apart(home: Path, port: int, *, path: str = "") -> subprocess.Popen[bytes]:
    engine = home / "vllm-env" / "bin" / "vllm"
    engine.parent.mkdir(parents=True)
    engine.write_text(FAKE_VLLM.replace("{python}", sys.executable))
    engine.chmod(0o755)
    run = loaded(*CASES["apart"])["run"]
    for offset in range(3):
        assert str(8000 + offset) in run
        run = run.replace(str(8000 + offset), str(port + offset))
    environment = {"HOME": str(home), "PATH": f"{os.environ['PATH']}:/usr/sbin{path}", "VLLM_API_KEY": "key"}
    return subprocess.Popen(["bash", "-c", run], env=environment, start_new_session=True)


def free_ports() -> int:
    """The first of three that are free."""
    for port in range(21_000, 29_000, 3):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for offset in range(3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            return port
    raise AssertionError("no free ports")


@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="no HAProxy on this machine")
def test_replicas_that_run_apart_answer_on_one_port(tmp_path: Path) -> None:
    port = free_ports()
    process = run_apart(tmp_path, port)
    try:
        answers = []
        end = time.monotonic() + 30
        while len(answers) < 8 and time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    answers.append(json.load(answer))
            except OSError:
                assert answers == []  # once ready, always ready
                time.sleep(0.2)
        assert {gpus for gpus, _, _ in answers} == {"0,1,2,3", "4,5,6,7"}
        assert {key for _, key, _ in answers} == {"key"}
        for gpus, _, arguments in answers:
            assert arguments[:2] == ["serve", "meta-llama/Llama-3.1-8B-Instruct"]
            told = dict(zip(arguments[2:8:2], arguments[3:8:2], strict=True))
            assert told == {
                "--host": "127.0.0.1",
                "--port": str(port + (1 if gpus == "0,1,2,3" else 2)),
                "--dtype": "bfloat16",
            }
            assert arguments[8:12] == ["--tensor-parallel-size", "1", "--data-parallel-size", "4"]
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=20)


@pytest.mark.skipif(shutil.which("haproxy", path="/usr/sbin:/usr/bin") is None, reason="no HAProxy on this machine")
def test_an_instance_ends_with_the_first_of_its_replicas(tmp_path: Path) -> None:
    process = run_apart(tmp_path, free_ports(), path=":/die")
    assert process.wait(timeout=30) == 1


def test_the_users_arguments_come_last(tmp_path: Path) -> None:
    found = arguments(loaded(group(), workload(engine_args=("--block-size", "9")))["run"], tmp_path)
    assert found[-2:] == ["--block-size", "9"]


COLLIDING = sorted(
    {
        word.partition(" ")[0]
        for case_group, case_workload in CASES.values()
        # The arguments of the profile and of the user are not ours.
        for word in engine_arguments(
            replace(case_group, engine_args=()),
            replace(
                case_workload,
                model=replace(case_workload.model, remote_code=True),
                launch=replace(case_workload.launch, engine_args=(), trust_remote_code=True),
            ),
        )[1:]
    }
)


@pytest.mark.parametrize("flag", COLLIDING)
def test_engine_args_cannot_repeat_what_launch_files_have(flag: str, tmp_path: Path) -> None:
    path = tmp_path / "workload.yaml"
    path.write_text(
        "version: 1\nname: chat\nmodel: {id: Qwen/Qwen3-8B}\nslo: {tpot_ms: 40}\n"
        "traffic: {request_rate: 1, preset: azure-code-2023}\n"
        f'launch: {{engine_args: [--seed, "1", "{flag.replace("-", "_").replace("__", "--", 1)}=2"]}}\n'
    )
    with pytest.raises(InputError) as error:
        read_workload(path)
    assert [mistake.key for mistake in error.value.mistakes] == ["launch.engine_args[2]"]
    assert error.value.mistakes[0].message.startswith(f"{flag} ")


def test_code_of_a_repository_runs_only_where_it_is_needed_and_allowed() -> None:
    for needs, allowed in ((True, True), (True, False), (False, True)):
        planned = workload()
        planned = replace(
            planned,
            model=replace(planned.model, remote_code=needs),
            launch=replace(planned.launch, trust_remote_code=allowed),
        )
        text = render_group(group(), planned)
        assert ("--trust-remote-code" in text) == (needs and allowed)


def test_secrets_are_names_without_values() -> None:
    assert loaded(*CASES["cluster"])["secrets"] == {"HF_TOKEN": None, "OTHER": None}
    assert "secrets" not in loaded(group(), workload())


def test_serve_and_cluster() -> None:
    serve, cluster = loaded(*CASES["serve"]), loaded(*CASES["cluster"])
    assert serve["service"]["replicas"] == 3
    assert "num_nodes" not in serve
    assert cluster["num_nodes"] == 3
    assert "service" not in cluster
    assert loaded(*CASES["one-node-clusters"])["num_nodes"] == 1


def test_the_place_and_the_machine() -> None:
    resources = loaded(*CASES["zone"])["resources"]
    assert resources["infra"] == "gcp/us-central1/us-central1-a"
    assert resources["instance_type"] == "g2-standard-4"
    assert resources["accelerators"] == {"L4": 1}
    assert resources["use_spot"] is False
    assert loaded(*CASES["spot"])["resources"]["use_spot"] is True


def test_counts_and_prices_change_nothing_below_the_service() -> None:
    """SkyServe reuses replicas only when nothing but `service:` differs."""
    changed = replace(group(), instances=7, price_usd_per_hour=9.99, utilization=0.1)
    before, after = loaded(group(), workload()), loaded(changed, workload())
    assert before.pop("service") != after.pop("service")
    assert before == after
    body = [line for line in render_group(changed, workload()).splitlines() if not line.startswith("#")]
    assert [line for line in body if "9.99" in line] == []
    assert [line for line in body if "7" in line] == ["  replicas: 7"]


def test_launch_commands() -> None:
    assert launch_command(*CASES["serve"]) == "sky serve up -n chat-l4 chat-l4.sky.yaml --secret HF_TOKEN"
    assert launch_command(*CASES["cluster"]) == (
        "sky launch -c chat-l4 chat-l4.sky.yaml --secret HF_TOKEN --secret OTHER"
    )
    one_node, _ = CASES["one-node-clusters"]
    assert nodes_per_launch(one_node) == 1
    assert launch_command(*CASES["one-node-clusters"]) == (
        "for i in $(seq 2); do sky launch -y -d -c chat-l4-$i chat-l4.sky.yaml --secret HF_TOKEN; done"
    )


def test_every_group_has_its_file_and_plan_json() -> None:
    files = render_files(plan(group("a"), group("b")), workload())
    assert set(files) == {"a.sky.yaml", "b.sky.yaml", *output_files()} - {"schedule.json"}, "it has no hours"
    steps = launch_steps(plan(group("a"), group("b")), workload(), folder="my plan")
    assert "sky-melange validate 'my plan'" in steps
    assert "2 SkyPilot files" in steps
