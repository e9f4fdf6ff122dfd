"""Good files: values, units, defaults."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest

from sky_melange.domain.workload import (
    Budget,
    CandidateFilter,
    CloudsFrom,
    Constraints,
    Formulation,
    Launch,
    LaunchMode,
    PricePolicy,
    RoutingPolicy,
    Slo,
    SolverSettings,
    SpotUse,
)
from sky_melange.workload_file import read_workload

FULL = """\
version: 1
name: chat-2
model: {id: meta-llama/Llama-3.1-8B-Instruct, dtype: fp8, max_model_len: 16384}
slo: {attainment: mean, tpot_ms: 40, ttft_ms: 2000, ntpot_ms: 120.5}
traffic:
  request_rate: 32
  histogram:
    source: Azure conversation trace, 2023
    input_tokens: [100, 500]
    output_tokens: [50, 100]
    weights: [[1, 1], [1, 1]]
candidates:
  accelerators: [L4, A100-80GB]
  clouds: [aws, gcp]
  regions: {aws: [us-east-1, us-west-2]}
  spot: allow
constraints: {max_utilization: 1, max_accelerators: {L4: 8, H100: 0}, min_replicas: 2, max_groups: 3}
routing: size_aware
budget: {usd_per_hour: 40}
prices: {trust: [runpod/, vast/US/rtx]}
solver: {formulation: sliced, slices: 16, time_limit_s: 5, mip_gap: 1.0e-3}
launch: {mode: cluster, engine: vllm, engine_args: ["--block-size", "32"], secrets: [HF_TOKEN]}
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "workload.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_key_arrives_in_base_units(tmp_path: Path) -> None:
    workload = read_workload(_write(tmp_path, FULL))

    assert workload.name == "chat-2"
    assert (workload.model.dtype, workload.model.max_model_len) == ("fp8", 16384)
    assert (workload.slo.tpot_s, workload.slo.ttft_s, workload.slo.ntpot_s) == (0.04, 2.0, 0.1205)
    assert workload.traffic.grid.input_edges == (100, 500)
    assert workload.traffic.rates_rps == ((8.0, 8.0), (8.0, 8.0))
    assert workload.traffic.origin == "Azure conversation trace, 2023"
    assert workload.candidates == CandidateFilter(
        accelerators=("L4", "A100-80GB"),
        clouds=("aws", "gcp"),
        regions={"aws": ("us-east-1", "us-west-2")},
        spot=SpotUse.ALLOW,
    )
    assert workload.constraints == Constraints(
        max_utilization=1.0, max_accelerators={"L4": 8, "H100": 0}, min_replicas=2, max_groups=3
    )
    assert workload.routing is RoutingPolicy.SIZE_AWARE
    assert workload.budget == Budget(usd_per_hour=40.0)
    assert workload.prices == PricePolicy(trust=("runpod/", "vast/US/rtx"))
    assert workload.solver == SolverSettings(formulation=Formulation.SLICED, slices=16, time_limit_s=5.0, mip_gap=0.001)
    assert workload.launch == Launch(mode=LaunchMode.CLUSTER, engine_args=("--block-size", "32"), secrets=("HF_TOKEN",))


def test_defaults_are_those_of_the_domain(tmp_path: Path, good: str) -> None:
    workload = read_workload(_write(tmp_path, good))

    assert workload.slo == Slo(tpot_s=0.04, attainment=0.99)
    # Whoever knows the usual clouds fills them in.
    assert workload.candidates == CandidateFilter(clouds_from=CloudsFrom.USUAL)
    assert workload.constraints == Constraints(max_utilization=None)
    of_means = read_workload(_write(tmp_path, good.replace("tpot_ms: 40", "tpot_ms: 40\n  attainment: mean")))
    assert (of_means.slo, of_means.constraints) == (Slo(tpot_s=0.04), Constraints())
    assert workload.solver == SolverSettings()
    # Services are public addresses, so they have a key unless told otherwise.
    assert workload.launch == Launch(api_key_secret="VLLM_API_KEY")
    assert workload.prices == PricePolicy()
    assert workload.budget is None
    assert workload.routing is RoutingPolicy.INPUT_AWARE
    assert workload.traffic.origin == "histogram in workload.yaml"


@pytest.mark.parametrize(
    ("launch", "secret"),
    [
        ("{mode: serve}", "VLLM_API_KEY"),
        ("{mode: cluster}", None),
        ("{mode: serve, api_key_secret: none}", None),
        ("{mode: cluster, api_key_secret: CHAT_KEY}", "CHAT_KEY"),
    ],
)
def test_who_has_a_key(tmp_path: Path, good: str, launch: str, secret: str | None) -> None:
    assert read_workload(_write(tmp_path, good + f"launch: {launch}\n")).launch.api_key_secret == secret


def test_weights_are_normalised(tmp_path: Path, good: str) -> None:
    workload = read_workload(_write(tmp_path, good))

    assert workload.traffic.rates_rps == ((4.0, 8.0, 4.0), (8.0, 4.0, 4.0))
    assert workload.traffic.request_rate_rps == 32.0


@pytest.mark.parametrize("factor", ["1.0e-300", "1.5e+308", "0.001", "7"])
def test_the_scale_of_weights_does_not_matter(tmp_path: Path, good: str, factor: str) -> None:
    rows = f"[{factor}, {factor}, 0]"
    text = good.replace("[1, 2, 1]", rows).replace("[2, 1, 1]", rows)

    assert read_workload(_write(tmp_path, text)).traffic.rates_rps == ((8.0, 8.0, 0.0), (8.0, 8.0, 0.0))


def test_a_byte_order_mark_windows_lines_and_comments_are_read(tmp_path: Path, good: str) -> None:
    path = tmp_path / "workload.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + ("# größer\n" + good).replace("\n", "\r\n").encode())

    assert math.isclose(read_workload(path).traffic.request_rate_rps, 32)


def test_a_mapping_key_is_text_however_it_looks(tmp_path: Path, good: str) -> None:
    text = good + "candidates: {regions: {no: [eu-north]}}\n"

    assert read_workload(_write(tmp_path, text)).candidates.regions == {"no": ("eu-north",)}


def test_known_names_pass(tmp_path: Path) -> None:
    read_workload(
        _write(tmp_path, FULL),
        known_accelerators={"L4", "A100-80GB", "H100"},
        known_clouds=["aws", "gcp"],
        known_models=("meta-llama/Llama-3.1-8B-Instruct",),
    )


def test_importing_the_package_imports_neither_pydantic_nor_yaml() -> None:
    program = (
        "import sys, sky_melange.workload_file; "
        "print(sorted({'pydantic', 'yaml', 'sky', 'numpy', 'jsonschema'} & sys.modules.keys()))"
    )
    answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"
