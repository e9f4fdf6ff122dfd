"""Runs that are of more than one replica are left out; runs under conditions of their own are marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from importing import DATA, Import, import_profile

FIELD = DATA / "field"
SOURCES = {
    "vllm-bench": FIELD / "vllm_rate.json",
    "sglang-bench": FIELD / "sglang.jsonl",
    "aiperf": DATA / "aiperf" / "64-in-16-out-4-at-once.json",
    "genai-perf": next(iter(sorted((DATA / "genai-perf").glob("*.json")))),
    "llmperf": next(iter(sorted((DATA / "llmperf").glob("*.json")))),
    "inferencex": DATA / "inferencex" / "rows.json",
}


def _edited(tmp_path: Path, name: str, **changes: Any) -> Import:
    """One run of a format with other values; keys with dots are paths."""
    text = SOURCES[name].read_text()
    content = json.loads(text.splitlines()[0] if name == "sglang-bench" else text)
    if isinstance(content, list):
        content = [row for row in content if row["hw"] == "b200-a" and row["tp"] == 4][:1]
    run = content[0] if isinstance(content, list) else content
    for path, value in changes.items():
        *parents, last = path.split("__")
        part = run
        for key in parents:
            part = part.setdefault(key, {})
        part[last] = value
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    options: dict[str, str | None] = {"engine": None} if name in ("vllm-bench", "sglang-bench", "inferencex") else {}
    options |= {"model": None, "engine_version": None} if name == "inferencex" else {}
    return import_profile(tmp_path / "out.json", name, path, **options)


@pytest.mark.parametrize("name", SOURCES)
def test_a_run_as_it_is_has_no_mark(tmp_path: Path, name: str) -> None:
    found = _edited(tmp_path, name)
    assert found.exit_code == 0, found.stderr
    assert not any(word in found.stderr for word in ("guessed", "cache", "overloaded", "not one replica", "ramp of"))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("aiperf", {"input_config__endpoint__urls": ["http://a", "http://b"]}),
        ("aiperf", {"input_config__endpoint__url": "http://a, http://b"}),
        ("genai-perf", {"input_config__endpoint__url": ["http://a", "http://b"]}),
        ("vllm-bench", {"data_parallel_size": "2"}),
        ("vllm-bench", {"pp": 4}),
        ("sglang-bench", {"server_info": {"dp_size": 2, "tp_size": 1}}),
        ("inferencex", {"disagg": True}),
        ("inferencex", {"disagg": "true"}),
        ("inferencex", {"disagg": "True", "is_multinode": "false"}),
        ("inferencex", {"is_multinode": "true"}),
    ],
)
def test_several_servers_are_not_one_replica(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    found = _edited(tmp_path, name, **changes)
    assert found.exit_code == 2
    assert "not one replica" in found.stderr or "which no single replica is" in found.stderr
    assert not found.out.exists()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("aiperf", {"input_config__endpoint__urls": ["http://a"]}),
        ("inferencex", {"disagg": "false", "is_multinode": "false", "spec_decoding": "none"}),
        ("vllm-bench", {"dp": "1", "spec_decode_acceptance_rate": None, "request_rate": "inf"}),
    ],
)
def test_one_server_is_one_replica(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    found = _edited(tmp_path, name, **changes)
    assert found.exit_code == 0, found.stderr
    assert "guessed" not in found.stderr


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("inferencex", {"spec_decoding": "mtp"}, "guessed tokens ahead (spec_decoding mtp)"),
        ("sglang-bench", {"accept_length": 2.7}, "guessed tokens ahead (accept_length 2.7)"),
        ("vllm-bench", {"spec_decode_acceptance_rate": 61.2}, "guessed tokens ahead (spec_decode_acceptance_rate)"),
        ("vllm-bench", {"median_itl_ms": 0.02, "mean_itl_ms": 6.2}, "guessed tokens ahead (most tokens came with"),
        ("sglang-bench", {"dataset_name": "generated-shared-prefix"}, "partly in the cache (dataset generated-shared"),
        ("vllm-bench", {"request_rate": 30.0}, "were overloaded, so their TTFT is mostly a queue"),
        ("sglang-bench", {"request_rate": 30.0}, "were overloaded, so their TTFT is mostly a queue"),
        ("aiperf", {"input_config__loadgen__concurrency_ramp_duration": 30}, "a ramp of concurrency"),
        ("vllm-bench", {"gpu": "A100"}, "'A100', which does not look like --accelerator L4"),
    ],
)
def test_conditions_of_a_run_are_marked(tmp_path: Path, name: str, changes: dict[str, Any], says: str) -> None:
    """On stderr, and in the notes of the profile."""
    found = _edited(tmp_path, name, **changes)
    assert found.exit_code == 0, found.stderr
    assert says in found.stderr
    assert any(says in note for note in found.profile.provenance.notes)


def test_what_metadata_say_of_the_layout_is_used(tmp_path: Path) -> None:
    found = _edited(tmp_path, "vllm-bench", tensor_parallel_size="4", quantization="fp8")
    assert (found.profile.key.tensor_parallel, found.profile.key.dtype) == (4, "fp8")
    (tmp_path / "bad").mkdir()
    bad = _edited(tmp_path / "bad", "vllm-bench", tp="many")
    assert bad.exit_code == 2
    assert "tensor_parallel_size: want a whole number of GPUs, found 'many'" in bad.stderr


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("aiperf", {"error_request_count": None, "error_summary": [{"count": 400}, {"count": 20}]}),
        ("llmperf", {"results_number_errors": 0, "results_error_rate": 0.49}),
    ],
)
def test_failures_are_found_wherever_they_are_counted(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    found = _edited(tmp_path, name, **changes)
    assert found.exit_code == 2
    assert "more than 20%: not a measurement" in found.stderr
