"""Histograms and rates equal an independent count, for every trace and every file format alike."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest
from numpy_count import Counted, count_with_numpy

from sky_melange.domain.trace import TraceOptions, TraceSummary
from sky_melange.render import trace_report
from sky_melange.traces import scan_files

SHARED = [
    "azure-llm-2023-code.csv.gz",
    "azure-llm-2023-conv.csv.gz",
    "burstgpt-format-sample.csv",
    "mooncake-conversation.jsonl.gz",
    "vidur-arxiv-summarization.csv.gz",
    "vidur-splitwise-code.csv.gz",
    "vidur-splitwise-conv.csv.gz",
]
EXTRACTS = ["azure-conversation.csv", "mooncake.jsonl", "vidur-code.csv", "vidur-arxiv.csv", "burstgpt.csv"]


def _one_service(name: str) -> TraceOptions:
    """BurstGPT holds two models, which are counted as one here."""
    return TraceOptions(where="TRUE" if name.startswith("burstgpt") else None)


def _check(summary: TraceSummary, wanted: Counted) -> None:
    assert summary.counts() == wanted.counts
    assert summary.outside.requests == wanted.outside
    assert not summary.rejected
    for cell in summary.cells:
        assert cell.input_tokens == wanted.input_sums[cell.input_index][cell.output_index]
    if not wanted.seconds:
        assert summary.rate is None
        return
    rate = summary.rate
    assert rate is not None
    by_second = np.bincount(np.array(wanted.seconds) - min(wanted.seconds))
    windows = np.convolve(by_second, np.ones(60, dtype=int), mode="valid")
    if len(by_second) < 60:
        windows = np.array([len(wanted.seconds)])
    assert rate.planned_rps == np.percentile(windows, 99, method="inverted_cdf") / 60
    assert rate.peak_rps == windows.max() / 60
    assert rate.mean_rps == pytest.approx(len(wanted.seconds) / max(60, len(by_second)), rel=1e-12)
    dispersion = pytest.approx(windows.var() / windows.mean(), rel=1e-9) if len(windows) > 1 else None
    assert rate.dispersion == dispersion
    assert (rate.windows, rate.empty) == (len(windows), int((windows == 0).sum()))
    assert (rate.first_s, rate.last_s) == (min(wanted.seconds), max(wanted.seconds))


@pytest.mark.parametrize("name", SHARED)
def test_whole_traces_equal_numpy(shared_traces: Path, name: str) -> None:
    path = shared_traces / name
    _check(scan_files([str(path)], _one_service(name)), count_with_numpy(path))


@pytest.mark.parametrize("name", EXTRACTS)
def test_extracts_equal_numpy(extracts: Path, name: str) -> None:
    _check(scan_files([str(extracts / name)], _one_service(name)), count_with_numpy(extracts / name))


def test_given_edges_equal_numpy(extracts: Path) -> None:
    path = extracts / "azure-conversation.csv"
    found = scan_files([str(path)], TraceOptions(buckets="100,350,351,900x10,44,300"))
    wanted = count_with_numpy(path, ((100, 350, 351, 900), (10, 44, 300)))
    assert (found.counts(), found.outside.requests) == (wanted.counts, wanted.outside)
    assert wanted.outside > 0


def _copies(source: Path, folder: Path) -> list[Path]:
    """The same rows in every format. Parquet has its times as timestamps, and once as text."""
    (folder / "z.csv.gz").write_bytes(gzip.compress(source.read_bytes()))
    (folder / "tabs.tsv").write_bytes(source.read_bytes().replace(b",", b"\t"))
    rows = f"read_csv('{source}', all_varchar = true)"
    typed = (
        '"TIMESTAMP"::TIMESTAMP AS "TIMESTAMP", "ContextTokens"::INTEGER AS "ContextTokens", '
        '"GeneratedTokens"::DOUBLE AS "GeneratedTokens"'
    )
    zoned = 'replace("TIMESTAMP", \' \', \'T\') || \'Z\' AS "TIMESTAMP", "ContextTokens"::SMALLINT AS "ContextTokens"'
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for name, columns, options in (
        ("rows.jsonl", '"TIMESTAMP", "ContextTokens"::INTEGER AS "ContextTokens", "GeneratedTokens"', "FORMAT json"),
        ("rows.jsonl.gz", "*", "FORMAT json, COMPRESSION gzip"),
        ("rows.jsonl.zst", "*", "FORMAT json, COMPRESSION zstd"),
        ("rows.csv.zst", "*", "FORMAT csv, COMPRESSION zstd"),
        ("text.parquet", "*", "FORMAT parquet"),
        ("typed.parquet", typed, "FORMAT parquet, COMPRESSION zstd"),
        ("zoned.parquet", f'{zoned}, "GeneratedTokens"', "FORMAT parquet"),
    ):
        connection.execute(f"COPY (SELECT {columns} FROM {rows}) TO '{folder / name}' ({options})")
    return sorted(folder.iterdir())


def _without_names(summary: TraceSummary) -> str:
    """The report without the name of the file and of how zones were written."""
    text = trace_report.to_json(summary).replace(summary.source, "log")
    return text.replace(f'"times_without_zone": {summary.zoneless}', '"times_without_zone": n')


def test_every_format_gives_the_same_bytes(extracts: Path, tmp_path: Path) -> None:
    source = extracts / "azure-conversation.csv"
    wanted = _without_names(scan_files([str(source)], TraceOptions()))
    copies = _copies(source, tmp_path)
    assert len(copies) == 9
    for copy in copies:
        assert _without_names(scan_files([str(copy)], TraceOptions())) == wanted, copy.name


def test_the_suffix_does_not_matter(extracts: Path, log: Callable[..., Path]) -> None:
    source = extracts / "azure-conversation.csv"
    wanted = scan_files([str(source)], TraceOptions()).counts()
    for name, content in (("a.parquet", source.read_bytes()), ("b", gzip.compress(source.read_bytes()))):
        assert scan_files([str(log(name, content))], TraceOptions()).counts() == wanted


def test_order_of_rows_and_threads_do_not_matter(extracts: Path, log: Callable[..., Path]) -> None:
    lines = (extracts / "azure-conversation.csv").read_bytes().splitlines()
    turned = b"\r\n".join([lines[0], *reversed(lines[1:])])
    wanted = scan_files([str(log("a.csv", b"\r\n".join(lines)))], TraceOptions())
    found = scan_files([str(log("b.csv", turned))], TraceOptions())
    assert (found.cells, found.rate) == (wanted.cells, wanted.rate)


def test_a_row_that_stands_twice_counts_twice(extracts: Path, log: Callable[..., Path]) -> None:
    content = (extracts / "azure-conversation.csv").read_bytes()
    body = content.split(b"\r\n", 1)[1]
    once = scan_files([str(log("a.csv", content))], TraceOptions())
    twice = scan_files([str(log("b.csv", content.rstrip() + b"\r\n" + body))], TraceOptions())
    assert twice.requests == 2 * once.requests
    assert twice.rate is not None
    assert once.rate is not None
    assert twice.rate.planned_rps == 2 * once.rate.planned_rps


def test_many_files_are_one_log(extracts: Path, tmp_path: Path) -> None:
    """Halves in different formats, with columns in another order and more of them, through a glob."""
    lines = (extracts / "azure-conversation.csv").read_text().splitlines()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "1.csv").write_text("\n".join(lines[:201]) + "\n")
    moved = [",".join([line.split(",")[2], "x;y", *line.split(",")[:2]]) for line in lines[201:301]]
    (tmp_path / "logs" / "2.csv").write_text("\n".join(["GeneratedTokens,note,TIMESTAMP,ContextTokens", *moved]))
    rest = [line.split(",") for line in lines[301:]]
    objects = [f'{{"TIMESTAMP": "{t}", "ContextTokens": {i}, "GeneratedTokens": {o}}}' for t, i, o in rest]
    (tmp_path / "logs" / "3.jsonl.gz").write_bytes(gzip.compress("\n".join(objects).encode()))
    found = scan_files(["logs/*"], TraceOptions(), folder=tmp_path)
    wanted = scan_files([str(extracts / "azure-conversation.csv")], TraceOptions())
    assert (found.cells, found.rate) == (wanted.cells, wanted.rate)
    again = scan_files(["logs/*", "logs/1.csv", str(tmp_path / "logs" / "2.csv")], TraceOptions(), folder=tmp_path)
    assert again.requests == wanted.requests


@pytest.mark.parametrize("buckets", ["melange", "extend", "auto:9"])
def test_files_whose_numbers_differ_in_width_are_one_log(tmp_path: Path, buckets: str) -> None:
    """As a column grows, so does its type: parts of one log are written with INTEGER, BIGINT, DOUBLE or as text."""
    paths = []
    for kind in ("SMALLINT", "INTEGER", "BIGINT", "UINTEGER", "DOUBLE", "DECIMAL(9, 2)", "VARCHAR"):
        paths.append(str(tmp_path / f"{len(paths)}.parquet"))
        duckdb.sql(
            f'COPY (SELECT (i * 40)::{kind} AS "ContextTokens", i::{kind} AS "GeneratedTokens", '
            f"TIMESTAMP '2025-03-03' + to_seconds(i) AS \"TIMESTAMP\" FROM range(0, 300) AS r(i)) "
            f"TO '{paths[-1]}' (FORMAT parquet)"
        )
    one, all_of_them = (scan_files(log, TraceOptions(buckets=buckets)) for log in (paths[:1], paths))
    assert one.requests == 299
    assert all_of_them.counts() == tuple(tuple(count * len(paths) for count in row) for row in one.counts())
    assert all_of_them.rejected == {name: count * len(paths) for name, count in one.rejected.items()}
    assert [cell.input_tokens for cell in all_of_them.cells] == [c.input_tokens * len(paths) for c in one.cells]


def test_the_known_layouts_are_recognised(extracts: Path) -> None:
    found = {
        name: scan_files([str(extracts / name)], _one_service(name)).columns.layout
        for name in ("azure-conversation.csv", "burstgpt.csv", "mooncake.jsonl", "litellm.jsonl", "vidur-arxiv.csv")
    }
    assert found == {
        "azure-conversation.csv": "Azure LLM inference trace",
        "burstgpt.csv": "BurstGPT",
        "mooncake.jsonl": "Mooncake",
        "litellm.jsonl": "LiteLLM spend log",
        "vidur-arxiv.csv": "vidur",
    }


def test_litellm_times_and_failures(extracts: Path) -> None:
    found = scan_files([str(extracts / "litellm.jsonl")], TraceOptions())
    assert {str(name): count for name, count in found.rejected.items()} == {"output_zero": 1}
    assert found.rate is not None
    # 09:00:01, 09:00:31 (10:00:31+01) and 09:02:00: two in a minute, and 61 windows of a minute in two minutes.
    assert (found.rate.windows, found.rate.peak_rps) == (61, 2 / 60)
    assert found.zoneless == 0


def test_extend_covers_every_request(extracts: Path) -> None:
    path = extracts / "mooncake.jsonl"
    found = scan_files([str(path)], TraceOptions(buckets="extend"))
    assert found.outside.requests == 0
    assert found.grid.input_edges[:11] == (25, 100, 250, 500, 1000, 2000, 4000, 8000, 12000, 16000, 32000)
    assert found.counts()[-1] != (0,) * len(found.grid.output_edges)
    assert found.counts() == count_with_numpy(path, (found.grid.input_edges, found.grid.output_edges)).counts


@pytest.mark.slow
def test_progress_is_reported_on_long_scans(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    times = "TIMESTAMP '2025-03-03' + to_seconds(i) AS \"TIMESTAMP\""
    rows = f"SELECT {times}, i % 900 + 1 AS ContextTokens, i % 90 + 1 AS GeneratedTokens FROM range(3000000) AS r(i)"
    duckdb.sql(f"COPY ({rows}) TO '{path}' (HEADER)")
    seen: list[float] = []
    found = scan_files([str(path)], TraceOptions(), progress=seen.append)
    assert found.requests == 3_000_000
    assert seen
    assert all(0 <= share <= 1 for share in seen)
    assert seen == sorted(seen)
