"""The formats that gateways, engines and observability tools write: recognised by all of their columns."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sky_melange.domain.trace import LogColumns, Rejection, TraceOptions, TraceSummary
from sky_melange.errors import InputError
from sky_melange.traces import read_requests, scan_files
from sky_melange.traces.columns import find_columns
from sky_melange.traces.layouts import LAYOUTS

START_NS = 1_777_626_000 * 10**9
"""2026-05-01 09:00:00 UTC."""

SIZES = [(100 + 7 * k, 20 + k) for k in range(90)]
WHOLE = TraceOptions(buckets="1000x200")


def _tokens(found: TraceSummary) -> tuple[int, int, int]:
    (cell,) = found.cells
    return cell.requests, cell.input_tokens, cell.output_tokens


RIGHT = (90, sum(size for size, _ in SIZES), sum(size for _, size in SIZES))


def _span(name: str, number: int, attributes: dict[str, Any], **more: Any) -> dict[str, Any]:
    kinds = {int: "intValue", str: "stringValue", bool: "boolValue"}
    return {
        "traceId": f"{number:032x}",
        "spanId": f"{name}{number:012x}",
        "name": name,
        "startTimeUnixNano": str(START_NS + number * 10**9),
        "attributes": [
            {"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}}
            for key, value in attributes.items()
        ],
        **more,
    }


def _otlp(spans: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": spans}]}]}


def _genai(model: str = "llama") -> list[dict[str, Any]]:
    """A chat each second, inside a span of the agent that repeats its tokens, next to a call of a tool."""
    spans = []
    for number, (inputs, outputs) in enumerate(SIZES):
        usage = {"gen_ai.usage.input_tokens": inputs, "gen_ai.usage.output_tokens": outputs}
        chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": model}
        spans += [
            _span("agent", number, {"gen_ai.operation.name": "invoke_agent"} | usage),
            _span("tool", number, {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "it's"}),
            _span("chat", number, chat | usage, status={}),
        ]
    return spans


@pytest.mark.parametrize("shape", ["lines", "one", "pretty", "gzip"])
def test_open_telemetry_spans(log: Callable[..., Path], shape: str) -> None:
    """As the collector's file exporter writes them, and as one document."""
    spans = _genai()
    spans.append(
        _span("chat", 500, {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 5}, status={"code": 2})
    )
    if shape in ("lines", "gzip"):
        text = "".join(json.dumps(_otlp(spans[at : at + 10])) + "\n" for at in range(0, len(spans), 10))
    else:
        text = json.dumps(_otlp(spans), indent=2 if shape == "pretty" else None)
    path = log("spans.json", gzip.compress(text.encode()) if shape == "gzip" else text)
    found = scan_files([str(path)], WHOLE)
    assert (found.columns.layout, _tokens(found)) == ("OpenTelemetry GenAI spans", RIGHT)
    assert found.rejected == {Rejection.NOT_A_REQUEST: 180, Rejection.FAILED: 1}
    assert found.rate is not None
    assert (found.rate.first_s, found.rate.last_s) == (START_NS // 10**9, START_NS // 10**9 + 89)


@pytest.mark.slow
@pytest.mark.parametrize("between", [0, 1, 3])
@pytest.mark.parametrize("files", [1, 2])
def test_spans_within_spans_are_one_request(log: Callable[..., Path], between: int, files: int) -> None:
    """A client's chat over the library's, with other spans between; others of the same size are two."""
    outer, inner = [], []
    for number, (inputs, outputs) in enumerate(SIZES):
        usage = {"gen_ai.usage.input_tokens": inputs, "gen_ai.usage.output_tokens": outputs}
        chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "llama"} | usage
        root = _span("agent", number, {"gen_ai.operation.name": "invoke_agent"} | usage, parentSpanId="")
        chain = [root, _span("outer", number, chat)]
        chain += [_span(f"http{step}", number, {}) for step in range(between)]
        chain += [_span("inner", number, chat)]
        for above, below in itertools.pairwise(chain):
            below["parentSpanId"] = above["spanId"]
        outer += chain[:2]
        inner += chain[2:]
    documents = [_otlp(outer + inner)] if files == 1 else [_otlp(outer), _otlp(inner)]
    paths = [str(log(f"{at}.json", json.dumps(document))) for at, document in enumerate(documents)]
    found = scan_files(paths, WHOLE)
    assert _tokens(found) == RIGHT
    assert found.rejected == {Rejection.NOT_A_REQUEST: 90 * (1 + between), Rejection.REPEATED: 90}
    beside = [_span("one", 1, chat, parentSpanId="x"), _span("two", 1, chat, parentSpanId="x")]
    assert scan_files([str(log("b.json", json.dumps(_otlp(beside))))], WHOLE).requests == 2


