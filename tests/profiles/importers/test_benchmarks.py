"""Results of serving benchmarks: each layout read right, and runs that are no measurement refused or marked."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from importing import DATA, Import, import_profile

from sky_melange.domain.profile import MatrixForm, PointsForm, ProfileKind
from sky_melange.errors import InputError
from sky_melange.profiles.importers.reading import Mistakes, compact
from sky_melange.profiles.importers.runs import LEAST_ROUNDS, MAX_FAILED_FRACTION, Run, points_form

FIELD = DATA / "field"
SERVER_ROW = "v9.0-0001/llama2-70b-99/Server"


def rows(found: Import) -> dict[tuple[int, int, int], tuple[float, float]]:
    """(TTFT, TPOT) by (input, output, concurrency)."""
    assert found.exit_code == 0, found.stderr
    form = found.profile.form
    assert isinstance(form, PointsForm)
    return {(*shape, n): (ttft_s, tpot_s) for shape, curve in form.latencies.items() for n, ttft_s, tpot_s in curve}


def rate_rps(size: tuple[int, int, int], latencies: tuple[float, float]) -> float:
    return size[2] / (latencies[0] + latencies[1] * (size[1] - 1))


def law_s(concurrency: float, input_tokens: int) -> tuple[float, float]:
    """TTFT and TPOT of the law behind the data of these tests."""
    return (20 + 2 * concurrency + 0.01 * input_tokens) / 1000, (6 + 1.2 * concurrency) / 1000


def close_to_law(found: Import, *sizes: tuple[int, int, int], within: float) -> None:
    read = rows(found)
    assert sorted(read) == sorted(sizes)
    for size in sizes:
        ttft_s, tpot_s = law_s(size[2], size[0])
        assert read[size] == (pytest.approx(ttft_s, rel=within), pytest.approx(tpot_s, rel=within))


def edited(path: Path, source: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a JSON file with a change."""
    content = json.loads(source.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


# What came in from the field.


def test_sglang_lines_need_no_model_where_the_option_says_it(tmp_path: Path) -> None:
    for file_format in ("sglang-bench", "vllm-bench"):
        found = import_profile(tmp_path / file_format, file_format, FIELD / "sglang.jsonl", engine=None)
        (size, latencies), *more = rows(found).items()
        assert (size, more) == ((1024, 512, 64), [])
        assert rate_rps(size, latencies) == pytest.approx(6.095), "the 320 requests in 52.5 s that it served"
        assert latencies[1] == pytest.approx(0.01965, rel=0.01), "TPOT, not the median inter-token latency"
        assert found.profile.key.engine == "sglang"
        assert found.profile.provenance.source == "SGLang bench_serving"
    nothing: dict[str, str | None] = {"model": None, "date": None, "engine": None}
    found = import_profile(tmp_path / "none", "sglang-bench", FIELD / "sglang.jsonl", **nothing)
    assert found.exit_code == 2
    assert "--model: is needed" in found.stderr
    assert "--date: is needed" in found.stderr


def test_a_run_of_failures_is_no_measurement(tmp_path: Path) -> None:
    found = import_profile(tmp_path / "p.json", "vllm-bench", FIELD / "vllm_failed.json")
    assert found.exit_code == 2
    assert "248 of 256 requests failed (97%), more than 20%: not a measurement" in found.stderr
    assert not found.out.exists()


def test_a_failed_run_among_good_ones_is_left_out_by_name(tmp_path: Path) -> None:
    files = (FIELD / "vllm_failed.json", FIELD / "vllm_rate.json")
    found = import_profile(tmp_path / "p.json", "vllm-bench", *files)
    assert list(rows(found)) == [(1024, 256, 44)]
    assert "1 of 2 runs are left out" in found.stderr
    assert "vllm_failed.json: 248 of 256" in found.stderr
    assert any("left out" in note for note in found.profile.provenance.notes)


def test_a_held_rate_becomes_the_concurrency_that_it_had(tmp_path: Path) -> None:
    ((size, latencies),) = rows(import_profile(tmp_path / "p.json", "vllm-bench", FIELD / "vllm_rate.json")).items()
    assert size == (1024, 256, math.floor(9.29 * (0.0952 + 0.0183 * 255)))
    assert rate_rps(size, latencies) <= 9.29


def test_speculative_decoding_is_read_by_its_mean(tmp_path: Path) -> None:
    """The median inter-token latency is 0.02 ms there: several tokens a chunk."""
    ((size, latencies),) = rows(import_profile(tmp_path / "p.json", "vllm-bench", FIELD / "vllm_specdec.json")).items()
    assert size == (128, 1024, 64)
    assert latencies == (17.65, 0.00621)


# Each layout.


def test_aiperf(tmp_path: Path) -> None:
    files = sorted((DATA / "aiperf").glob("64-*-at-once.json"))
    found = import_profile(tmp_path / "p.json", "aiperf", *files, model=None, date=None)
    close_to_law(found, (65, 16, 1), (65, 16, 4), within=0.25)
    assert (found.profile.key.model, found.profile.provenance.fetched_at) == ("stub-model", "2026-11-28")
    poisson = import_profile(tmp_path / "q.json", "aiperf", DATA / "aiperf" / "64-in-16-out-poisson.json")
    assert list(rows(poisson)) == [(65, 16, 1)], "8.7 requests/s × 0.16 s are 1.3 in flight"
    failed = import_profile(tmp_path / "r.json", "aiperf", DATA / "aiperf" / "half-failed.json")
    assert failed.exit_code == 2
    assert "20 of 40 requests failed (50%)" in failed.stderr


def test_aiperf_of_before_phases(tmp_path: Path) -> None:
    def older(content: Any) -> None:
        content["schema_version"] = "1.0"
        content["input_config"] = {"loadgen": {"concurrency": 4}, "endpoint": {"model_names": ["older"]}}

    path = edited(tmp_path / "in", DATA / "aiperf" / "64-in-16-out-4-at-once.json", older)
    found = import_profile(tmp_path / "p.json", "aiperf", path, model=None)
    assert list(rows(found)) == [(65, 16, 4)]
    assert found.profile.key.model == "older"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema_version": "2.0"}, "schema_version: want 1.x, found '2.0', of AIPerf '0.13.0': another layout"),
        ({"schema_version": None}, "schema_version: want 1.x, found None"),
        ({"aiperf_version": None}, "aiperf_version: is missing; GenAI-Perf's files are `genai-perf`"),
        ({"request_throughput": None}, "want the summary of one run of AIPerf"),
        ({"time_to_first_token": None}, "time_to_first_token: is missing; were the answers streamed"),
        ({"inter_token_latency": {"unit": "h", "avg": 1}}, "inter_token_latency.unit: want one of ns, us, ms, s, sec"),
        ({"inter_token_latency": {"unit": "ms", "avg": "1"}}, "inter_token_latency.avg: want a number, found '1'"),
        ({"request_count": {"unit": "requests", "avg": 5}}, "5 requests at concurrency 4 are mostly ramp-up and tail"),
        ({"was_cancelled": True}, "AIPerf stopped before the end (was_cancelled)"),
        ({"is_complete": False}, "AIPerf stopped before the end (is_complete)"),
    ],
)
def test_aiperf_of_another_kind_is_refused(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    source = DATA / "aiperf" / "64-in-16-out-4-at-once.json"
    found = import_profile(tmp_path / "p.json", "aiperf", edited(tmp_path / "in", source, lambda c: c.update(change)))
    assert found.exit_code == 2
    assert says in found.stderr
    assert not found.out.exists()


def test_aiperf_latencies_are_of_their_unit(tmp_path: Path) -> None:
    def in_ns(content: Any) -> None:
        for name in ("time_to_first_token", "inter_token_latency"):
            numbers = {key: value * 1e6 for key, value in content[name].items() if key != "unit"}
            content[name] = {"unit": "ns"} | numbers

    source = DATA / "aiperf" / "64-in-16-out-4-at-once.json"
    inside = rows(import_profile(tmp_path / "a", "aiperf", edited(tmp_path / "in", source, in_ns)))
    for size, latencies in rows(import_profile(tmp_path / "b", "aiperf", source)).items():
        assert inside[size] == pytest.approx(latencies)


def test_genai_perf(tmp_path: Path) -> None:
    files = sorted((DATA / "genai-perf").glob("*.json"))
    found = import_profile(tmp_path / "p.json", "genai-perf", *files, model=None)
    close_to_law(found, (65, 16, 1), (65, 16, 4), (65, 16, 8), within=0.02)
    wrong = import_profile(tmp_path / "q.json", "genai-perf", DATA / "aiperf" / "half-failed.json")
    assert "is AIPerf's: import it as `aiperf`" in wrong.stderr


def test_llmperf_counts_the_first_token_in_its_inter_token_latency(tmp_path: Path) -> None:
    files = sorted((DATA / "llmperf").glob("*.json"))
    found = import_profile(tmp_path / "p.json", "llmperf", *files, model=None, date=None)
    close_to_law(found, (550, 150, 1), (550, 150, 16), within=0.04)
    assert found.profile.provenance.fetched_at == "2026-11-28"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": "2027-01-01"}, "version: want '2023-08-31', found '2027-01-01': another layout"),
        ({"results_number_errors": 41}, "41 of 201 requests failed (20%)"),
        ({"results_ttft_s_mean": 100.0}, "leaves no time per output token: were answers streamed?"),
        ({"num_concurrent_requests": None}, "num_concurrent_requests: is missing"),
    ],
)
def test_llmperf_refuses(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    source = DATA / "llmperf" / "stub-model_550_150_16_summary.json"
    found = import_profile(tmp_path / "p.json", "llmperf", edited(tmp_path / "in", source, lambda c: c.update(change)))
    assert found.exit_code == 2
    assert says in found.stderr


def inferencex(out: Path, *paths: Path, **options: str | None) -> Import:
    given: dict[str, str | None] = {"model": None, "engine": None, "engine_version": None, **options}
    return import_profile(out, "inferencex", *(paths or (DATA / "inferencex" / "rows.json",)), **given)


def test_inferencex_rows_are_chosen_by_the_options(tmp_path: Path) -> None:
    several = inferencex(tmp_path / "p.json")
    assert several.exit_code == 2
    assert "--entry: is needed: the rows are of several hw: b200-a, h200-a" in several.stderr
    assert "--tensor-parallel: is needed: the rows are of several tp: 4, 8" in several.stderr
    found = inferencex(tmp_path / "q.json", entry="h200-a", tensor_parallel="8")
    read = rows(found)
    assert sorted(read) == [(i, 1024, n) for i in (1024, 8192) for n in (4, 64)]
    ttft_s, tpot_s = law_s(8, 8192)
    assert read[8192, 1024, 64] == (pytest.approx(ttft_s, rel=0.03), pytest.approx(tpot_s, rel=0.03))
    profile = found.profile
    assert (profile.key.tensor_parallel, profile.key.dtype, profile.engine_version) == (8, "fp8", "0.31.0")
    assert profile.provenance.kind is ProfileKind.PUBLISHED
    absent = inferencex(tmp_path / "r.json", entry="a100")
    assert "--entry: no row has hw a100: b200-a, h200-a" in absent.stderr


@pytest.mark.parametrize(("accelerator", "warned"), [("H200", False), ("H200-SXM", False), ("H100", True)])
def test_a_file_of_another_gpu_is_marked(tmp_path: Path, accelerator: str, warned: bool) -> None:
    found = inferencex(tmp_path / "p.json", entry="h200-a", tensor_parallel="8", accelerator=accelerator)
    assert found.exit_code == 0
    assert ("the file is of 'h200-a', which does not look like --accelerator" in found.stderr) is warned
    assert any("h200-a" in note for note in found.profile.provenance.notes) is warned


def test_inferencex_layouts_that_no_replica_has_are_refused(tmp_path: Path) -> None:
    (row,) = json.loads((DATA / "inferencex" / "rows.json").read_text())[:1]
    path = tmp_path / "in"
    path.write_text(json.dumps(row | {"disagg": True}))
    assert "prefill and decoding ran on GPUs of their own" in inferencex(tmp_path / "p.json", path).stderr
    del row["isl"], row["osl"]
    path.write_text(json.dumps(row))
    assert "isl: is missing; say it with --input-edges TOKENS" in inferencex(tmp_path / "q.json", path).stderr
    found = inferencex(tmp_path / "r.json", path, input_edges="1024", output_edges="1024")
    assert list(rows(found)) == [(1024, 1024, 4)], "an option may say what the file does not"


def test_a_layout_of_the_file_is_not_overruled(tmp_path: Path) -> None:
    path = DATA / "sglang-bench" / "runs.jsonl"
    found = import_profile(tmp_path / "p.json", "sglang-bench", path, engine=None, tensor_parallel="1")
    assert found.exit_code == 2
    assert "--tensor-parallel: is 1, but the file says 2" in found.stderr
    silent = import_profile(tmp_path / "q.json", "sglang-bench", path, engine=None)
    assert silent.profile.key.tensor_parallel == 2


@pytest.mark.parametrize(
    ("server", "says"),
    [
        ({"dp_size": 2}, "2 copies (dp_size) of 1 stages (pp_size) served together"),
        ({"pp_size": 4}, "1 copies (dp_size) of 4 stages (pp_size) served together"),
        ({"dp_size": 2, "enable_dp_attention": True}, ""),
        ({"quantization": "fp8"}, ""),
    ],
)
def test_sglang_server_decides_what_a_replica_was(tmp_path: Path, server: dict[str, Any], says: str) -> None:
    def change(content: Any) -> None:
        content["server_info"] = {"tp_size": 4, **server}

    path = edited(tmp_path / "in", FIELD / "sglang.jsonl", change)
    found = import_profile(tmp_path / "p.json", "sglang-bench", path, engine=None)
    assert found.exit_code == (2 if says else 0), found.stderr
    assert says in found.stderr
    if not says:
        assert found.profile.key.tensor_parallel == 4
        assert found.profile.key.dtype == server.get("quantization", "bfloat16")


def test_sglang_details_say_which_requests_failed(tmp_path: Path) -> None:
    path = edited(
        tmp_path / "in", FIELD / "sglang.jsonl", lambda content: content.update(errors=[""] * 320 + ["x"] * 99)
    )
    found = import_profile(tmp_path / "p.json", "sglang-bench", path, engine=None)
    assert found.exit_code == 2
    assert "99 of 419 requests failed (24%)" in found.stderr


def test_a_table_may_count_its_failures(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    header = "input_tokens,output_tokens,concurrency,ttft_ms,tpot_ms,completed,failed\n"
    path.write_text(header + "10,20,1,5,5,100,0\n10,20,2,5,5,50,50\n10,20,4,5,5,9,0\n10,20,8,5,5,,\n")
    found = import_profile(tmp_path / "p.json", "table", path)
    assert sorted(rows(found)) == [(10, 20, 1), (10, 20, 8)]
    assert "50 of 100 requests failed" in found.stderr
    assert "9 requests at concurrency 4" in found.stderr
    path.write_text(header + "10,20,1,5,5,-1,0.5\n")
    assert import_profile(tmp_path / "q.json", "table", path).stderr.count("want a whole number of requests") == 2


def mlperf(out: Path, entry: str | None = SERVER_ROW, path: Path | None = None, **changes: str | None) -> Import:
    options: dict[str, str | None] = {
        "engine": None,
        "engine_version": None,
        "tensor_parallel": "2",
        "input_edges": "294",
        "ttft_ms": "2000",
        "tpot_ms": "200",
        **changes,
    }
    return import_profile(out, "mlperf", path or DATA / "mlperf" / "summary_results.json", entry=entry, **options)


def test_mlperf_is_a_matrix_of_one_size(tmp_path: Path) -> None:
    found = mlperf(tmp_path / "p.json")
    assert found.exit_code == 0, found.stderr
    form = found.profile.form
    assert isinstance(form, MatrixForm)
    assert (form.input_edges, form.output_edges) == ((294,), (292,))
    assert form.request_rates_rps == ((pytest.approx(21060 / 292.5 * 2 / 8),),)
    assert (found.profile.engine_version, found.profile.key.dtype) == ("0.31.0+cu13", "fp8")
    assert "99th percentile" in found.stderr


@pytest.mark.parametrize(
    ("entry", "changes", "says"),
    [
        (None, {}, "want ID/MODEL/SCENARIO of one row; 5 rows fit None"),
        ("v9.0-0002", {}, "2 rows fit 'v9.0-0002': v9.0-0002/llama2-70b-99/Server, v9.0-0002/resnet/Server"),
        ("v1", {}, "no row fit 'v1'"),
        ("v9.0-0001/Offline", {}, "Scenario: want Server or Interactive, found 'Offline', which holds no latency"),
        (SERVER_ROW, {"tensor_parallel": None}, "--tensor-parallel: is needed"),
        (SERVER_ROW, {"tensor_parallel": "3"}, "--tensor-parallel: want a divisor of 8"),
        (SERVER_ROW, {"input_edges": None}, "--input-edges: want one number"),
        (SERVER_ROW, {"output_edges": "1000"}, "--output-edges: want at most 292, the mean of the data set"),
        (SERVER_ROW, {"ttft_ms": None, "tpot_ms": None}, "--ntpot-ms: is needed"),
    ],
)
def test_mlperf_asks(tmp_path: Path, entry: str | None, changes: dict[str, str | None], says: str) -> None:
    found = mlperf(tmp_path / "p.json", entry, **changes)
    assert found.exit_code == 2
    assert says in found.stderr
    assert not found.out.exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"errors": 1}, "the submission has errors"),
        ({"compliance": 0}, "failed its compliance tests"),
        ({"Nodes": 4}, "Nodes: want 1, found 4"),
        ({"Accuracy": "ROUGE1: 44"}, "does not say TOKENS_PER_SAMPLE"),
        ({"Performance_Units": "Samples/s"}, "want Tokens/s or Queries/s"),
    ],
)
def test_mlperf_rows_that_are_no_rate(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    source = DATA / "mlperf" / "summary_results.json"
    path = edited(tmp_path / "in", source, lambda content: content[1].update(change))
    assert says in mlperf(tmp_path / "p.json", path=path, output_edges="100").stderr


def test_guidellm_of_another_version_says_so(tmp_path: Path) -> None:
    source = DATA / "guidellm" / "report-64-in-16-out.json"
    path = edited(tmp_path / "in", source, lambda content: content["metadata"].update(version=3))
    found = import_profile(tmp_path / "p.json", "guidellm", path)
    assert "metadata.version: want one of (1, 2), found 3, of GuideLLM '0.8.1': another layout" in found.stderr


def test_guidellm_ramp_up_within_the_figures_is_marked(tmp_path: Path) -> None:
    def ramped(content: Any) -> None:
        content["benchmarks"][1]["config"]["strategy"]["rampup_duration"] = 5.0

    path = edited(tmp_path / "in", DATA / "guidellm" / "report-64-in-16-out.json", ramped)
    found = import_profile(tmp_path / "p.json", "guidellm", path)
    assert found.exit_code == 0
    assert "still warming up within the figures" in found.stderr
    assert any("still warming up" in note for note in found.profile.provenance.notes)


@pytest.mark.parametrize(
    ("change", "exit_code", "says"),
    [
        (
            {"completed": 100, "num_prompts": 100, "duration": 10.76, "total_output_tokens": 25600},
            2,
            "100 requests at concurrency 44.24 are mostly ramp-up and tail; run at least 132 (3 × concurrency)",
        ),
        (
            {"request_rate": "inf", "max_concurrent_requests": 512},
            2,
            "512 requests at concurrency 512 are mostly ramp-up and tail",
        ),
        ({"request_rate": "inf"}, 0, "Wrote"),  # a replayed trace: never more than 71 in flight
        ({"ramp_up_strategy": "linear"}, 2, "its request rate rose all the time"),
        ({"failed": None, "num_prompts": 1024}, 2, "512 of 1024 requests failed (50%)"),
        ({"failed": 20}, 0, "20 requests failed in these runs"),
        ({"median_ttft_ms": 20.0}, 0, "may have been still warming up (or queueing): the mean TTFT is up to 4.8 times"),
        ({"request_throughput": 9.9}, 2, "served 9.9 requests/s, but 512 requests in 55.1 s are 9.292"),
    ],
)
def test_vllm_run_is_judged(tmp_path: Path, change: dict[str, Any], exit_code: int, says: str) -> None:
    path = edited(tmp_path / "in", FIELD / "vllm_rate.json", lambda content: content.update(change))
    found = import_profile(tmp_path / "p.json", "vllm-bench", path)
    assert found.exit_code == exit_code, found.stderr
    assert says in found.stderr


def test_secrets_of_a_server_stay_out_of_the_profile(tmp_path: Path) -> None:
    sglang = import_profile(tmp_path / "a", "sglang-bench", DATA / "sglang-bench" / "runs.jsonl", engine=None)
    files = sorted((DATA / "genai-perf").glob("*.json"))
    genai_perf = import_profile(tmp_path / "b", "genai-perf", *files)
    path = edited(tmp_path / "in", FIELD / "vllm_rate.json", lambda content: content.update(hf_token="hush"))
    vllm = import_profile(tmp_path / "c", "vllm-bench", path)
    for found in (sglang, genai_perf, vllm):
        assert found.exit_code == 0, found.stderr
        assert "hush" not in found.out.read_text()


@given(
    name=st.sampled_from(["api_key", "HF_TOKEN", "headers", "Authorization", "password", "cli_command", "extra_env"]),
    where=st.integers(0, 3),
)
def test_secrets_are_left_out_at_any_depth(name: str, where: int) -> None:
    value: Any = {name: "hush", "total_tokens": 5, "num_key_heads": 8}
    for _ in range(where):
        value = {"inner": [value]}
    text = json.dumps(compact(value))
    assert "hush" not in text
    assert '"total_tokens": 5' in text
    assert '"num_key_heads": 8' in text


# The judgement itself, over any run.

RUNS = st.builds(
    lambda **fields: Run(source="in", **fields),
    input_tokens=st.floats(1, 1e5),
    output_tokens=st.floats(2, 1e4),
    concurrency=st.one_of(st.none(), st.integers(1, 4096)),
    ttft_s=st.floats(1e-3, 100),
    tpot_s=st.floats(1e-4, 1),
    request_rate_rps=st.floats(1e-4, 1e4),
    served=st.integers(1, 100_000),
    failed=st.integers(0, 100_000),
)


@given(run=RUNS)
def test_no_rate_exceeds_what_a_run_served(run: Run) -> None:
    try:
        form, _ = points_form([run], Mistakes())
    except InputError:
        return
    (((concurrency, ttft_s, tpot_s),),) = form.latencies.values()
    rate = concurrency / (ttft_s + tpot_s * (run.output_tokens - 1))
    assert rate <= (run.request_rate_rps or 0) * (1 + 1e-9)
    attempts = (run.served or 0) + (run.failed or 0)
    assert (run.failed or 0) <= MAX_FAILED_FRACTION * attempts
    if run.concurrency is not None:
        assert (run.served or 0) >= LEAST_ROUNDS * run.concurrency


@pytest.mark.parametrize("name", ["aiperf", "genai-perf", "llmperf", "inferencex", "mlperf", "sglang-bench"])
def test_half_written_huge_and_hostile_files(name: str, tmp_path: Path) -> None:
    source = min((DATA / name).iterdir())
    text = source.read_text()
    hostile = copy.copy(text).replace("stub-model", "stub\u202emodel").replace("org/model", "org/\u202emodel")
    for number, content in enumerate(
        (text[: len(text) // 2], "", "[]", "{}", "null", "[" * 100_000, '{"a":' * 50_000, "9" * 5000, hostile)
    ):
        if content == text:
            continue
        path = tmp_path / f"in-{number}"
        path.write_text(content)
        found = import_profile(tmp_path / "out.json", name, path, model=None, entry=None)
        assert found.exit_code == 2, (number, found.stderr)
        assert len(found.stderr) < 20_000
        assert not found.out.exists()
    missing = import_profile(tmp_path / "out.json", name, tmp_path / "none")
    assert missing.exit_code == 2
