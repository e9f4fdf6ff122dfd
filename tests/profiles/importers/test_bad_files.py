"""Malformed, hostile and half-written files: the line or field is named, and nothing is written."""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from importing import DATA, Import, import_profile

from sky_melange.errors import InputError
from sky_melange.extensions import IMPORTERS
from sky_melange.profiles.importers import ImportRequest

HEADER = "input_tokens,output_tokens,concurrency,ttft_ms,tpot_ms\n"
GOOD = {
    "vllm-bench": DATA / "vllm-bench" / "65-in-16-out-4-at-once.json",
    "guidellm": DATA / "guidellm" / "report-64-in-16-out.json",
    "melange": DATA / "melange" / "example-config.json",
    "aibrix-profile": DATA / "aibrix" / "simulator-llama2-7b-a40.json",
    "aiperf": DATA / "aiperf" / "64-in-16-out-4-at-once.json",
    "genai-perf": DATA / "genai-perf" / "65-in-16-out-8-at-once_genai_perf.json",
    "llmperf": DATA / "llmperf" / "stub-model_550_150_16_summary.json",
    "inferencex": DATA / "inferencex" / "rows.json",
    "mlperf": DATA / "mlperf" / "summary_results.json",
    "sglang-bench": DATA / "field" / "sglang.jsonl",
}
ENTRIES = {"mlperf": "v9.0-0001/llama2-70b-99/Server", "inferencex": "h200-a"}
EDGES = {"input_edges": "25,100", "output_edges": "25,100", "ntpot_ms": "50"}


def attempt(tmp_path: Path, file_format: str, content: str | bytes, **options: str | None) -> Import:
    path = tmp_path / "in"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    found = import_profile(tmp_path / "out.json", file_format, path, **options)
    assert found.exit_code == 2, found.stderr
    assert not found.out.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["in"], "nothing half-written"
    return found


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "in:1: the header lacks the column input_tokens"),
        (HEADER, "holds no run"),
        (HEADER.replace("ttft_ms", "ttft"), "wants one of the columns ttft_s and ttft_ms"),
        (HEADER.replace("concurrency", "ttft_s"), "wants one of the columns ttft_s and ttft_ms"),
        (HEADER.replace("concurrency", "ttft_ms"), "has the column 'ttft_ms' twice"),
        ("# ours\n\n" + HEADER + "1,2,3\n", "in:4: 3 columns, but the header has 5"),
        (HEADER + "10,20,1,5,5\n10,20,1,5,x\n", "in:3: tpot_ms: want a number above 0, found 'x'"),
        (HEADER + "10,20,1,nan,-5\n", "in:2: ttft_ms: want a number above 0"),
        (HEADER + "10,20,1,5,5\n10,20,1,6,6\n", "in:3: repeats 10 in × 20 out at concurrency 1, already in line 2"),
        (HEADER + "10,1,1,5,5\n", "in:2: output tokens is 1"),
        (HEADER + '10,20,1,"5,5\n', "in:2: is not valid CSV"),
        (HEADER + "1e300,20,1,5,5\n", "in:2: input tokens is 1e+300"),
        (HEADER + "10,20,1,5e12,5\n", "in:2: TTFT in seconds is 5e+09"),
        (HEADER.replace("concurrency", "request_rate_rps") + "10,20,,5,5\n", "in:2: want a concurrency or a request"),
        (
            HEADER.replace("concurrency", "concurrency,request_rate_rps") + "100,100,8,5.3,0.05,0.015\n",
            "in:2: served 5.3 requests/s, but concurrency 8",
        ),
        (b"\xff\xfe1\x002", "in:1: is not UTF-8"),
        (gzip.compress(HEADER.encode(), mtime=0)[:-9], "cannot be read"),
    ],
)
def test_table(tmp_path: Path, content: str | bytes, says: str) -> None:
    if "5.3" in str(content):
        # Right units give 8 ÷ (0.05 + 99·0.015) = 5.2; in ms the same figures would give 5,200.
        content = str(content).replace("5.3,0.05,0.015", "9.3,50,15")
        says = says.replace("5.3", "9.3")
    assert says in attempt(tmp_path, "table", content).stderr