def test_cached_tokens_of_spans_are_named(log: Callable[..., Path]) -> None:
    usage = {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 5, "gen_ai.usage.cache_read.input_tokens": 4}
    found = scan_files([str(log("spans.json", json.dumps(_otlp([_span("chat", 1, usage)]))))], WHOLE)
    assert any("gen_ai.usage.cache_read.input_tokens (input tokens that were cached" in note for note in found.notes)


def test_spans_of_several_models_ask_for_one(log: Callable[..., Path]) -> None:
    path = log(
        "spans.json",
        json.dumps(_otlp(_genai("a") + [span | {"spanId": f"b{at}"} for at, span in enumerate(_genai("b"))])),
    )
    with pytest.raises(InputError, match="holds the requests of 2 models"):
        scan_files([str(path)], WHOLE)
    chosen = TraceOptions(buckets="1000x200", where="gen_ai.request.model = 'b'")
    assert _tokens(scan_files([str(path)], chosen)) == RIGHT


def test_vllm_spans(log: Callable[..., Path]) -> None:
    spans = [
        _span("llm_request", at, {"gen_ai.usage.prompt_tokens": size, "gen_ai.usage.completion_tokens": out})
        for at, (size, out) in enumerate(SIZES)
    ]
    found = scan_files([str(log("spans.json", json.dumps(_otlp(spans))))], WHOLE)
    assert (found.columns.layout, _tokens(found)) == ("vLLM spans", RIGHT)


def _langfuse(at: int, inputs: int, outputs: int) -> dict[str, Any]:
    return {
        "id": f"o{at}",
        "type": "GENERATION",
        "startTime": f"2026-05-01T09:{at // 60:02d}:{at % 60:02d}.000Z",
        "model": "llama",
        "level": "DEFAULT",
        "usageDetails": {"input": inputs, "output": outputs, "total": inputs + outputs},
    }


def test_langfuse_in_every_shape(log: Callable[..., Path], tmp_path: Path) -> None:
    """Spans and events are no requests; generations with an error failed; pages of its API, its files, Parquet."""
    rows = [_langfuse(at, *sizes) for at, sizes in enumerate(SIZES)]
    rows += [{"id": "s", "type": "SPAN", "startTime": "2026-05-01T09:00:00Z", "level": "DEFAULT"}]
    rows += [_langfuse(7, 5, 5) | {"id": "e", "level": "ERROR"}]
    wanted = {Rejection.NOT_A_REQUEST: 1, Rejection.FAILED: 1}
    pages = "".join(json.dumps({"data": part, "meta": {"page": 1}}) for part in (rows[:50], rows[50:]))
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    log("pages.json", pages)
    log("array.json", json.dumps(rows, indent=1))
    log("lines.jsonl", lines)
    duckdb.sql(f"COPY (FROM read_json('{tmp_path}/lines.jsonl')) TO '{tmp_path}/log.parquet'")
    for name in ("pages.json", "array.json", "lines.jsonl", "log.parquet"):
        found = scan_files([str(tmp_path / name)], WHOLE)
        assert (name, found.columns.layout, _tokens(found), found.rejected) == (name, "Langfuse API", RIGHT, wanted)


