"""Every importer reads a file that the real tool wrote, and what it writes is read back the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from importing import DATA, Import, import_profile

from sky_melange.domain.profile import Capacity, MatrixForm, PointsForm, ProfileKind, Skipped
from sky_melange.domain.workload import Slo
from sky_melange.extensions import IMPORTERS
from sky_melange.profiles.capacity import max_capacity
from sky_melange.profiles.profile_json import profile_text

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "profiles"

INFERENCEX_COLUMNS = [
    part
    for column in (
        "input_tokens=ISL",
        "output_tokens=OSL",
        "concurrency=Concurrency",
        "ttft_s=Mean TTFT (ms)",  # the export's names say ms and hold seconds
        "tpot_s=Mean TPOT (ms)",
    )
    for part in ("--column", column)
]


def vllm(out: Path) -> Import:
    return import_profile(out, "vllm-bench", *sorted((DATA / "vllm-bench").glob("*.json")), model=None, date=None)


def guidellm(out: Path) -> Import:
    return import_profile(out, "guidellm", *sorted((DATA / "guidellm").glob("*-out.json")), model=None, date=None)


def table(out: Path) -> Import:
    return import_profile(out, "table", *(DATA / "table").glob("inferencex*.csv"), *INFERENCEX_COLUMNS)


def melange(out: Path) -> Import:
    path = DATA / "melange" / "example-config.json"
    edges = {"input_edges": "25,100", "output_edges": "50,200", "ntpot_ms": "120"}
    return import_profile(out, "melange", path, accelerator="A100-80GB", **edges)


def aibrix_profile(out: Path) -> Import:
    return import_profile(out, "aibrix-profile", DATA / "aibrix" / "simulator-llama2-7b-a100.json", date=None)


def aibrix_benchmark(out: Path) -> Import:
    return import_profile(out, "aibrix-benchmark", DATA / "aibrix" / "simulator-llama2-7b-a40.jsonl", ntpot_ms="60")


def sglang_bench(out: Path) -> Import:
    return import_profile(out, "sglang-bench", DATA / "sglang-bench" / "runs.jsonl", engine=None, engine_version=None)


def aiperf(out: Path) -> Import:
    return import_profile(out, "aiperf", *sorted((DATA / "aiperf").glob("*-at-once.json")), model=None, date=None)


def genai_perf(out: Path) -> Import:
    return import_profile(out, "genai-perf", *sorted((DATA / "genai-perf").glob("*.json")), model=None)


def llmperf(out: Path) -> Import:
    return import_profile(out, "llmperf", *sorted((DATA / "llmperf").glob("*.json")), model=None, date=None)


def inferencex(out: Path) -> Import:
    path = DATA / "inferencex" / "rows.json"
    return import_profile(out, "inferencex", path, model=None, entry="b200-a", tensor_parallel="4")


def mlperf(out: Path) -> Import:
    path, entry = DATA / "mlperf" / "summary_results.json", "v9.0-0001/llama2-70b-99/Interactive"
    options = {"tensor_parallel": "8", "input_edges": "294", "ttft_ms": "450", "tpot_ms": "40"}
    return import_profile(out, "mlperf", path, entry=entry, **options)


EVERY = {
    "vllm-bench": vllm,
    "guidellm": guidellm,
    "table": table,
    "melange": melange,
    "aibrix-profile": aibrix_profile,
    "aibrix-benchmark": aibrix_benchmark,
    "sglang-bench": sglang_bench,
    "aiperf": aiperf,
    "genai-perf": genai_perf,
    "llmperf": llmperf,
    "inferencex": inferencex,
    "mlperf": mlperf,
}


def test_every_importer_is_tried_here_and_offered() -> None:
    assert sorted(EVERY) == sorted(IMPORTERS)


@pytest.mark.parametrize("name", EVERY)
def test_round_trip(name: str, tmp_path: Path) -> None:
    run: Callable[[Path], Import] = EVERY[name]
    found = run(tmp_path / "a.json")
    assert found.exit_code == 0, found.stderr
    profile = found.profile
    text = profile_text(profile, details=found.details)
    assert text == found.out.read_text(), "what is read back is what was written"
    assert run(tmp_path / "b.json").out.read_text() == text, "the same bytes again"
    assert found.details, "fields without a place of their own are kept"


def test_vllm_bench_figures(tmp_path: Path) -> None:
    found = vllm(tmp_path / "p.json")
    form = found.profile.form
    assert isinstance(form, PointsForm)
    assert {shape: [n for n, _, _ in curve] for shape, curve in form.latencies.items()} == {
        (65, 16): [1, 4],
        (257, 16): [1, 4],
    }
    # The stub's law at four at once: TTFT 20 + 2·4 + 0.01·257 ms, TPOT 6 + 1.2·4 ms.
    _, (_, ttft_s, tpot_s) = form.latencies[257, 16]
    assert ttft_s == pytest.approx(0.0306, rel=0.12)
    assert tpot_s == pytest.approx(0.0108, rel=0.02)
    assert found.profile.key.model == "stub-model"
    assert found.profile.provenance.fetched_at == "2026-11-22"
    assert found.profile.provenance.kind is ProfileKind.MEASURED
    run = found.details["runs"][0]
    assert run["burstiness"] == 1.0
    assert run["latencies"] == "(24 values left out)"


def test_guidellm_figures(tmp_path: Path) -> None:
    found = guidellm(tmp_path / "p.json")
    form = found.profile.form
    assert isinstance(form, PointsForm)
    assert sorted(form.latencies) == [(65, 16), (257, 16)]
    _, (concurrency, ttft_s, tpot_s) = form.latencies[65, 16]
    assert concurrency == 4
    assert 0.0108 < tpot_s < 0.0115, "inter-token latency, not time_per_output_token_ms (0.0118)"
    report = json.loads((DATA / "guidellm" / "report-64-in-16-out.json").read_text())
    counted_rps = report["benchmarks"][1]["metrics"]["requests_per_second"]["successful"]["mean"]
    assert concurrency / (ttft_s + tpot_s * 15) == pytest.approx(counted_rps), "never more than it counted"
    assert found.profile.key.model == "stub-model"


def test_table_figures_and_the_unit_trap(tmp_path: Path) -> None:
    found = table(tmp_path / "p.json")
    form = found.profile.form
    assert isinstance(form, PointsForm)
    assert form.latencies[1024, 1024][0] == (4, 0.04011935685994104, 0.0036954017349367417)
    assert found.profile.provenance.kind is ProfileKind.PUBLISHED
    assert found.details["other_columns"][0]["Framework"] == "vllm"
    believed = [word.replace("_s=", "_ms=") for word in INFERENCEX_COLUMNS]
    wrong = import_profile(tmp_path / "q.json", "table", *(DATA / "table").glob("inferencex*.csv"), *believed)
    assert wrong.exit_code == 2
    assert "times faster than reading the weights once" in wrong.stderr or "faster than any GPU" in wrong.stderr
    assert "seconds where milliseconds were expected" in wrong.stderr
    assert not wrong.out.exists()


def test_matrix_holds_only_at_its_target(tmp_path: Path) -> None:
    profile = melange(tmp_path / "p.json").profile
    assert isinstance(profile.form, MatrixForm)
    found = max_capacity(profile, 25, 200, Slo(ntpot_s=0.12))
    assert isinstance(found, Capacity)
    assert found.request_rate_rps == 20
    assert found.concurrency == pytest.approx(20 * 0.12 * 200)
    assert (found.ttft_s, found.tpot_s) == (None, None)
    small = max_capacity(profile, 1, 1, Slo(ntpot_s=0.12))
    assert isinstance(small, Capacity), "a smaller request is in the first bucket"
    for slo in (Slo(ntpot_s=0.04), Slo(ntpot_s=0.2), Slo(tpot_s=0.12), Slo(ntpot_s=0.12, ttft_s=1.0)):
        refused = max_capacity(profile, 25, 200, slo)
        assert isinstance(refused, Skipped)
        assert "states its rates at NTPOT ≤ 120 ms only" in refused.detail
    outside = max_capacity(profile, 101, 200, Slo(ntpot_s=0.12))
    assert isinstance(outside, Skipped)
    assert "covers 1…100" in outside.detail


def test_aibrix_is_turned_to_input_by_output_and_called_simulated(tmp_path: Path) -> None:
    found = aibrix_profile(tmp_path / "p.json")
    form, provenance = found.profile.form, found.profile.provenance
    assert isinstance(form, MatrixForm)
    assert form.input_edges == (128, 256, 512, 1024, 2048)
    assert form.output_edges == (4, 8, 16, 32, 64, 128, 256, 512)
    assert form.request_rates_rps[1][0] == 32.3132063155413, "256 in × 4 out"
    assert form.request_rates_rps[4][6] is None, "0 in the file: nothing met the target"
    assert provenance.kind is ProfileKind.ESTIMATED
    assert provenance.notes[0].startswith("SIMULATED")
    assert provenance.fetched_at == "2025-06-02"
    assert "planning will refuse" in found.stderr
    refused = max_capacity(found.profile, 128, 4, Slo(ntpot_s=0.1))
    assert isinstance(refused, Skipped)
    assert "p99 latency ≤ 5000 ms" in refused.detail


def test_aibrix_simulation_may_not_be_called_measured(tmp_path: Path) -> None:
    path = DATA / "aibrix" / "simulator-llama2-7b-a100.json"
    found = import_profile(tmp_path / "p.json", "aibrix-profile", path, kind="measured")
    assert found.exit_code == 2
    assert "simulated engine" in found.stderr
    assert not found.out.exists()


def test_aibrix_benchmark_needs_the_one_target_that_it_can_hold(tmp_path: Path) -> None:
    path = DATA / "aibrix" / "simulator-llama2-7b-a40.jsonl"
    found = import_profile(tmp_path / "p.json", "aibrix-benchmark", path)
    assert found.exit_code == 2
    assert "28 of 28 runs have TPOT or TTFT 0" in found.stderr
    found = import_profile(tmp_path / "p.json", "aibrix-benchmark", path, tpot_ms="50")
    assert found.exit_code == 2


@pytest.mark.skipif(not SHARED.is_dir(), reason="the collected data are not beside the repository")
@pytest.mark.parametrize("gpu", ["a100", "a40"])
def test_aibrix_benchmark_gives_the_rates_of_aibrix_itself(tmp_path: Path, gpu: str) -> None:
    """AIBrix made its A100 profile of these lines at p99 latency ≤ 5 s; ours, of means, is never below it."""
    path = SHARED / "aibrix" / f"simulator-llama2-7b-{gpu}.jsonl.gz"
    with gzip.open(path) as lines:
        assert sum(1 for line in lines if line.strip()) == 1400
    found = import_profile(tmp_path / "p.json", "aibrix-benchmark", path, ntpot_ms="1e6")
    assert found.exit_code == 0, found.stderr
    form = found.profile.form
    assert isinstance(form, MatrixForm)
    if gpu != "a100":
        return
    theirs = aibrix_profile(tmp_path / "q.json").profile.form
    assert isinstance(theirs, MatrixForm)
    equal = 0
    for ours_row, theirs_row in zip(form.request_rates_rps, theirs.request_rates_rps, strict=True):
        for ours, their in zip(ours_row, theirs_row, strict=True):
            assert their is None or (ours is not None and ours >= their * 0.999)
            equal += ours == their
    assert equal >= 20