def test_table_names_every_mistake_at_once(tmp_path: Path) -> None:
    rows = "".join(f"10,20,{n},x,y\n" for n in range(1, 5))
    found = attempt(tmp_path, "table", HEADER + rows)
    assert found.stderr.count("want a number above 0") == 8


def test_table_of_a_million_mistakes_stays_readable(tmp_path: Path) -> None:
    found = attempt(tmp_path, "table", HEADER + "x,x,x,x,x\n" * 50_000)
    assert len(found.stderr.splitlines()) <= 50


def changed(content: Any, path: tuple[str | int, ...], value: Any) -> str:
    """The file with one value replaced, or removed when `value` is ...."""
    content = copy.deepcopy(content)
    place = content
    for part in path[:-1]:
        place = place[part]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(content)


@pytest.mark.parametrize(
    ("file_format", "path", "value", "says"),
    [
        ("vllm-bench", ("mean_tpot_ms",), ..., "mean_tpot_ms: is missing"),
        ("vllm-bench", ("mean_tpot_ms",), 0, "mean_tpot_ms: want more than 0"),
        ("vllm-bench", ("mean_ttft_ms",), "fast", "mean_ttft_ms: want a number, found 'fast'"),
        ("vllm-bench", ("completed",), 0, "completed: want at least 1"),
        ("vllm-bench", ("completed",), 2.5, "completed: want a whole number"),
        ("vllm-bench", ("total_input_tokens",), True, "total_input_tokens: want a number"),
        ("vllm-bench", ("request_throughput",), float("nan"), "request_throughput: want a number"),
        ("vllm-bench", ("request_throughput",), 400.0, "served 400 requests/s"),
        ("vllm-bench", ("date",), "yesterday", "date: want YYYYMMDD-hhmmss"),
        ("vllm-bench", ("model_id",), ..., "model_id: is missing"),
        ("guidellm", ("benchmarks",), [], "benchmarks: want a list of runs"),
        ("guidellm", ("benchmarks", 1), 5, "benchmarks[1]: want an object"),
        ("guidellm", ("benchmarks", 0, "metrics"), ..., "benchmarks[0].metrics.prompt_token_count.successful.mean"),
        (
            "guidellm",
            ("benchmarks", 1, "metrics", "inter_token_latency_ms", "successful", "mean"),
            0.0,
            "benchmarks[1].metrics.inter_token_latency_ms.successful.mean: is 0.0: no TPOT",
        ),
        ("melange", ("gpu_info",), [], "gpu_info: want an object"),
        ("melange", ("gpu_info", "A10G"), ..., "the file has no GPU 'A10G'; it has: A100-80GB"),
        ("melange", ("gpu_info", "A10G", "tputs", 1, 0), "5", "gpu_info.A10G.tputs[1][0]: want a number or null"),
        ("melange", ("gpu_info", "A10G", "tputs", 1), [5], "rows of equal length"),
        ("melange", ("gpu_info", "A10G", "tputs"), [[1, 2]], "1 rows × 2 columns, but there are 2 input × 2 output"),
        ("melange", ("gpu_info", "A10G", "tputs", 0, 0), -1, "want requests/s from 0"),
        ("aibrix-profile", ("tputs", 0, 0), None, ""),
        ("aibrix-profile", ("indexes",), [[1, 2]], "indexes: want [[output tokens"),
        ("aibrix-profile", ("indexes", 0, 1), 4, "indexes[0]: want strictly rising"),
        ("aibrix-profile", ("gpu",), ..., "gpu: is missing"),
        ("aibrix-profile", ("slos",), {"tpat": 1.0}, "a target on latency ÷ all tokens has no equal here"),
        ("aibrix-profile", ("slos",), {"percentile": 42, "e2e": 5}, "slos.percentile: want one of"),
        ("aibrix-profile", ("slos",), {"percentile": 99}, "slos: states no target"),
        ("aibrix-profile", ("slos",), {"e2e": 5}, "--ntpot-ms: (or --tpot-ms, --ttft-ms) may not be given"),
    ],
)
def test_json_field(tmp_path: Path, file_format: str, path: tuple[str | int, ...], value: Any, says: str) -> None:
    content = changed(json.loads(GOOD[file_format].read_text()), path, value)
    options: dict[str, str | None] = {"accelerator": "A10G" if file_format == "melange" else "L4"}
    if file_format == "melange":
        options |= EDGES | {"entry": "A10G" if value is ... else None}
    if file_format == "aibrix-profile":
        options["ntpot_ms"] = "50"
    if file_format == "vllm-bench":
        options |= {"model": None, "date": None}
    if not says:
        (tmp_path / "in").write_text(content)
        assert import_profile(tmp_path / "out.json", file_format, tmp_path / "in", **options).exit_code == 0
        return
    assert says in attempt(tmp_path, file_format, content, **options).stderr


