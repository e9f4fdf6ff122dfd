"""Which rows of a log are the traffic, and in which unit its times are."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from property_examples import examples

from sky_melange.domain.trace import LogColumns, Rejection, TimeUnit, TraceOptions
from sky_melange.errors import InputError
from sky_melange.traces import read_requests, scan_files
from sky_melange.traces.where import parse_where, to_sql

LLAMA = "hosted_vllm/meta-llama/Llama-3.1-8B-Instruct"
ONE_MODEL = f"model = '{LLAMA}'"


@pytest.fixture
def mixed(extracts: Path) -> Path:
    return extracts / "gateways" / "litellm-mixed.csv"


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_log_of_several_models_asks_for_one_and_shows_them(mixed: Path) -> None:
    with pytest.raises(InputError) as caught:
        scan_files([str(mixed)], TraceOptions())
    text = str(caught.value)
    assert f"""--where "model = '{LLAMA}'\"""" in text
    kinds = Counter((row["model"], row["call_type"], row["cache_hit"] == "True", row["status"]) for row in _rows(mixed))
    for (model, call, is_cached, status), count in kinds.items():
        why = "embedding" if call == "aembedding" else "failed" if status == "failure" else "cache" if is_cached else ""
        lines = [line for line in text.splitlines() if model in line and why in line and line.strip()[0].isdigit()]
        assert any(line.split()[0] == str(count) for line in lines), (model, why, count)


def test_successful_uncached_requests_of_one_model_are_the_traffic(mixed: Path) -> None:
    """As the standard library counts them; embeddings and cache hits are no failures, and named."""
    found = scan_files([str(mixed)], TraceOptions(where=ONE_MODEL))
    rows = [row for row in _rows(mixed) if row["model"] == LLAMA]
    good = [row for row in rows if row["status"] == "success" and row["cache_hit"] != "True"]
    assert found.requests == len(good) > 100
    assert sum(cell.input_tokens for cell in found.cells) == sum(int(row["prompt_tokens"]) for row in good)
    assert {str(name): count for name, count in found.rejected.items()} == {
        "failed": sum(row["status"] == "failure" for row in rows),
        "from_cache": sum(row["status"] == "success" and row["cache_hit"] == "True" for row in rows),
    }
    whole = scan_files([str(mixed)], TraceOptions(where="TRUE"))
    embeddings = sum(row["call_type"] == "aembedding" for row in _rows(mixed))
    assert {str(name): count for name, count in whole.rejected.items()}["no_generation"] == embeddings > 100


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_every_format_gives_the_same_rows(mixed: Path, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / f"log.{kind}"
    rows = f"SELECT * REPLACE (cache_hit = 'True' AS cache_hit) FROM read_csv('{mixed}')"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({rows}) TO '{copy}' (FORMAT {'json' if kind == 'jsonl' else kind})")
    wanted = scan_files([str(mixed)], TraceOptions(where=ONE_MODEL))
    found = scan_files([str(copy)], TraceOptions(where=ONE_MODEL))
    assert (found.cells, found.rejected, found.rate) == (wanted.cells, wanted.rejected, wanted.rate)


def test_a_column_of_models_may_be_named(log: Callable[..., Path]) -> None:
    path = log("a.csv", "p,c,served by\n5,5,a\n6,6,b\n7,7,b\n")
    options = TraceOptions(columns=LogColumns(input="p", output="c"))
    assert scan_files([str(path)], options).requests == 3
    with pytest.raises(InputError, match=r"""--where "\\?"served by\\?" = 'b'"""):
        scan_files([str(path)], TraceOptions(columns=options.columns, model_column="served by"))
    chosen = TraceOptions(columns=options.columns, model_column="served by", where="\"served by\" = 'b'")
    assert scan_files([str(path)], chosen).requests == 2


WHERE = {
    "p > 5": {6, 7, 8},
    "p >= 6 AND NOT p = 7": {6, 8},
    "p < 6 OR p = 8": {5, 8},
    "m = 'it''s'": {7},
    "m <> 'a'": {6, 7, 8},
    "m != 'a'": {6, 7, 8},
    "NOT m = 'a'": {6, 7, 8},
    "NOT (m = 'a' OR m = 'b')": {6, 7},
    "NOT NOT m = 'a'": {5},
    "NOT m <> 'a'": {5},
    "x <> -2": {5, 6, 8},
    "NOT x > 0": {6, 7, 8},
    "ok <> TRUE": {6, 8},
    "m IN ('a', 'b')": {5, 8},
    "m not in ('a', 'b')": {6, 7},
    "m NOT LIKE 'it%'": {5, 6, 8},
    "m LIKE 'it%'": {7},
    "m IS NULL": {6},
    "m IS NOT NULL AND ok = TRUE": {5, 7},
    "ok = false": {6, 8},
    "(p = 5 OR p = 6) AND (ok = TRUE)": {5},
    "TRUE": {5, 6, 7, 8},
    "FALSE OR p = 5": {5},
    '"P" = 5': {5},
    "x = 1.5": {5},
    "x > -1": {5, 8},
}


@pytest.mark.parametrize("text", WHERE)
@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_what_an_expression_chooses(tmp_path: Path, text: str, kind: str) -> None:
    path = tmp_path / f"log.{kind}"
    rows = "(5, 1, 'a', true, 1.5), (6, 1, NULL, false, NULL), (7, 1, 'it''s', true, -2), (8, 1, 'b', false, 0)"
    duckdb.sql(f"COPY (SELECT * FROM (VALUES {rows}) AS v(p, c, m, ok, x)) TO '{path}' (FORMAT {kind})")
    options = TraceOptions(columns=LogColumns(input="p", output="c"), where=text, buckets="5,6,7,8x1")
    found = scan_files([str(path)], options)
    assert {found.grid.input_edges[cell.input_index] for cell in found.cells} == WHERE[text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p",
        "p =",
        "p = m",
        "p = 5; DROP TABLE log_0",
        "p = 5 -- x",
        "p = 5 UNION SELECT 1",
        "p IN (SELECT 1)",
        "p = (SELECT 1)",
        "read_csv('/etc/passwd') = 1",
        "length(m) > 3",
        "p = 5 OR EXISTS (SELECT * FROM read_text('/etc/passwd'))",
        "m LIKE 5",
        "p BETWEEN 1 AND 2",
        "p NOT = 5",
        "p = 'x",
        "(" * 1000 + "p = 5" + ")" * 1000,
        "NOT " * 1000 + "p = 5",
        "p = 5 " * 5000,
        "p = 1e999",
        "5 = p",
        "p = 5)",
        "p > '500'",
        "x <= ' -1.5'",
        "\0",
    ],
)
def test_what_is_no_expression_is_refused_before_anything_is_read(text: str) -> None:
    with pytest.raises(InputError) as caught:
        scan_files(["/nonexistent.csv"], TraceOptions(where=text))
    assert "--where: " in str(caught.value)
    assert "for example: model = " in str(caught.value)