DETAILS: list[dict[str, Any]] = [
    {"input": 60, "input_cached_tokens": 40, "output": 5, "output_reasoning_tokens": 15, "total": 120},
    {"input": 60, "cache_read_input_tokens": 30, "cache_creation_input_tokens": 10, "output": 20},
    {"input": 100, "input_cached_tokens": 40, "output": 20, "output_reasoning_tokens": 15, "total": 120},
    {"input_cached_tokens": 100, "output": 20, "total": 120, "a/b~c": "x", "output_audio": None},
    {"input": 100, "output": 20},
]
"""100 tokens in and 20 out each: without the details, as part of the plain ones by the total, or as all there is."""


@pytest.mark.slow
def test_langfuse_adds_up_the_details_of_usage(log: Callable[..., Path], tmp_path: Path) -> None:
    """Its ingestion takes cached and reasoning tokens out of the plain values."""
    rows = [_langfuse(at, 0, 0) | {"usageDetails": details} for at, details in enumerate(DETAILS)]
    exported = [
        {"usage_details": row.pop("usageDetails"), "start_time": row["startTime"], "provided_model_name": "x"}
        for row in (row.copy() for row in rows)
    ]
    for name, content in (("api", rows), ("export", exported)):
        log(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in content))
        log(f"{name}.json", json.dumps(content))
        duckdb.sql(f"COPY (FROM read_json('{tmp_path}/{name}.jsonl')) TO '{tmp_path}/{name}.parquet'")
    log("page.json", json.dumps({"data": rows, "meta": {}}))
    names = [f"{name}.{kind}" for name in ("api", "export") for kind in ("jsonl", "json", "parquet")]
    for name in (*names, "page.json"):
        found = scan_files([str(tmp_path / name)], WHOLE)
        assert (name, _tokens(found), found.rejected) == (name, (5, 500, 100), {})
        assert read_requests([str(tmp_path / name)], WHOLE).outputs.tolist() == [20] * 5


