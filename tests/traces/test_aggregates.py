"""Counts that someone else made: vLLM's histograms in Prometheus, and OpenAI's usage."""

from __future__ import annotations

import json
import random
import threading
import urllib.request
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sky_melange.cli import cli
from sky_melange.domain.trace import TraceOptions, TraceSummary
from sky_melange.errors import InputError
from sky_melange.traces import read_requests, scan_files
from sky_melange.traces.where import matches, parse_where
from sky_melange.workload_file import read_workload

EDGES = [size for power in range(5) for size in (10**power, 2 * 10**power, 5 * 10**power)]
"""Those of vLLM: 1, 2, 5, 10 … for a model of 50,000 tokens and more."""

START = 1_777_626_000


def _histogram(
    kind: str, sizes: Sequence[int], model: str, engine: int = 0
) -> Iterator[tuple[str, dict[str, str], float]]:
    labels = {"engine": str(engine), "model_name": model}
    name = f"vllm:request_{kind}_tokens"
    for edge in EDGES:
        yield f"{name}_bucket", labels | {"le": f"{float(edge)}"}, sum(size <= edge for size in sizes)
    yield f"{name}_bucket", labels | {"le": "+Inf"}, len(sizes)
    yield f"{name}_count", labels, len(sizes)
    yield f"{name}_sum", labels, sum(sizes)


def _exposed(requests: Sequence[tuple[int, int]], model: str = "llama", engine: int = 0) -> str:
    lines = [
        "# HELP python_info Python platform information",
        "# TYPE python_info gauge",
        'python_info{version="3"} 1.0',
    ]
    lines += ["# HELP vllm:request_prompt_tokens Number of prefill tokens processed."]
    for kind, sizes in zip(("prompt", "generation"), zip(*requests, strict=True), strict=True):
        for name, labels, value in _histogram(kind, sizes, model, engine):
            said = ",".join(f'{key}="{text}"' for key, text in labels.items())
            lines.append(f"{name}{{{said}}} {float(value)}")
    return "\n".join(lines) + "\n"