def test_a_column_that_is_not_there_is_named(mixed: Path) -> None:
    with pytest.raises(InputError, match=r"litellm-mixed\.csv: has no column 'tenant' \(where\); it has"):
        scan_files([str(mixed)], TraceOptions(where="tenant = 'a'"))


@given(st.text(max_size=60))
def test_no_text_is_a_crash_or_sql_of_its_own(text: str) -> None:
    """What is parsed is written anew, and DuckDB can read it."""
    try:
        sql = to_sql(parse_where(text), lambda name: '"' + name.replace('"', '""') + '"')
    except InputError:
        return
    assert duckdb.extract_statements(f"SELECT 1 FROM t WHERE {sql}")[0].type == duckdb.StatementType.SELECT


def test_helicone_has_its_own_column_of_times(extracts: Path, log: Callable[..., Path]) -> None:
    """Its columns of tokens are LiteLLM's; without its times there would be no rate."""
    path = extracts / "gateways" / "helicone.csv"
    found = scan_files([str(path)], TraceOptions())
    assert (found.columns.layout, found.columns.time, found.requests) == ("Helicone", "request_created_at", 100)
    assert found.rate is not None
    copy = log("failing.csv", path.read_text().replace(",200,", ",503,", 7))
    assert {str(name): count for name, count in scan_files([str(copy)], TraceOptions()).rejected.items()} == {
        "failed": 7
    }


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_answers_from_helicones_cache_are_set_aside(tmp_path: Path, kind: str) -> None:
    """Those that refer to the request which was answered first; as Helicone's own filter for cached ones does."""
    none, one = "'00000000-0000-0000-0000-000000000000'", "'8c9b3a53-8d3e-4bb4-9d37-6c5e2e3bb1a0'"
    rows = f"(1, {none}), (2, {one}), (3, NULL), (4, ''), (5, {one})"
    path = tmp_path / f"log.{kind}"
    duckdb.sql(
        f"COPY (SELECT 'r' || k AS request_id, TIMESTAMPTZ '2026-05-01 09:00:00Z' AS request_created_at, 200 AS "
        "response_status, 'm' AS request_model, k AS prompt_tokens, 5 AS completion_tokens, 9 AS "
        f"prompt_cache_read_tokens, reference AS cache_reference_id FROM (VALUES {rows}) AS v(k, reference)) "
        f"TO '{path}' (FORMAT {kind.removesuffix('l')})"
    )
    found = scan_files([str(path)], TraceOptions(buckets="1,2,3,4,5x5"))
    assert {found.grid.input_edges[cell.input_index] for cell in found.cells} == {1, 3, 4}
    assert found.rejected == {Rejection.FROM_CACHE: 2}
    assert any("prompt_cache_read_tokens (input tokens that were cached" in note for note in found.notes)