def test_what_is_no_number_among_details_is_named(log: Callable[..., Path]) -> None:
    rows = [_langfuse(at, 0, 0) | {"usageDetails": {"input": text, "output": 20}} for at, text in enumerate(["x", 5])]
    found = scan_files([str(log("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))], WHOLE)
    assert (found.requests, found.rejected) == (1, {Rejection.INPUT_NOT_A_NUMBER: 1})


@pytest.mark.parametrize(("name", "layout"), [("langfuse.csv", "Langfuse API"), ("langfuse.jsonl", "Langfuse")])
def test_langfuse_exports_have_their_sizes_in_an_object(extracts: Path, name: str, layout: str) -> None:
    found = scan_files([str(extracts / "gateways" / name)], TraceOptions())
    assert (found.columns.layout, found.requests, found.rejected) == (layout, 100, {})
    rows = [json.loads(line) for line in (extracts / "gateways" / "langfuse.jsonl").read_text().splitlines()]
    assert sum(cell.input_tokens for cell in found.cells) == sum(row["usage_details"]["input"] for row in rows)
    assert found.rate is not None
    assert found.rate.mean_rps * max(60, found.rate.last_s - found.rate.first_s + 1) == pytest.approx(100)
    requests = read_requests([str(extracts / "gateways" / name)], TraceOptions())
    assert requests.inputs.tolist() == [row["usage_details"]["input"] for row in rows]


def test_litellm_api_is_one_array(extracts: Path) -> None:
    path = extracts / "gateways" / "litellm-api.json"
    rows = json.loads(path.read_text())
    llama = "hosted_vllm/meta-llama/Llama-3.1-8B-Instruct"
    good = [row for row in rows if row["model"] == llama and row["status"] == "success" and row["cache_hit"] != "True"]
    found = scan_files([str(path)], TraceOptions(where=f"model = '{llama}'"))
    assert (found.columns.layout, found.requests) == ("LiteLLM spend log", len(good))
    assert sum(cell.output_tokens for cell in found.cells) == sum(int(row["completion_tokens"]) for row in good)


@pytest.mark.parametrize("name", ["apache", "iso_ms", "unix_float", "us"])
def test_times_as_exports_have_them(extracts: Path, name: str) -> None:
    """All four begin at 2026-05-01 09:00 UTC and have a request a second."""
    found = scan_files([str(extracts / "gateways" / f"times-{name}.csv")], TraceOptions())
    assert (found.requests, found.rejected) == (100, {})
    assert found.rate is not None
    assert 0 <= found.rate.first_s - START_NS // 10**9 < 5
    assert 0.9 < found.rate.mean_rps < 1.3


def test_columns_of_consequence_are_named(extracts: Path) -> None:
    notes = scan_files([str(extracts / "gateways" / "azure-lmm.csv")], TraceOptions()).notes
    assert any("NumImages (images, whose tokens" in note for note in notes)
    notes = scan_files([str(extracts / "gateways" / "bailian.jsonl")], TraceOptions()).notes
    assert any("hash_ids (prompts that begin alike" in note for note in notes)
    chosen = TraceOptions(where="NumImages = 0")
    assert not any(
        "NumImages" in note for note in scan_files([str(extracts / "gateways" / "azure-lmm.csv")], chosen).notes
    )


def test_sglang_writes_three_kinds_of_logs(log: Callable[..., Path]) -> None:
    seconds = [START_NS / 1e9 + at for at in range(len(SIZES))]
    stamps = [f"2026-05-01 09:{at // 60:02d}:{at % 60:02d}" for at in range(len(SIZES))]
    metrics = "".join(
        json.dumps(
            {
                "request_parameters": '{"rid": "x"}',
                "id": f"r{at}",
                "prompt_tokens": size,
                "completion_tokens": out,
                "request_received_ts": seconds[at],
            }
        )
        + "\n"
        for at, (size, out) in enumerate(SIZES)
    )
    events = "".join(
        json.dumps({"timestamp": stamps[at], "event": "request.received", "rid": f"r{at}", "obj": {}})
        + "\n"
        + json.dumps(
            {
                "timestamp": stamps[at],
                "event": "request.finished",
                "rid": f"r{at}",
                "out": {"meta_info": {"prompt_tokens": size, "completion_tokens": out}},
            }
        )
        + "\n"
        for at, (size, out) in enumerate(SIZES)
    )
    text = "[2026-05-01 09:00:00] server_args=ServerArgs(model_path='x', port=30000)\n" + "".join(
        f"[{stamps[at]} TP0] Receive: obj=GenerateReqInput(rid='r{at}', text='a, \"b\"')\n"
        f"[{stamps[at]} TP0] Finish: obj=GenerateReqInput(rid='r{at}', text='a, \"b\"'), "
        f"out={{'meta_info': {{'id': 'r{at}', 'prompt_tokens': {size}, 'completion_tokens': {out}}}}}\n"
        for at, (size, out) in enumerate(SIZES)
    )
    for name, content, layout, others in (
        ("metrics.log", metrics, "SGLang request metrics", {}),
        ("events.jsonl", events, "SGLang request log", {Rejection.NOT_A_REQUEST: 90}),
        ("server.log", text, "SGLang text log", {}),
    ):
        found = scan_files([str(log(name, content))], WHOLE)
        assert (found.columns.layout, _tokens(found), found.rejected) == (layout, RIGHT, others)
        assert found.rate is not None
        assert found.rate.first_s == START_NS // 10**9


LIES = [
    "why 'prompt_tokens': 9000, 'completion_tokens': 1900 ?",
    "), out={'text': 'x', 'meta_info': {'id': 'y', 'prompt_tokens': 9000, 'completion_tokens': 1900}}",
    ", rid='z', [2026-05-01 09:00:00] Finish: obj=GenerateReqInput(rid='z'), out={'meta_info': {'prompt_tokens': 9",
    "(rid='HEALTH_CHECK')",
    "both ' and \" Receive: obj=",
]


@pytest.mark.parametrize("where", ["text", "stop", "answer"])
@pytest.mark.parametrize("lie", LIES)
def test_no_prompt_speaks_for_sglang(log: Callable[..., Path], lie: str, where: str) -> None:
    """Its text log is a repr of the request, then of the answer; sizes are those that the server adds at the end."""
    lines = []
    for at, (inputs, outputs) in enumerate(SIZES):
        said = {key: lie if key == where else "fine" for key in ("text", "stop", "answer")}
        request = f"GenerateReqInput(rid='r{at}', text={said['text']!r}, sampling_params={{'stop': {said['stop']!r}}})"
        meta = {
            "id": f"r{at}",
            "finish_reason": {"type": "stop", "matched": said["stop"]},
            "prompt_tokens": inputs,
            "completion_tokens": outputs,
            "cached_tokens": 0,
        }
        stamp = f"[2026-05-01 09:{at // 60:02d}:{at % 60:02d}]"
        lines.append(f"{stamp} Receive: obj={request}")
        lines.append(f"{stamp} Finish: obj={request}, out={ {'text': said['answer'], 'meta_info': meta}!r}")
    found = scan_files([str(log("sglang.log", "\n".join(lines)))], WHOLE)
    assert (_tokens(found), found.rejected) == (RIGHT, {})


def test_requests_that_were_tried_again_count_once(log: Callable[..., Path]) -> None:
    """By their id, where the format has one: whichever attempt succeeded."""
    header = "request_id,request_created_at,response_status,request_model,prompt_tokens,completion_tokens\n"
    rows = ["a,2026-05-01T09:00:00Z,500,m,5,5", "a,2026-05-01T09:00:01Z,200,m,6,7", "a,2026-05-01T09:00:02Z,200,m,6,8"]
    rows += ["b,2026-05-01T09:00:03Z,200,m,9,9", ",2026-05-01T09:00:03Z,200,m,9,9", ",2026-05-01T09:00:03Z,200,m,9,9"]
    found = scan_files([str(log("a.csv", header + "\n".join(rows) + "\n"))], WHOLE)
    assert _tokens(found) == (4, 6 + 27, 7 + 27)
    assert found.rejected == {Rejection.FAILED: 1, Rejection.REPEATED: 1}


@pytest.mark.parametrize("overlap", [0, pytest.param(10, marks=pytest.mark.slow)])
def test_ids_are_the_same_in_files_of_every_shape(log: Callable[..., Path], tmp_path: Path, overlap: int) -> None:
    """Pages that overlap, exports of two tools: keys differ from file to file, and so do formats."""
    rows = [
        {
            "request_id": f"r{at}",
            "call_type": "acompletion",
            "startTime": f"2026-05-01T09:{at // 60:02d}:{at % 60:02d}Z",
            "model": "llama",
            "cache_hit": "False",
            "status": "success",
            "prompt_tokens": inputs,
            "completion_tokens": outputs,
        }
        for at, (inputs, outputs) in enumerate(SIZES)
    ]
    parts = [rows[max(0, at - overlap) : at + 30] for at in (0, 30, 60)]
    failed = [rows[40] | {"status": "failure", "completion_tokens": 0, "attempt": 1}]
    paths = [
        log("1.json", json.dumps({"data": [row | {"agent_id": "z"} for row in parts[0]]})),
        log("2.jsonl", "".join(json.dumps(row) + "\n" for row in [*failed, *parts[1]])),
        log("3.csv", "\n".join([",".join(rows[0]), *(",".join(map(str, row.values())) for row in parts[2])])),
    ]
    log("4.jsonl", "".join(json.dumps(row) + "\n" for row in parts[1][:overlap]) or json.dumps(rows[30]))
    duckdb.sql(f"COPY (FROM read_json('{tmp_path}/4.jsonl')) TO '{tmp_path}/4.parquet'")
    found = scan_files([*map(str, paths), str(tmp_path / "4.parquet")], WHOLE)
    assert _tokens(found) == RIGHT
    assert found.rejected == {Rejection.FAILED: 1, Rejection.REPEATED: 3 * overlap or 1}
    read = read_requests([*map(str, paths), str(tmp_path / "4.parquet")], WHOLE)
    assert int(read.inputs.sum()) == RIGHT[1]


def test_values_inside_objects_are_columns_by_their_path(log: Callable[..., Path]) -> None:
    """In --columns and --where, in JSON, in JSON within CSV, and with whatever names."""
    options = TraceOptions(
        columns=find_columns(TraceOptions(), ["ContextTokens", "GeneratedTokens"], source=""), buckets="10x10"
    )
    from dataclasses import replace

    nested = replace(
        options, columns=replace(options.columns, input="u.in.n", output="u.out", layout="x"), where="u.who = 'it''s'"
    )  # type: ignore[type-var]
    rows = [
        {"u": {"in": {"n": 3}, "out": 4, "who": "it's"}},
        {"u": {"in": {"n": 5}, "out": 4, "who": "b"}},
        {"u": None},
    ]
    path = log("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert _tokens(scan_files([str(path)], nested)) == (1, 3, 4)
    quoted = ["".join(('"', json.dumps(row["u"]).replace('"', '""'), '"')) for row in rows]
    path = log("a.csv", "id,u\n" + "".join(f"1,{text}\n" for text in [*quoted, '"{broken"', "{"]))
    assert _tokens(scan_files([str(path)], nested)) == (1, 3, 4)


def test_a_format_needs_all_of_its_columns(log: Callable[..., Path]) -> None:
    """Sizes as LiteLLM has them, and times that it has not: asked about, not dropped."""
    path = log("a.csv", "prompt_tokens,completion_tokens,asked_at\n5,5,2026-05-01\n")
    with pytest.raises(InputError) as caught:
        scan_files([str(path)], TraceOptions())
    assert "not its times, 'startTime'. Is it one of 'asked_at'? Say so: --columns input=prompt_tokens," in str(
        caught.value
    )
    path = log("b.csv", "prompt_tokens,completion_tokens\n5,5\n")
    assert scan_files([str(path)], TraceOptions()).rate is None


def test_no_layout_hides_another() -> None:
    """A log with exactly the columns of a layout is recognised as that."""
    for name, layout in LAYOUTS.items():
        have = dict.fromkeys([layout.input, layout.output, layout.time, *layout.marks])
        assert find_columns(TraceOptions(), list(have), source="x").layout == name


def test_an_array_may_be_one_line_of_any_length(log: Callable[..., Path]) -> None:
    """It is read as it comes; only an object of an API is held whole."""
    rows = [_langfuse(at % 3600, 5, 6) | {"id": str(at), "input": "x" * 9000} for at in range(2000)]
    text = json.dumps(rows)
    assert len(text) > 17 << 20
    found = scan_files([str(log("log.json", text))], TraceOptions())
    assert (found.requests, found.columns.layout) == (2000, "Langfuse API")


def test_a_row_with_lists_of_its_own_is_a_row(log: Callable[..., Path]) -> None:
    rows = [_langfuse(at, 5, 6) | {"results": [], "data": None} for at in range(9)]
    assert (
        scan_files([str(log("log.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))], TraceOptions()).requests
        == 9
    )


def test_names_of_openai_ask_for_the_unit(log: Callable[..., Path]) -> None:
    rows = "".join(f"5,6,{at * 7}\n" for at in range(200))
    with pytest.raises(InputError, match="the unit of 200 times is in doubt"):
        scan_files([str(log("a.csv", f"input_tokens,output_tokens,timestamp\n{rows}"))], TraceOptions())
    rows = "".join(f"{at},{at * 7}.5,5,6\n" for at in range(200))
    found = scan_files([str(log("b.csv", f"request_id,timestamp,input_tokens,output_tokens\n{rows}"))], TraceOptions())
    assert found.columns.layout == "ServeGen"
    assert found.rate is not None
    assert found.rate.mean_rps == pytest.approx(1 / 7, rel=0.01)


@pytest.mark.parametrize("key", ['e"f', "c'd", "a/b", "~1", "$.x", "a.b", "0", "*", "é", "a b", "\\\\"])
def test_keys_of_objects_are_taken_literally(log: Callable[..., Path], key: str) -> None:
    rows = [{"u": {key: 5, "x": 7}, "o": 6}, {"u": {key: 8}, "o": 6}]
    path = log("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    options = TraceOptions(columns=LogColumns(input=f"u.{key}", output="o"), buckets="10x10")
    assert _tokens(scan_files([str(path)], options)) == (2, 13, 12)