@contextmanager
def _vllm(text: str) -> Iterator[str]:
    """A server that has /metrics as vLLM's has it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()
        thread.join()


def _requests(seed: int, count: int) -> list[tuple[int, int]]:
    draw = random.Random(seed)  # noqa: S311 - nothing is secret
    return [
        (min(40_000, int(draw.lognormvariate(6, 1)) + 1), min(9_000, int(draw.lognormvariate(5, 0.8)) + 1))
        for _ in range(count)
    ]


def _marginals(found: TraceSummary) -> tuple[dict[int, int], dict[int, int]]:
    inputs, outputs = found.grid.input_edges, found.grid.output_edges
    by_input = {edge: sum(row) for edge, row in zip(inputs, found.counts(), strict=True)}
    by_output = {edge: sum(column) for edge, column in zip(outputs, zip(*found.counts(), strict=True), strict=True)}
    return by_input, by_output


@pytest.mark.parametrize("count", [1, 7, 60, 20_000])
def test_a_snapshot_gives_the_distribution_back(tmp_path: Path, count: int) -> None:
    """Both sizes in each bucket of the histograms, to the request; the tokens of all, to a per mille."""
    requests = _requests(count, count)
    path = tmp_path / "vllm.prom"
    with _vllm(_exposed(requests)) as url, urllib.request.urlopen(url) as answer:  # noqa: S310 - our own
        path.write_bytes(answer.read())
    found = scan_files([str(path)], TraceOptions())
    assert (found.requests, found.rate) == (count, None)
    for axis, counts in enumerate(_marginals(found)):
        wanted = dict.fromkeys(counts, 0)
        for sizes in requests:
            wanted[EDGES[bisect_left(EDGES, sizes[axis])]] += 1
        if axis == 0:
            assert counts == wanted
        else:
            assert all(abs(counts[edge] - wanted[edge]) <= 1 for edge in wanted)
        tokens = sum((cell.input_tokens, cell.output_tokens)[axis] for cell in found.cells)
        assert tokens == pytest.approx(sum(sizes[axis] for sizes in requests), rel=0.001 if count > 1000 else 0.2)
    # Independent: every cell is the product of its marginals.
    by_input, by_output = _marginals(found)
    for cell in found.cells:
        product = (
            by_input[found.grid.input_edges[cell.input_index]] * by_output[found.grid.output_edges[cell.output_index]]
        )
        assert abs(cell.requests - product / count) < 2
    assert any("how they go together is not known, and taken as independent" in note for note in found.notes)


def _range(samples: Sequence[tuple[int, Sequence[tuple[int, int]]]]) -> str:
    """An answer to query_range: counters at times."""
    series: dict[str, Any] = {}
    for at, requests in samples:
        for kind, sizes in zip(("prompt", "generation"), zip(*requests, strict=True), strict=True):
            for name, labels, value in _histogram(kind, sizes, "llama"):
                metric = {"__name__": name, "instance": "a:8000"} | labels
                series.setdefault(json.dumps(metric), []).append([at, str(value)])
    result = [{"metric": json.loads(metric), "values": values} for metric, values in series.items()]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


def test_a_range_has_a_rate(tmp_path: Path) -> None:
    """2 requests/s, 5 in one of its 100 steps; the counters begin anew with the server in the middle."""
    draw = _requests(3, 13_000)
    samples: list[tuple[int, Sequence[tuple[int, int]]]] = [(START, draw[:100])]
    done = 100
    for step in range(1, 101):
        done = 120 if step == 50 else done + (300 if step == 20 else 120)
        samples.append((START + 60 * step, draw[:done]))
    path = tmp_path / "range.json"
    path.write_text(_range(samples))
    found = scan_files([str(path)], TraceOptions(rate_percentile=97))
    assert found.rate is not None
    assert (found.rate.planned_rps, found.rate.peak_rps) == (pytest.approx(2.0, rel=0.01), 5.0)
    assert found.rate.mean_rps == pytest.approx((99 * 120 + 300) / 6000, rel=0.001)
    assert found.requests == 99 * 120 + 300
    assert (found.rate.first_s, found.rate.last_s) == (START, START + 5999)
    assert any("known by steps of 60 s" in note for note in found.notes)
    assert (found.rate.burstiness, found.rate.dispersion) == ((), None)
    part = scan_files([str(path)], TraceOptions(since_s=START + 3600))
    assert part.rate is not None
    assert part.requests == 40 * 120


def _pods(pods: Sequence[tuple[int, int, dict[str, str]]], steps: int = 60) -> str:
    """(first step, requests before it, labels) of each: 120 requests a minute from its first step on."""
    draw = _requests(3, 120 * (steps + 1) + 5000)
    result: list[dict[str, Any]] = []
    for first, before, labels in pods:
        samples = [
            (START + 60 * step, draw[: before + 120 * (step - first + 1)]) for step in range(max(0, first), steps + 1)
        ]
        for series in json.loads(_range(samples))["data"]["result"]:
            series["metric"] |= labels
            result.append(series)
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}})


@pytest.mark.slow
@pytest.mark.parametrize("label", ["prometheus_replica", "__replica__", "prometheus", "receive_replica"])
def test_a_server_that_two_prometheus_watch_counts_once(tmp_path: Path, label: str) -> None:
    """Also where one of them missed the beginning, or counted other seconds."""
    path = tmp_path / "range.json"
    path.write_text(_pods([(0, 0, {"pod": "a", label: "x"}), (0, 7, {"pod": "a", label: "y"}), (0, 0, {"pod": "b"})]))
    found = scan_files([str(path)], TraceOptions())
    assert found.rate is not None
    assert found.requests == 2 * 60 * 120
    assert found.rate.mean_rps == pytest.approx(4.0)
    assert any("1 servers were seen by more than one Prometheus" in note for note in found.notes)


def test_servers_that_count_the_same_are_doubted(tmp_path: Path) -> None:
    path = tmp_path / "range.json"
    path.write_text(_pods([(0, 0, {"pod": "a", "view": "x"}), (0, 0, {"pod": "a", "view": "y"})]))
    notes = scan_files([str(path)], TraceOptions()).notes
    assert any("1 servers counted exactly what another did" in note for note in notes)


@pytest.mark.parametrize(("before", "counted"), [(0, 40 * 120), (4000, 39 * 120 + 120 * 0)])
def test_a_server_that_begins_within_the_range_has_all_its_requests(tmp_path: Path, before: int, counted: int) -> None:
    """From its first step at 21 to the end at 60: 40 steps of 120. One that was only found then has 39."""
    path = tmp_path / "range.json"
    path.write_text(_pods([(0, 0, {"pod": "a"}), (21, before, {"pod": "b"})]))
    found = scan_files([str(path)], TraceOptions())
    assert found.requests == 60 * 120 + counted
    assert found.rate is not None
    assert found.rate.peak_rps == 4.0


def test_histograms_become_a_workload(tmp_path: Path) -> None:
    path, workload = tmp_path / "vllm.prom", tmp_path / "workload.yaml"
    path.write_text(_exposed(_requests(5, 3000)))
    command = ["workload", "from-trace", str(path), "-o", str(workload)]
    without = CliRunner(mix_stderr=False).invoke(cli, command)
    assert without.exit_code == 2
    assert "has no times, so no rate; give the request rate" in without.stderr
    made = CliRunner(mix_stderr=False).invoke(cli, [*command, "--request-rate", "20"])
    assert made.exit_code == 0, made.stderr
    traffic = read_workload(workload).traffic
    assert traffic.request_rate_rps == pytest.approx(20)
    assert "more tokens than they had, at their means (mean, the default) with as many" in made.stderr


def test_servers_add_up_and_models_are_asked_about(tmp_path: Path) -> None:
    one, two = _requests(1, 500), _requests(2, 300)
    for name, text in (("a", _exposed(one)), ("b", _exposed(two, engine=1)), ("c", _exposed(two, model="other"))):
        (tmp_path / f"{name}.prom").write_text(text)
    paths = [str(tmp_path / f"{name}.prom") for name in "abc"]
    assert scan_files(paths[:2], TraceOptions()).requests == 800
    with pytest.raises(InputError, match=r"holds the requests of 2 models.*--where \"model_name = 'llama'\""):
        scan_files(paths, TraceOptions())
    assert scan_files(paths, TraceOptions(where="model_name = 'other'")).requests == 300
    assert scan_files(paths, TraceOptions(where="TRUE")).requests == 1100
    with pytest.raises(InputError, match="has no column 'team'"):
        scan_files(paths, TraceOptions(where="team = 'a'"))
    (tmp_path / "later.prom").write_text(_exposed(one + two))
    with pytest.raises(InputError, match="repeats a series of an earlier file, and neither has times"):
        scan_files([paths[0], str(tmp_path / "later.prom")], TraceOptions())


def test_requests_beyond_the_last_edge_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.prom"
    path.write_text(_exposed([(100, 10)] * 90 + [(80_000, 10)] * 10))
    found = scan_files([str(path)], TraceOptions())
    assert (found.requests, found.outside.requests, found.outside.input_tokens) == (
        100,
        10,
        pytest.approx(800_000, rel=0.1),
    )
    assert any("10 of 100 requests are larger than the last edges of the histograms" in note for note in found.notes)


BAD = {
    "cut": (
        _exposed([(5, 5)]).replace('le="+Inf"', 'le="60000.0"'),
        "has no whole histogram of vllm:request_prompt_tokens",
    ),
    "falls": (_exposed([(5, 5)] * 9).replace('"50000.0"} 9.0', '"50000.0"} 4.0'), "has no whole histogram"),
    "labels": (
        _exposed([(5, 5)]).replace('engine="0"', 'engine="0'),
        "a.prom:5: is no sample of Prometheus' text format",
    ),
    "words": (_exposed([(5, 5)]).replace("} 0.0", "} many", 1), "a.prom:5: has a sample that is not a number"),
    "negative": (_exposed([(5, 5)]).replace("} 0.0", "} -1", 1), "want counters, not their rates"),
    "nan": (_exposed([(5, 5)]).replace("} 0.0", "} NaN", 1), "want counters, not their rates"),
    "idle": (_exposed([(5, 5)]).replace("} 1.0", "} 0.0"), "its histograms hold no request"),
    "other": ("# HELP x y\n# TYPE x counter\nx 1\n", "holds no vllm:request_prompt_tokens_bucket or"),
    "failed": ('{"status":"error","resultType": ""}', "is no answer of Prometheus' API"),
    "shape": (
        '{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}',
        "is no answer of Prometheus' API",
    ),
    "le": (_range([(START, [(5, 5)])]).replace('"le"', '"lo"'), "not a number or has no bucket"),
    "usage": ('{"data": [{"object": "bucket", "start_time": 5}]}', "is no page of usage: it lacks the key 'end_time'"),
    "period": (
        '{"data": [{"object": "bucket", "start_time": 5, "end_time": 5, "results": []}]}',
        "is no page of usage: it holds a bucket from start_time to end_time that is no period",
    ),
    "half": ('{"data": [{"object": "bucket", ', "is no page of usage"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_aggregate_is_named(log: Callable[..., Path], name: str) -> None:
    text, wanted = BAD[name]
    with pytest.raises(InputError) as caught:
        scan_files([str(log("a.prom", text))], TraceOptions())
    assert wanted in str(caught.value)


def _usage(days: Sequence[Sequence[tuple[str, int, int, int]]]) -> str:
    buckets = [
        {
            "object": "bucket",
            "start_time": START + 86_400 * day,
            "end_time": START + 86_400 * (day + 1),
            "results": [
                {
                    "object": "organization.usage.completions.result",
                    "input_tokens": inputs,
                    "output_tokens": outputs,
                    "num_model_requests": count,
                    "model": model,
                }
                for model, count, inputs, outputs in results
            ],
        }
        for day, results in enumerate(days)
    ]
    return json.dumps({"object": "page", "data": buckets, "has_more": False}, indent=2)


def test_usage_by_days(log: Callable[..., Path]) -> None:
    """Mean sizes, and rates that are even over a day; both said."""
    days = [[("m", 8_640, 8_640 * 300, 8_640 * 80)], [("m", 17_280, 17_280 * 1500, 17_280 * 90)], [("m", 0, 0, 0)]]
    path = log("usage.json", _usage(days))
    found = scan_files([str(path)], TraceOptions(rate_percentile=100))
    assert (found.requests, found.columns.layout) == (25_920, "OpenAI usage (aggregates)")
    assert {found.grid.input_edges[cell.input_index]: cell.requests for cell in found.cells} == {
        500: 8_640,
        2000: 17_280,
    }
    assert found.rate is not None
    assert (found.rate.planned_rps, found.rate.mean_rps) == (pytest.approx(0.2, abs=0.02), pytest.approx(0.15))
    assert any(note.startswith("These are aggregates: each of 2 sums") for note in found.notes)
    assert (found.rate.burstiness, found.rate.dispersion) == ((), None), "what is spread evenly says nothing of bursts"
    first = scan_files([str(path)], TraceOptions(until_s=START + 86_400))
    assert first.requests == 8_640
    with pytest.raises(InputError, match=r"usage\.json: holds the requests of 2 models"):
        scan_files([str(log("usage.json", _usage([*days, [("n", 5, 50, 50)]])))], TraceOptions())


def _page(hours: range, **more: Any) -> dict[str, Any]:
    """A page of hours with 3600 requests each."""
    result = {"num_model_requests": 3600, "input_tokens": 3600 * 300, "output_tokens": 3600 * 80, "model": None}
    buckets = [
        {"start_time": START + 3600 * hour, "end_time": START + 3600 * (hour + 1), "results": [result | more]}
        for hour in hours
    ]
    return {"object": "page", "data": buckets, "has_more": False}


def test_usage_of_batches_is_no_traffic(log: Callable[..., Path]) -> None:
    pages = _page(range(24), batch=False)
    for bucket in pages["data"]:
        bucket["results"].append(bucket["results"][0] | {"batch": True, "num_model_requests": 36_000})
    path = str(log("usage.json", json.dumps(pages)))
    found = scan_files([path], TraceOptions())
    assert found.requests == 24 * 3600
    assert any("864,000 requests of batches are not counted" in note for note in found.notes)
    assert scan_files([path], TraceOptions(where="batch = TRUE")).requests == 24 * 36_000
    assert scan_files([path], TraceOptions(where="batch = TRUE OR batch <> TRUE")).requests == 24 * 39_600


@pytest.mark.parametrize("overlap", [0, 1, 12])
@pytest.mark.parametrize("one_file", [True, False])
def test_pages_of_usage_that_overlap_count_once(tmp_path: Path, overlap: int, one_file: bool) -> None:
    """Also where the last hour was not over when it was fetched first, and files in two folders have one name."""
    first, second = _page(range(12)), _page(range(12 - overlap, 24))
    if overlap:
        first["data"][-1]["results"][0]["num_model_requests"] = 1000
    texts = [json.dumps(page) for page in (first, second)]
    paths = [tmp_path / name / "usage.json" for name in ("a", "b")]
    for path, text in zip(paths, ["\n".join(texts)] if one_file else texts, strict=False):
        path.parent.mkdir()
        path.write_text(text)
    found = scan_files([str(path) for path in paths if path.exists()], TraceOptions())
    assert found.requests == 24 * 3600
    assert found.rate is not None
    assert found.rate.planned_rps == 1.0
    assert any("count once" in note for note in found.notes) == (overlap > 0)


def test_usage_that_is_not_whole_says_so(log: Callable[..., Path]) -> None:
    pages = [_page(range(6)) | {"has_more": True}, _page(range(6, 12)) | {"has_more": True}]
    notes = scan_files([str(log("usage.json", "".join(map(json.dumps, pages))))], TraceOptions()).notes
    assert sum("says has_more, and the next one is not among the files" in note for note in notes) == 1
    whole = "".join(map(json.dumps, [pages[0], _page(range(6, 12))]))
    notes = scan_files([str(log("usage.json", whole))], TraceOptions()).notes
    assert not any("has_more" in note for note in notes)


def test_usage_that_may_hold_sums_twice_is_refused(log: Callable[..., Path]) -> None:
    day = {"start_time": START, "end_time": START + 86_400, "results": _page(range(1))["data"][0]["results"]}
    for pages, says in (
        ([_page(range(24)), {"data": [day]}], "give those of one bucket_width"),
        ([_page(range(24)), _page(range(24), model="m")], "give pages of one group_by"),
    ):
        with pytest.raises(InputError, match=says):
            scan_files([str(log("usage.json", "".join(map(json.dumps, pages))))], TraceOptions())


def test_aggregates_have_no_requests_to_replay(log: Callable[..., Path]) -> None:
    path = log("vllm.prom", _exposed([(5, 5)]))
    with pytest.raises(InputError, match=r"vllm\.prom: holds no single requests"):
        read_requests([str(path)], TraceOptions())
    with pytest.raises(InputError, match=r"and .*b\.csv something else; read them apart"):
        scan_files([str(path), str(log("b.csv", "a,b\n1,2\n"))], TraceOptions())


VALUES = st.one_of(st.none(), st.text("ab%_'", max_size=3), st.integers(-3, 3), st.booleans())
TESTS = [
    "x = 'a'",
    "x <> 1",
    "x <> 'a'",
    "x < 'b'",
    "x >= 1.5",
    "x IN ('a', 'b', 2)",
    "x LIKE 'a%'",
    "x LIKE '_'",
    "x IS NULL",
    "x = TRUE",
]
CONDITIONS = st.recursive(
    st.sampled_from([*TESTS, "TRUE", "FALSE"]),
    lambda inner: st.one_of(
        inner.map(lambda one: f"NOT ({one})"),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(lambda parts: f"({' '.join(parts)})"),
    ),
    max_leaves=5,
)


@pytest.mark.slow
@given(value=VALUES, condition=CONDITIONS)
def test_where_chooses_here_as_it_does_in_duckdb(value: Any, condition: str) -> None:
    import duckdb

    from sky_melange.traces.where import to_sql

    parsed = parse_where(condition)
    text = None if value is None else value if isinstance(value, str) else json.dumps(value)
    chosen = f"({to_sql(parsed, lambda _: 'x')}) IS TRUE"
    with duckdb.connect() as connection:
        rows = connection.execute(f"SELECT {chosen} FROM (SELECT CAST(? AS VARCHAR) AS x)", [text]).fetchall()
    assert rows == [(matches(parsed, {"x": value}),)]


@pytest.mark.slow
@settings(max_examples=40)
@given(value=VALUES, condition=CONDITIONS)
def test_where_chooses_here_as_it_does_in_a_database(value: Any, condition: str) -> None:
    import ibis

    from sky_melange.traces.where import to_ibis

    parsed = parse_where(condition)
    text = None if value is None else value if isinstance(value, str) else json.dumps(value)
    table = ibis.memtable({"x": [text]}, schema={"x": "string"})
    connection = ibis.duckdb.connect()
    found = connection.to_pyarrow(table.filter(to_ibis(parsed, table, lambda _: "x")).count()).as_py()
    assert bool(found) is matches(parsed, {"x": value})