@pytest.mark.parametrize(
    ("file_format", "content", "says"),
    [
        ("guidellm", '{"benchmarks": [\n{"a": 1,}]}', "in:2: is not valid JSON"),
        ("melange", "", "in:1: is not valid JSON"),
        ("aibrix-profile", "[" * 100_000, "is not usable JSON"),
        ("aibrix-profile", "[1]", "want a JSON object"),
        ("vllm-bench", "", "is empty"),
        ("vllm-bench", '{"completed": 1}\nnonsense\n', "in:2: is not valid JSON: Expecting value (column 1)"),
        ("aibrix-benchmark", '{"input_tokens": 1}\n{"input', "in:2: is not valid JSON: Unterminated string"),
    ],
)
def test_json_syntax(tmp_path: Path, file_format: str, content: str, says: str) -> None:
    assert says in attempt(tmp_path, file_format, content).stderr


@pytest.mark.parametrize("file_format", GOOD)
def test_a_file_of_another_format_is_named(file_format: str, tmp_path: Path) -> None:
    other = "melange" if file_format != "melange" else "aibrix-profile"
    found = import_profile(tmp_path / "out.json", other, GOOD[file_format])
    assert found.exit_code == 2
    assert f"looks like a file of {file_format}, not of {other}: give {file_format} instead" in found.stderr
    right = import_profile(tmp_path / "out.json", file_format, GOOD[file_format], engine_version=None)
    assert "looks like" not in right.stderr


def line(**changes: Any) -> dict[str, Any]:
    run = {"input_tokens": 64, "output_tokens": 8, "request_rate": 2.0, "model": "m", "metric": "TPUT", "mean": 2.0}
    return run | changes


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([line(metric="P99")], "in:1: metric: want one of TPUT"),
        ([line(), line()], "in:2: metric: TPUT of this run stands in an earlier line too"),
        ([line()], "in:1: the run that starts here lacks E2E, TTFT, TPOT"),
        ([line(), line(mean=None)], "in:2: mean: is missing"),
        ([line(output_tokens=1)], "in:1: output_tokens: want at least 2"),
        ([line(request_rate=0)], "in:1: request_rate: want more than 0"),
    ],
)
def test_aibrix_lines(tmp_path: Path, lines: list[dict[str, Any]], says: str) -> None:
    assert says in attempt(tmp_path, "aibrix-benchmark", "".join(json.dumps(item) + "\n" for item in lines)).stderr


def test_streamed_aibrix_lines_become_points(tmp_path: Path) -> None:
    means = {"TPUT": 2.0, "TT": 16.0, "E2E": 0.8, "TTFT": 0.1, "TPOT": 0.1}
    path = tmp_path / "in"
    path.write_text("".join(json.dumps(line(metric=name, mean=mean)) + "\n" for name, mean in means.items()))
    found = import_profile(tmp_path / "out.json", "aibrix-benchmark", path, model=None)
    assert found.exit_code == 0, found.stderr
    assert found.profile.form.latencies == {(64, 8): ((1, 0.1, 0.1),)}  # type: ignore[union-attr]
    assert found.profile.provenance.kind == "measured"