def test_bailian_writes_seconds(extracts: Path) -> None:
    path = extracts / "gateways" / "bailian.jsonl"
    found = scan_files([str(path)], TraceOptions())
    times = [json.loads(line)["timestamp"] for line in path.read_text().splitlines()]
    assert found.rate is not None
    assert found.rate.mean_rps == pytest.approx(len(times) / (max(times) - min(times)), rel=0.01)
    assert found.time_reading == "Times are seconds: Qwen-Bailian writes them so."


HEADER = "timestamp,input_length,output_length"


@pytest.mark.slow
@given(
    unit=st.sampled_from([TimeUnit.S, TimeUnit.MS, TimeUnit.US, TimeUnit.NS]),
    rate=st.sampled_from([0.05, 2.27, 40.0, 900.0]),
    offset=st.sampled_from([0.0, 0.25, 7_000.0, 1_740_999_999.0]),
    fractions=st.booleans(),
    marked=st.booleans(),
)
@examples(50)
def test_no_reading_is_wrong_without_a_message(
    tmp_path_factory: pytest.TempPathFactory, unit: TimeUnit, rate: float, offset: float, fractions: bool, marked: bool
) -> None:
    """Units × rates × offsets × fractions × writers: the rate is right to 1 %, or it is said, or refused."""
    per_second = {TimeUnit.S: 1, TimeUnit.MS: 10**3, TimeUnit.US: 10**6, TimeUnit.NS: 10**9}[unit]
    times = [(offset + k / rate) * per_second for k in range(400)]
    written = [f"{time:.3f}" if fractions else str(round(time)) for time in times]
    path = tmp_path_factory.mktemp("units") / "log.csv"
    extra = ",[]" if marked else ""
    path.write_text(
        HEADER + (",hash_ids" if marked else "") + "\n" + "".join(f"{time},5,5{extra}\n" for time in written)
    )
    try:
        found = scan_files([str(path)], TraceOptions())
    except InputError:
        return
    assert found.rate is not None
    span_s = 400 / rate
    is_right = found.rate.mean_rps == pytest.approx(400 / max(60, span_s), rel=0.01 + 2 / span_s)
    assert is_right or found.time_reading is not None or any("--time-unit" in note for note in found.notes)


def test_seconds_in_milliseconds_clothing_are_refused_with_both_rates(log: Callable[..., Path]) -> None:
    """Whole seconds in Mooncake's columns: as milliseconds, 3,000 requests would be in 1.3 s."""
    rows = "".join(f"{k * 1323 // 3000},5,5,[]\n" for k in range(3000))
    path = log("a.csv", f"{HEADER},hash_ids\n{rows}")
    with pytest.raises(InputError) as caught:
        scan_files([str(path)], TraceOptions())
    text = str(caught.value)
    assert "though Mooncake writes milliseconds" in text
    assert "seconds: 2.27 requests/s over 1322 s" in text
    found = scan_files([str(path)], TraceOptions(time_unit=TimeUnit.S)).rate
    assert found is not None
    assert found.mean_rps == pytest.approx(2.27, rel=0.01)


@pytest.mark.slow
def test_a_million_models_are_counted_and_the_first_shown(tmp_path: Path) -> None:
    """Nothing but the most frequent comes out of the engine."""
    path = tmp_path / "log.parquet"
    rows = "5 AS prompt_tokens, 6 AS completion_tokens, 1777626000 + i // 100 AS startTime, "
    rows += "'m' || (i // 2 % 999983) AS model"
    status = "CASE WHEN i % 4 = 3 THEN 'failure' ELSE 'success' END AS status"
    duckdb.sql(f"COPY (SELECT {rows}, {status} FROM range(2000000) AS numbers(i)) TO '{path}'")
    with pytest.raises(InputError) as caught:
        scan_files([str(path)], TraceOptions())
    text = str(caught.value)
    assert "holds the requests of 999,983 models" in text
    assert len(text.splitlines()) == 22
    found = scan_files([str(path)], TraceOptions(where="TRUE"))
    assert (found.requests, found.rejected) == (1_500_000, {Rejection.FAILED: 500_000})


