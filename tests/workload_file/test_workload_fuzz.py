"""Whatever the file holds, it is read or refused with an InputError."""

from __future__ import annotations

import json
import math
import random
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sky_melange.errors import InputError, Mistake
from sky_melange.workload_file import read_melange, read_workload

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WORDS = [
    *["version", "name", "model", "id", "dtype", "max_model_len", "slo", "tpot_ms", "ttft_ms", "traffic"],
    *["request_rate", "histogram", "input_tokens", "output_tokens", "weights", "source", "candidates", "accelerators"],
    *["clouds", "regions", "spot", "constraints", "max_utilization", "max_accelerators", "min_replicas", "max_groups"],
    *["routing", "budget", "usd_per_hour", "prices", "trust", "solver", "slices", "mip_gap", "launch", "mode"],
    *["engine", "engine_args", "secrets", "gpu_info", "cost", "tputs", "workload_distribution", "slice_factor"],
]
TOKENS = [*WORDS, *"{}[]:,-?*&!|>'\"#%@`~<", "\n", "  ", "\t", ": ", "- ", "---\n", "1", "0", "-1", ".nan", "010", "no"]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from(WORDS),
    st.sampled_from([1, "chat", "fp8", "aws", "L4", "vllm", "HF_TOKEN", "never", 0.5]),
)
structures = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner),
    max_leaves=25,
)


def _mistakes(content: bytes) -> tuple[Mistake, ...]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "workload.yaml"
        path.write_bytes(content)
        try:
            read_workload(path, known_accelerators=["L4", "H100"], known_clouds=["aws"], known_models=["m"])
        except InputError as error:
            return error.mistakes or (Mistake(source="", message=""),)
    return ()


def _read(content: bytes) -> None:
    mistakes = _mistakes(content)
    assert all(mistake.source.endswith("workload.yaml") and mistake.message for mistake in mistakes)
    lines = [mistake.line or math.inf for mistake in mistakes]
    assert lines == sorted(lines)
    assert all(str(mistake).isprintable() for mistake in mistakes)


@relaxed
@given(st.binary(max_size=300))
def test_bytes(content: bytes) -> None:
    _read(content)


@relaxed
@given(st.text(max_size=300))
@example('a: "\\uD800"')
@example("%YAML 9.9\n---\na: 1")
@example("a: \u2028 b\x85c: d")
@example("=: =\n<<: <<")
def test_text(text: str) -> None:
    _read(text.encode("utf-8", "surrogatepass"))


@relaxed
@given(st.lists(st.sampled_from(TOKENS), max_size=60).map("".join))
def test_yaml_like_text(text: str) -> None:
    _read(text.encode())


@relaxed
@given(st.dictionaries(st.sampled_from(WORDS), structures))
def test_structures(structure: dict[str, Any]) -> None:
    _read(yaml.dump(structure, allow_unicode=True).encode())


@relaxed
@given(st.randoms(use_true_random=False))
def test_a_good_file_with_one_part_replaced(good: str, random_source: random.Random) -> None:
    parts = good.replace("\n", " \n ").split(" ")
    parts[random_source.randrange(len(parts))] = random_source.choice(TOKENS)
    _read(" ".join(parts).replace(" \n ", "\n").encode())


@relaxed
@given(
    weights=st.lists(st.lists(st.floats(0, 1e300), min_size=3, max_size=3), min_size=2, max_size=2),
    rate=st.floats(1e-6, 1e9),
)
def test_rates_add_up(good: str, weights: list[list[float]], rate: float) -> None:
    structure = yaml.safe_load(good)
    structure["traffic"]["request_rate"] = rate
    structure["traffic"]["histogram"]["weights"] = weights
    with TemporaryDirectory() as folder:
        path = Path(folder) / "workload.yaml"
        path.write_text(yaml.dump(structure))
        if not any(map(any, weights)):
            with pytest.raises(InputError, match="every weight is 0"):
                read_workload(path)
            return
        traffic = read_workload(path).traffic
    assert math.isclose(traffic.request_rate_rps, rate, rel_tol=1e-9)
    assert all(share >= 0 for row in traffic.rates_rps for share in row)
    assert traffic.buckets()


def _read_melange(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "melange.json"
        path.write_bytes(content)
        with suppress(InputError):
            problem = read_melange(path)
            shape = [len(row) for row in problem.workload_distribution]
            assert all([len(row) for row in rates] == shape for rates in problem.request_rates_rps)
            assert all(cost > 0 for cost in problem.cost_usd_per_hour)


@relaxed
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_melange_bytes(content: bytes) -> None:
    _read_melange(content)


tables = st.lists(st.lists(st.integers(-1, 3) | st.floats() | st.none(), max_size=3), max_size=3) | scalars
entries = st.fixed_dictionaries({}, optional={"cost": st.floats() | st.text(max_size=3), "tputs": tables})


@relaxed
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "gpu_info": st.dictionaries(st.text(max_size=4), entries | scalars, max_size=3) | scalars,
            "workload_distribution": tables,
            "total_request_rate": scalars,
            "slice_factor": scalars,
        },
    )
)
def test_melange_structures(structure: dict[str, Any]) -> None:
    _read_melange(json.dumps(structure, default=str).encode())