def test_run_that_was_not_at_its_concurrency_is_entered_at_what_it_served(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("input_tokens,output_tokens,concurrency,request_rate_rps,ttft_s,tpot_s\n10,11,64,4.2,0.5,0.05\n")
    found = import_profile(tmp_path / "out.json", "table", path)
    assert found.profile.form.latencies == {(10, 11): ((4, 0.5, 0.05),)}  # type: ignore[union-attr]
    assert "1 of 1 runs served over 10 % less" in found.stderr


def test_gap_in_the_grid_is_said(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(HEADER + "10,20,1,5,5\n20,40,1,5,5\n")
    assert "missing 2: 10×40, 20×20" in import_profile(tmp_path / "out.json", "table", path).stderr


def test_what_nobody_says_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(HEADER + "10,20,1,5,5\n")
    nothing: dict[str, str | None] = dict.fromkeys(("model", "engine", "engine_version", "date"))
    found = import_profile(tmp_path / "out.json", "table", path, **nothing)
    assert found.exit_code == 2
    assert all(f"--{name}: is needed" in found.stderr for name in ("model", "engine", "engine-version", "date"))
    found = import_profile(tmp_path / "out.json", "table", path, date="2026-13-01")
    assert "want YYYY-MM-DD" in found.stderr


def test_several_models_need_a_name(tmp_path: Path) -> None:
    content = json.loads(GOOD["vllm-bench"].read_text())
    (tmp_path / "a").write_text(json.dumps(content))
    (tmp_path / "b").write_text(json.dumps(content | {"model_id": "other", "max_concurrency": 5}))
    found = import_profile(tmp_path / "out.json", "vllm-bench", tmp_path / "a", tmp_path / "b", model=None)
    assert "of several models: other, stub-model" in found.stderr


def test_existing_file_stays_without_force(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    out.write_text("mine")
    assert import_profile(out, "vllm-bench", GOOD["vllm-bench"]).exit_code == 2
    assert out.read_text() == "mine"
    assert import_profile(out, "vllm-bench", GOOD["vllm-bench"], "--force").exit_code == 0


def test_missing_and_odd_paths(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        found = import_profile(tmp_path / "out.json", "table", path)
        assert found.exit_code == 2, found.stderr
    with pytest.raises(InputError):
        IMPORTERS["table"](ImportRequest(paths=(tmp_path / "a\x00b",)))


@given(rows=st.text(alphabet='0123456789.,"\n e-#x', max_size=60))
def test_any_table_is_an_input_error_or_a_profile(rows: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "in"
    path.write_text(HEADER + "10,20,1,5,5\n" + rows)
    request = ImportRequest(
        paths=(path,), accelerator="L4", model="m", engine="e", engine_version="1", date="2026-01-01"
    )
    try:
        IMPORTERS["table"](request)
    except InputError as error:
        if not all(mistake.source == str(path) and mistake.line for mistake in error.mistakes):
            pytest.fail(f"a mistake without its line: {error}")


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("file_format", [name for name in sorted(IMPORTERS) if name != "table"])
@given(data=st.data())
def test_any_value_anywhere_is_an_input_error_or_a_profile(
    file_format: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Replaces one value of a good file by anything."""
    good = GOOD.get(file_format)
    content = json.loads(good.read_text()) if good else line()
    place, depth = content, data.draw(st.integers(1, 6))
    while depth:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(list(keys)))
        depth -= 1
        if not depth or not isinstance(place[key], dict | list) or not place[key]:
            place[key] = data.draw(_JSON)
            break
        place = place[key]
    path = tmp_path_factory.mktemp("fuzz") / "in"
    path.write_text(json.dumps(content))
    request = ImportRequest(
        paths=(path,),
        accelerator="A10G",
        model="org/model-FP8",
        engine="vllm",
        engine_version="1",
        date="2026-01-01",
        entry=ENTRIES.get(file_format),
        tensor_parallel=8 if file_format in ENTRIES else None,
        input_edges=(25,) if file_format in ENTRIES else (25, 100),
        output_edges=(25,) if file_format in ENTRIES else (25, 100),
    )
    with contextlib.suppress(InputError):
        IMPORTERS[file_format](request)