def test_an_expression_as_long_as_allowed_ends_soon(log: Callable[..., Path]) -> None:
    """It has no loops, no functions and no queries: its work is its length, times the rows."""
    path = log("a.csv", "p,c,m\n" + "5,5,aaaaaaaaaaaaaaaaaaaaaaaaaaaa\n" * 2000)
    text = " OR ".join([f"m LIKE '{'%a' * 40}%b'"] * 100)
    assert len(text) < 10_000
    found = scan_files([str(path)], TraceOptions(columns=LogColumns(input="p", output="c"), where=f"NOT ({text})"))
    assert found.requests == 2000


GENERATING = (
    "acompletion",
    "completion",
    "atext_completion",
    "aresponses",
    "anthropic_messages",
    "agenerate_content",
    "",
)
OTHER_CALLS = ("aretrieve_batch", "acreate_file", "_arealtime", "aimage_generation", "aimage_edit", "call_mcp_tool")
OTHER_CALLS += ("aspeech", "aocr", "avideo_generation", "avector_store_search", "asearch", "acreate_fine_tuning_job")


def test_calls_of_litellm_that_generate_no_text_are_set_aside(log: Callable[..., Path]) -> None:
    header = "request_id,call_type,startTime,model,prompt_tokens,completion_tokens,status,cache_hit\n"
    calls = [*GENERATING, *OTHER_CALLS]
    rows = [f"r{at},{call},2026-05-01T09:00:{at:02d}Z,m,5,5,success,False" for at, call in enumerate(calls)]
    found = scan_files([str(log("a.csv", header + "\n".join(rows)))], TraceOptions())
    assert (found.requests, found.rejected) == (len(GENERATING), {Rejection.NO_GENERATION: len(OTHER_CALLS)})


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("column", ["model_name", "deployment", "engine", "Model_ID"])
def test_columns_of_a_format_that_is_not_known_are_asked_about(
    log: Callable[..., Path], given: bool, column: str
) -> None:
    header = f"timestamp,input_tokens,output_tokens,{column},status_code\n"
    rows = [f"2026-05-01T09:00:{at:02d}Z,5,5,{'ab'[at % 2]},{500 if at % 3 else 200}" for at in range(60)]
    path = str(log("a.csv", header + "\n".join(rows)))
    columns = LogColumns(input="input_tokens", output="output_tokens", time="timestamp") if given else None
    with pytest.raises(InputError, match="holds the requests of 2 models"):
        scan_files([path], TraceOptions(columns=columns))
    found = scan_files([path], TraceOptions(columns=columns, where=f"{column} = 'a'"))
    assert found.requests == 30
    assert any("status_code (failed requests may be among those counted" in note for note in found.notes)
    chosen = TraceOptions(columns=columns, where=f"{column} = 'a' AND status_code = 200")
    assert not any("status_code" in note for note in scan_files([path], chosen).notes)


def test_thousands_may_have_commas(log: Callable[..., Path]) -> None:
    """Left out, they would be all the large requests."""
    sizes = ['"1,234"', "999", '"12,345"', '"1,23"', '"1.234"', '"1,234,567"']
    rows = "".join(f"2026-05-01T09:00:0{at}Z,{size},5\n" for at, size in enumerate(sizes))
    path = str(log("a.csv", "timestamp,input_tokens,output_tokens\n" + rows))
    found = scan_files([path], TraceOptions(buckets="10000000x10"))
    assert sum(cell.input_tokens for cell in found.cells) == 1234 + 999 + 12_345 + 1_234_567
    assert found.rejected == {Rejection.INPUT_NOT_A_NUMBER: 1, Rejection.INPUT_NOT_WHOLE: 1}
    assert sorted(read_requests([path], TraceOptions()).inputs.tolist()) == [999, 1234, 12_345, 1_234_567]


def test_dates_without_signs_are_no_milliseconds(log: Callable[..., Path]) -> None:
    rows = "".join(f"202605010900{at:02d},5,5\n" for at in range(60))
    path = str(log("a.csv", "timestamp,input_tokens,output_tokens\n" + rows))
    with pytest.raises(InputError, match=r"such as 20260501090000, look like dates \(YYYYMMDDhhmmss\)"):
        scan_files([path], TraceOptions())
