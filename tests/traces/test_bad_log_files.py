"""Files that are no log, or only half of one: exit 2 with file and line, all of them at once."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from sky_melange.domain.trace import LogColumns, TraceOptions
from sky_melange.errors import InputError
from sky_melange.traces import scan_files

LogWriter = Callable[..., Path]
HEADER = "ContextTokens,GeneratedTokens,TIMESTAMP\n"
ROW = "5,5,2025-03-03 11:07:09\n"
MANY = HEADER + ROW * 50_000


def _mistake(*paths: Path | str, options: TraceOptions | None = None) -> str:
    with pytest.raises(InputError) as caught:
        scan_files([str(path) for path in paths], options or TraceOptions())
    assert caught.value.exit_code == 2
    assert "Traceback" not in str(caught.value)
    assert "LINE 1" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("empty.csv", b"", "empty.csv: is empty"),
        ("blank.csv", b"\n\n  \n", "blank.csv: is empty"),
        ("empty.csv.gz", gzip.compress(b"", mtime=0), "empty.csv.gz: is empty"),
        ("short.csv", HEADER + ROW + "5\n", "short.csv:3: cannot be read"),
        ("long.csv", HEADER + ROW * 9 + "5,5,2025-03-03 11:07:09,1\n", "long.csv:11: cannot be read"),
        ("quote.csv", HEADER + ROW + '5,5,"2025\n' + ROW, "quote.csv:3: cannot be read"),
        ("latin.csv", (HEADER + ROW).encode() + b"5,5,\xe4\n", "latin.csv:3: cannot be read"),
        ("head.csv", b"Context\xe4Tokens,x\n1,2\n", "head.csv:1: is not UTF-8 text"),
        ("zip.csv", b"PK\x03\x04\x00\x00,\x00", "zip.csv:1: is no text"),
        ("utf16.csv", HEADER.encode("utf-16"), "utf16.csv:1: is "),
        ("parquet", b"PAR1 and nothing else", "parquet: cannot be read: it is cut off, or no Parquet file: "),
        ("cut.parquet", b"PAR1" + b"\0" * 50 + b"\xff\xff\xff\x7fPAR1", "cut.parquet: cannot be read: it is cut off"),
        ("array.json", "[1, 2]", "array.json:1: is a JSON array of something else than objects"),
        ("none.json", "[ ]", "none.json:1: is a JSON array without objects"),
        ("nested.json", '[["a", 5]]', "nested.json:1: is a JSON array of something else than objects"),
        (
            "object.json",
            '{\n "prompt_tokens": 1\n}\n',
            "object.json:1: is one JSON object without rows; want them under",
        ),
        ("cut.json", '{\n "data": [{"a": 1},\n', "cut.json:1: is no JSON object"),
        ("twice.gz", gzip.compress(gzip.compress(b"a,b\n")), "twice.gz: is gzip within gzip; decompress it once"),
        (
            "vllm.log",
            "INFO 06-21 09:15:27 logger.py:37] Received request cmpl-4: prompt: 'hi', params: SamplingParams(n=1)\n",
            "vllm.log: is vLLM's own log, which does not say how many tokens were generated; take its /metrics",
        ),
        ("first.jsonl", '{"prompt_tokens": 1,\n', "first.jsonl:1: is no JSON object"),
        (
            "twice.csv",
            "ContextTokens,GeneratedTokens,ContextTokens\n1,2,3\n",
            "twice.csv:1: has the column 'ContextTokens' twice",
        ),
        ("other.csv", "a,b\n1,2\n", "other.csv: no known log format has these columns: 'a', 'b'"),
        ("words", "a log of nothing", "words: no known log format has these columns: 'a log of nothing'"),
    ],
)
def test_broken_files_are_named_with_their_line(log: LogWriter, name: str, content: str | bytes, wanted: str) -> None:
    assert wanted in _mistake(log(name, content))


def test_a_line_far_down_is_found(log: LogWriter) -> None:
    assert "deep.csv:50002: " in _mistake(log("deep.csv", MANY + "5\n"))


@pytest.mark.parametrize("bad", ['{"prompt_tokens": 1, "completion', "[1, 2]", '"text"', '{"prompt_tokens": 1}}'])
def test_a_bad_json_line_is_found(log: LogWriter, bad: str) -> None:
    line = '{"prompt_tokens": 5, "completion_tokens": 5}\n'
    content = line * 30_000 + "\n" + bad + "\n" + line * 1000
    assert "a.jsonl:30002: " in _mistake(log("a.jsonl", content))
    assert "b.jsonl.gz:30002: " in _mistake(log("b.jsonl.gz", gzip.compress(content.encode())))


def test_a_truncated_gzip_is_never_half_counted(log: LogWriter) -> None:
    whole = gzip.compress(MANY.encode() + os.urandom(20_000).hex().encode())
    for cut in (12, len(whole) // 2, len(whole) - 9, len(whole) - 4, len(whole) - 1):
        text = _mistake(log("cut.csv.gz", whole[:cut]))
        assert "cut.csv.gz:" in text
        assert "is cut off: the compressed data ends early" in text
    half = _mistake(log("cut.csv.gz", whole[: len(whole) - 30_000]))
    line = int(half.split(":")[1])
    assert line > 1000, "the line up to which it can be read"


def test_a_damaged_gzip_is_never_counted(log: LogWriter) -> None:
    """Its data can be read, but is not what was written: DuckDB alone would not notice."""
    whole = bytearray(gzip.compress(MANY.encode()))
    whole[-5] ^= 1
    assert "damaged" in _mistake(log("a.csv.gz", bytes(whole)))
    whole[-5] ^= 1
    assert scan_files([str(log("a.csv.gz", bytes(whole)))], TraceOptions()).requests == 50_000


def test_a_truncated_zstd_is_never_half_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.zst"
    rows = "SELECT (i * 7919) % 9000 + 1 AS ContextTokens, i % 900 + 1 AS GeneratedTokens FROM range(100000) AS r(i)"
    duckdb.sql(f"COPY ({rows}) TO '{path}' (FORMAT csv, COMPRESSION zstd)")
    assert scan_files([str(path)], TraceOptions()).requests == 100_000
    whole = path.read_bytes()
    for cut in (len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert "a.csv.zst:" in _mistake(path)


def test_concatenated_gzip_members_are_one_log(log: LogWriter) -> None:
    content = gzip.compress((HEADER + ROW).encode()) + gzip.compress((ROW * 3).encode())
    assert scan_files([str(log("a.csv.gz", content))], TraceOptions()).requests == 4


def test_every_broken_file_is_reported(log: LogWriter, tmp_path: Path) -> None:
    text = _mistake(log("a.csv", ""), log("b.csv", HEADER + ROW), log("c.jsonl", "{"), log("d.csv", "x\n"))
    assert [line.split(": ")[0].rsplit("/", 1)[1] for line in text.splitlines()][:2] == ["a.csv", "c.jsonl:1"]
    (tmp_path / "empty").mkdir()
    text = _mistake(tmp_path / "none.csv", str(tmp_path / "no*.csv"), tmp_path / "empty", "/dev/null")
    assert "there is no such file" in text
    assert "no file matches" in text
    assert "empty: is a folder without files" in text
    assert "is not a regular file" in text


def test_columns_that_are_missing_are_named_for_every_file(log: LogWriter) -> None:
    options = TraceOptions(columns=LogColumns(input="prompt", output="answer", time="when"))
    text = _mistake(log("a.csv", "prompt,x\n1,2\n"), log("b.jsonl", '{"answer": 1}\n'), options=options)
    assert "a.csv: has no column 'answer' (output); it has 'prompt', 'x'" in text
    assert "a.csv: has no column 'when' (time)" in text
    assert "b.jsonl: has no column 'prompt' (input)" in text


def test_files_with_and_without_times_do_not_mix(log: LogWriter) -> None:
    text = _mistake(log("a.csv", HEADER + ROW), log("b.csv", "ContextTokens,GeneratedTokens\n5,5\n"))
    assert "some of the files have times and some have none" in text


def test_a_pipe_is_refused_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(_mistake(pipe)), daemon=True)
    thread.start()
    thread.join(20)
    assert found
    assert "is not a regular file" in found[0]


def test_a_file_that_may_not_be_read(log: LogWriter) -> None:
    path = log("a.csv", HEADER + ROW)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "may not be read; check its permissions" in _mistake(path)


@pytest.mark.parametrize(
    "name", ["a[1].csv", "a*b.csv", "what?.csv", "it's.csv", 'say "x".csv', "a;DROP TABLE x;--.csv", "ä é.csv"]
)
def test_names_of_files_are_taken_literally(log: LogWriter, name: str) -> None:
    log("a1.csv", HEADER + ROW * 5)
    log("aXb.csv", HEADER + ROW * 5)
    assert scan_files([str(log(name, HEADER + ROW))], TraceOptions()).requests == 1


@pytest.mark.parametrize("column", ['in"put', "in'put", "in;put", "in put", "{x}", "input_number", "select", "ï"])
def test_names_of_columns_are_taken_literally(log: LogWriter, column: str, tmp_path: Path) -> None:
    options = TraceOptions(columns=LogColumns(input=column, output="output_fault", time="status"))
    quoted = column.replace('"', '""')
    path = log("a.csv", f'"{quoted}",output_fault,status\n5,6,1700000000\n')
    assert scan_files([str(path)], options).cells[0].input_tokens == 5
    duckdb.read_csv(str(path)).to_parquet(str(tmp_path / "b.parquet"))
    assert scan_files([str(tmp_path / "b.parquet")], options).cells[0].output_tokens == 6


def test_a_byte_order_mark_is_not_part_of_a_name(log: LogWriter) -> None:
    assert scan_files([str(log("a.csv", b"\xef\xbb\xbf" + (HEADER + ROW).encode()))], TraceOptions()).requests == 1


def test_semicolons_and_quoted_headers(log: LogWriter) -> None:
    path = log("a.csv", '"ContextTokens";"GeneratedTokens";"note"\n5;6;"a, b; c"\n7;8;"two\nlines"\n')
    assert scan_files([str(path)], TraceOptions()).requests == 2


@pytest.mark.parametrize("address", ["s3://bucket/logs/*.parquet", "gs://bucket/a.csv.gz", "s3://bucket/a.jsonl"])
def test_object_stores_say_what_is_missing(address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without network the extension cannot come; the message names it and how to get it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    text = _mistake(address)
    assert text.startswith(f"{address}: needs DuckDB's extension httpfs")
    assert "INSTALL httpfs" in text


def test_an_address_without_a_format_is_refused() -> None:
    assert "s3://bucket/logs: name the format with a suffix" in _mistake("s3://bucket/logs")
