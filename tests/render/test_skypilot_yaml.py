"""Launch files: golden bytes, and proof that a shell passes each value on as one argument and runs nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from plans import LARGE, group, plan, workload

from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.workload import LaunchMode, Workload
from sky_melange.render import launch_steps, output_files, render_files
from sky_melange.render.skypilot_yaml import launch_command, nodes_per_launch, render_group
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


def test_the_users_arguments_come_last(tmp_path: Path) -> None:
    found = arguments(loaded(group(), workload(engine_args=("--max-num-seqs", "9")))["run"], tmp_path)
    assert found[-2:] == ["--max-num-seqs", "9"]


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
