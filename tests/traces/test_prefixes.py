"""What a prefix cache would have found of a log: against a plain model of it, and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from property_examples import examples

from sky_melange.cli import cli
from sky_melange.domain.trace import PrefixCache
from sky_melange.traces.request_log import RequestLog, prefix_hits
from sky_melange.workload_file import read_workload

BLOCK = 4
PROMPTS = st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=6, unique=True), min_size=1, max_size=30)


def log(prompts: list[list[int]]) -> RequestLog:
    return RequestLog(
        source="a log",
        inputs=np.array([BLOCK * len(prompt) - 1 for prompt in prompts]),
        outputs=np.ones(len(prompts), np.int64),
        times_s=np.arange(len(prompts), dtype=np.float64),
        blocks=tuple(map(json.dumps, prompts)),
        block_tokens=BLOCK,
    )


@examples(200)
@given(prompts=PROMPTS, blocks=st.integers(0, 12), replicas=st.integers(1, 3))
def test_hits_are_those_of_a_list_of_blocks_by_last_use(prompts: list[list[int]], blocks: int, replicas: int) -> None:
    found = total = 0
    kept: list[list[int]] = [[] for _ in range(replicas)]
    for row, prompt in enumerate(prompts):
        own = kept[row % replicas]
        hits = 0
        while hits < len(prompt) and prompt[hits] in own:
            hits += 1
        tokens = BLOCK * len(prompt) - 1
        found += min(BLOCK * hits, tokens - 1)
        total += tokens
        used = [block for block in own if block not in prompt] + prompt[::-1]
        kept[row % replicas] = used[max(0, len(used) - blocks) :]
    cache = PrefixCache(tokens=max(1, blocks * BLOCK), replicas=replicas)
    assert prefix_hits(log(prompts), cache).fraction == pytest.approx(found / total)


@examples(100)
@given(prompts=PROMPTS, tokens=st.tuples(st.integers(1, 50), st.integers(1, 50)))
def test_a_larger_cache_finds_no_less(prompts: list[list[int]], tokens: tuple[int, int]) -> None:
    small, large = (prefix_hits(log(prompts), PrefixCache(tokens=each)).fraction for each in sorted(tokens))
    assert 0 <= small <= large < 1


def run(*arguments: str | Path) -> Result:
    return CliRunner(mix_stderr=False).invoke(
        cli, ["workload", "from-trace", *map(str, arguments), "--time-unit", "ms", "--request-rate", "1"]
    )


def written(path: Path, *blocks: object) -> Path:
    rows = [
        {"timestamp": 100 * row, "input_length": 1000, "output_length": 5, "hash_ids": ids}
        for row, ids in enumerate(blocks)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_workload_states_what_was_measured(tmp_path: Path) -> None:
    path, out = written(tmp_path / "log.jsonl", [1, 2], [1, 3], [1, 2], [7, 8]), tmp_path / "workload.yaml"
    result = run(path, "--prefix-cache", "100000", "-o", out)
    assert result.exit_code == 0, result.stderr
    # 512 of the second prompt, and all but one token of the third.
    assert "37.8% of the prompt tokens are found" in " ".join(result.stdout.split())
    assert "hash_ids" not in result.stderr
    assert read_workload(out).traffic.prefix_hit_fraction == 0.377
    # Each of two replicas sees every other request: only the third is found, at the first.
    found = json.loads(run(path, "--prefix-cache", "100000x2", "--format", "json").stdout)["prefix_hits"]
    assert found == {"cache": {"tokens": 100_000, "replicas": 2}, "fraction": 999 / 4000}


def test_without_the_option_nothing_is_taken_for_granted(tmp_path: Path) -> None:
    result = run(written(tmp_path / "log.jsonl", [1, 2], [1, 3]))
    assert "prefix_hit_fraction" not in result.stdout
    assert "--prefix-cache measures that" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prefix-cache", "40e4"), "--prefix-cache: want tokens of a replica's KV cache such as 400000"),
        (("--prefix-cache", "0"), "found '0'"),
        (("--prefix-cache", "100x"), "found '100x'"),
        (("--prefix-cache", "100x99999999"), "want at most 10,000 replicas"),
        (("--prefix-cache", "1000", "--split-by", "model", "-o", "folder"), "leave out --split-by"),
    ],
)
def test_wrong_caches(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run(written(tmp_path / "log.jsonl", [1, 2], [1, 3]), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("blocks", ["xx", None, [1.5], {"a": 1}, 7])
def test_blocks_that_are_no_ids(tmp_path: Path, blocks: object) -> None:
    result = run(written(tmp_path / "log.jsonl", [1, 2], blocks), "--prefix-cache", "1000")
    assert result.exit_code == 2
    assert "hash_ids: request 2 by time: want a list of block ids such as [0, 1], found" in result.stderr


def test_logs_without_blocks(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,5,5\n2024-01-01 00:00:01,5,5\n")
    result = CliRunner(mix_stderr=False).invoke(cli, ["workload", "from-trace", str(path), "--prefix-cache", "1000"])
    assert result.exit_code == 2
    assert "names no blocks of prompts (hash_ids" in result.stderr
