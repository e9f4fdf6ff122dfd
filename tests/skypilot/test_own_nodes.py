"""`workload own`: what SkyPilot says of a cluster's nodes, as entries that a plan takes."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from sky_melange.cli import cli, workload_own
from sky_melange.skypilot.launch.cloud import LaunchError
from sky_melange.skypilot.launch.sdk import SkyPilot
from sky_melange.workload_file import read_workload

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what SkyPilot imports

H100 = {"accelerator_type": "H100", "total": 8, "cpu_count": 192.0, "memory_gb": 2015.7}


def node(name: str, **others: Any) -> Any:
    """As SkyPilot 0.14.1 answers."""
    from sky.models import KubernetesNodeInfo

    values = {"free": 8, **H100, **others}
    total, free = values.pop("total"), values.pop("free")
    return KubernetesNodeInfo(
        name=name,
        total={"accelerator_count": 8, "accelerator_allocatable": total},
        free={"accelerators_available": free},
        **values,
    )


class Answers(SkyPilot):
    """SkyPilot's SDK with the answer of its server put in."""

    def __init__(self, *nodes: Any) -> None:
        self.asked: list[str] = []
        self._nodes = nodes
        sdk = SimpleNamespace(kubernetes_node_info=self._info)
        self._sky = SimpleNamespace(
            get=lambda found: found, client=SimpleNamespace(sdk=sdk), exceptions=SimpleNamespace()
        )

    def _info(self, context: str) -> Any:
        self.asked.append(context)
        return SimpleNamespace(node_info_dict={each.name: each for each in self._nodes})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(cloud: Any, *arguments: str) -> Result:
        monkeypatch.setattr(workload_own, "connect", lambda: cloud)
        return CliRunner(mix_stderr=False).invoke(
            cli, ["workload", "own", *arguments, "--usd-per-gpu-hour", "0.35"], catch_exceptions=False
        )

    return run


def test_nodes_become_entries_that_a_workload_takes(told: Any, tmp_path: Path) -> None:
    cloud = Answers(
        node("a"),
        node("b", free=3, memory_gb=1900.2),
        node("c", is_cordoned=True),
        node("d", is_ready=False),
        node("e", accelerator_type="GB9000"),
        node("f", accelerator_type=None, total=0, free=0),
        node("g", accelerator_type="L40S", total=4, free=-1, cpu_count=None),
        node("h", total=2, free=2),
    )
    done = told(cloud, "k8s/prod")
    assert done.exit_code == 0, done.stderr
    assert cloud.asked == ["prod"]
    assert yaml.safe_load(done.stdout)["candidates"]["own"] == [
        {
            "infra": "k8s/prod",
            "accelerator": "H100",
            "per_node": 8,
            "nodes": 2,
            "usd_per_gpu_hour": 0.35,
            "vcpus": 192.0,
            "memory_gib": 1900.0,
        },
        {
            "infra": "k8s/prod",
            "accelerator": "L40S",
            "per_node": 4,
            "nodes": 1,
            "usd_per_gpu_hour": 0.35,
            "memory_gib": 2015.0,
        },
    ]
    assert "# 11 of 16 GPUs are free now" in done.stdout
    assert done.stdout.count("free now") == 1
    left = [line.partition(": ")[2].partition(":")[0] for line in done.stderr.splitlines() if line.startswith("Left")]
    assert left == ["c", "d", "e", "1 × 2 × H100"]
    text = (
        "version: 1\nname: chat\nmodel: {id: meta-llama/Llama-3.1-8B-Instruct}\nslo: {tpot_ms: 40}\n"
        "traffic: {request_rate: 3, histogram: {input_tokens: [9], output_tokens: [9], weights: [[1]]}}\n" + done.stdout
    )
    (tmp_path / "w.yaml").write_text(text, encoding="utf-8")
    assert [gpus.nodes for gpus in read_workload(tmp_path / "w.yaml").candidates.own] == [2, 1]


def test_json_alone_on_stdout_and_pools_by_their_context(told: Any) -> None:
    cloud = Answers(node("a", free=-1))
    done = told(cloud, "ssh/lab", "--format", "json")
    assert cloud.asked == ["ssh-lab"]
    (entry,) = json.loads(done.stdout)["own"]
    assert (entry["infra"], entry["free_gpus"]) == ("ssh/lab", None)


def test_a_cluster_without_gpus_is_said_to_have_none(told: Any) -> None:
    done = told(Answers(node("a", accelerator_type=None, total=0, free=0)), "k8s/prod")
    assert (done.exit_code, done.stdout) == (0, "candidates: {own: []}\n")
    assert "has no GPU" in done.stderr


@pytest.mark.parametrize("place", ["prod", "k8s/", "aws/us-east-1", "ssh/ssh-lab", "k8s/*"])
def test_what_is_no_place_of_ones_own_is_refused_before_skypilot_is_asked(told: Any, place: str) -> None:
    done = told(None, place)
    assert done.exit_code == 2
    assert place in done.stderr


def test_a_refusal_of_skypilot_is_told(told: Any) -> None:
    class Refuses:
        def nodes(self, _: str) -> Any:
            raise LaunchError("context nowhere is not allowed")

    done = told(Refuses(), "k8s/nowhere")
    assert done.exit_code == 3
    assert "context nowhere is not allowed" in done.stderr


def test_a_missing_extra_of_skypilot_is_named(told: Any) -> None:
    cloud = Answers()

    def lacks(context: str) -> Any:
        raise ImportError(f"Failed to import dependencies for Kubernetes: {context}")

    cloud._sky.client.sdk.kubernetes_node_info = lacks
    done = told(cloud, "k8s/prod")
    assert done.exit_code == 5
    assert "skypilot[kubernetes]" in done.stderr


def test_a_price_that_is_no_number_is_refused(told: Any) -> None:
    done = CliRunner(mix_stderr=False).invoke(cli, ["workload", "own", "k8s/prod", "--usd-per-gpu-hour", "nan"])
    assert done.exit_code == 2
    assert "such as 0.35" in done.stderr


def test_the_sdk_has_what_is_asked_for() -> None:
    from sky.client import sdk

    assert list(inspect.signature(sdk.kubernetes_node_info).parameters) == ["context"]
