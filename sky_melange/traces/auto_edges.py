"""Chooses the edges of at most K buckets so that planning at upper edges overstates the log's tokens the least."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sky_melange.domain.buckets import TokenGrid
from sky_melange.traces.edges import MAX_EDGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The requests in one fine step of an axis: how many, the sum of their tokens, and the largest of them."""

    requests: int
    tokens: int
    largest: int


def choose(inputs: Sequence[Step], outputs: Sequence[Step], most: int) -> TokenGrid:
    """The grid of at most `most` buckets with the least loss. Steps are in rising order of size, none empty.

    The loss is Σ (upper edge − size) ÷ Σ size of the input tokens plus the same of the output tokens. Edges are the
    largest sizes of steps, so with steps of single sizes this is the best grid there is.
    """
    by_input = _best_edges(inputs, most)
    by_output = _best_edges(outputs, most)
    input_total, output_total = (sum(step.tokens for step in steps) for steps in (inputs, outputs))
    splits = [
        (by_input[a][0] / input_total + by_output[b][0] / output_total, (a + 1) * (b + 1), a, b)
        for a in range(len(by_input))
        for b in range(len(by_output))
        if (a + 1) * (b + 1) <= most
    ]
    _, _, a, b = min(splits)
    return TokenGrid(input_edges=by_input[a][1], output_edges=by_output[b][1])


def _best_edges(steps: Sequence[Step], most: int) -> list[tuple[int, tuple[int, ...]]]:
    """`[edges − 1]` -> (loss in tokens, edges) for 1, 2 … `most` edges; dynamic programming over the last edge.

    With k edges, the last of them at step e: loss[k][e] = min over s of loss[k−1][s] + requests(s+1…e)·size(e), all
    minus the tokens themselves. Exact in whole numbers.
    """
    import numpy as np

    count = len(steps)
    bound = steps[-1].largest * sum(step.requests for step in steps)
    whole: Any = np.int64 if bound < 2**62 else object
    sizes: Any = np.array([step.largest for step in steps], dtype=whole)
    before: Any = np.cumsum(np.array([0, *(step.requests for step in steps)], dtype=whole))
    tokens = sum(step.tokens for step in steps)
    losses = sizes * before[1:]
    choices: list[list[int]] = [[0] * count]
    results: list[tuple[int, tuple[int, ...]]] = [(int(losses[-1]) - tokens, (steps[-1].largest,))]
    for edges in range(2, min(most, count, MAX_EDGES) + 1):
        nxt, choice = losses.copy(), [0] * count
        for end in range(edges - 1, count):
            options = losses[edges - 2 : end] + (before[end + 1] - before[edges - 1 : end + 1]) * sizes[end]
            best = int(np.argmin(options))
            nxt[end], choice[end] = options[best], edges - 2 + best
        losses = nxt
        choices.append(choice)
        results.append((int(losses[-1]) - tokens, _trace_back(choices, steps)))
    return results


def _trace_back(choices: list[list[int]], steps: Sequence[Step]) -> tuple[int, ...]:
    at = len(steps) - 1
    edges = [steps[at].largest]
    for choice in reversed(choices[1:]):
        at = choice[at]
        edges.append(steps[at].largest)
    return tuple(reversed(edges))
