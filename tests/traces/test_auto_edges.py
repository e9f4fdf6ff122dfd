"""`auto:K` against every choice of edges there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from sky_melange.domain.trace import TraceOptions
from sky_melange.errors import InputError
from sky_melange.traces import scan_files
from sky_melange.traces.edges import Step, choose, fine_edges


def _steps(sizes: Sequence[int]) -> list[Step]:
    return [
        Step(requests=list(sizes).count(size), tokens=size * list(sizes).count(size), largest=size)
        for size in sorted(set(sizes))
    ]


def _loss(sizes: Sequence[int], edges: Sequence[int]) -> float:
    planned = np.array(edges)[np.searchsorted(edges, sizes)]
    return float((planned - np.array(sizes)).sum() / np.array(sizes).sum())


def _least_loss(inputs: Sequence[int], outputs: Sequence[int], most: int) -> float:
    """Every pair of edge sets with at most `most` buckets."""
    options = []
    for sizes in (inputs, outputs):
        distinct = sorted(set(sizes))
        sets = [(*rest, distinct[-1]) for k in range(most) for rest in combinations(distinct[:-1], k)]
        options.append([(len(edges), _loss(sizes, edges)) for edges in sets])
    return min(a + b for n, a in options[0] for m, b in options[1] if n * m <= most)


@pytest.mark.parametrize("seed", range(12))
def test_no_choice_loses_less(seed: int) -> None:
    random = np.random.default_rng(seed)
    inputs = [int(size) for size in random.integers(1, 40, 12)]
    outputs = [int(size) for size in np.minimum(60, 1 + random.geometric(0.1, 12))]
    for most in (1, 2, 3, 4, 6, 9):
        grid = choose(_steps(inputs), _steps(outputs), most)
        assert len(grid.input_edges) * len(grid.output_edges) <= most
        found = _loss(inputs, grid.input_edges) + _loss(outputs, grid.output_edges)
        assert found == pytest.approx(_least_loss(inputs, outputs, most))


def test_more_buckets_never_lose_more(extracts: Path) -> None:
    path = str(extracts / "azure-conversation.csv")
    losses = []
    for most in (1, 4, 12, 40, 200):
        found = scan_files([path], TraceOptions(buckets=f"auto:{most}"))
        assert len(found.grid.input_edges) * len(found.grid.output_edges) <= most
        assert found.requests_inside == found.requests == 400
        edges = found.grid
        planned = sum(edges.input_edges[c.input_index] * c.requests for c in found.cells)
        planned_out = sum(edges.output_edges[c.output_index] * c.requests for c in found.cells)
        tokens, tokens_out = (sum(getattr(c, f"{axis}_tokens") for c in found.cells) for axis in ("input", "output"))
        losses.append(planned / tokens + planned_out / tokens_out)
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 2.1


def test_auto_beats_melange_with_as_many_buckets(extracts: Path) -> None:
    path = str(extracts / "azure-conversation.csv")

    def overstated(buckets: str) -> int:
        found = scan_files([path], TraceOptions(buckets=buckets))
        return sum(found.grid.input_edges[cell.input_index] * cell.requests - cell.input_tokens for cell in found.cells)

    assert overstated("auto:60") < overstated("melange")


def test_one_size_needs_one_bucket(log: Callable[..., Path]) -> None:
    path = log("a.csv", "ContextTokens,GeneratedTokens\n" + "300,20\n" * 5)
    found = scan_files([str(path)], TraceOptions(buckets="auto:9"))
    assert (found.grid.input_edges, found.grid.output_edges) == ((300,), (20,))


def test_fine_steps_are_within_three_per_cent() -> None:
    edges = fine_edges()
    assert edges[:64] == tuple(range(1, 65))
    assert all(before < after <= before * 1.031 or after <= 67 for before, after in pairwise(edges))
    assert edges[-1] == 100_000_000


@pytest.mark.parametrize(
    ("buckets", "words"),
    [
        ("auto:0", "want melange"),
        ("auto:9999", "is more than auto:2500"),
        ("auto", "want melange"),
        ("100", "want melange"),
        ("100x", "want melange"),
        ("100,50x10", "the input edges must rise strictly"),
        ("100x10,10", "the output edges must rise strictly"),
        ("0x10", "the input edges must rise strictly"),
        ("999999999x1", "the input edges must rise strictly, from 1 to 100000000"),
        (",".join(str(k) for k in range(1, 300)) + "x1", "299 input edges are more than 200"),
        ("A" * 1000, "want melange"),
    ],
)
def test_buckets_that_are_none(extracts: Path, buckets: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        scan_files([str(extracts / "burstgpt.csv")], TraceOptions(buckets=buckets))
