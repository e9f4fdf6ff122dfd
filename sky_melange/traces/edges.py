"""The edges of buckets: Mélange's, given ones, and the fine steps from which `auto` chooses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.errors import InputError, Mistake


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The requests in one fine step of an axis: how many, the sum of their tokens, and the largest of them."""

    requests: int
    tokens: int
    largest: int


MAX_TOKENS: Final = 100_000_000
MAX_EDGES: Final = 200
MAX_AUTO_BUCKETS: Final = 2_500

MELANGE: Final = TokenGrid(
    input_edges=(25, 100, 250, 500, 1000, 2000, 4000, 8000, 12000, 16000),
    output_edges=(25, 100, 250, 500, 1000, 2000),
)
"""The buckets of the Mélange paper (arXiv 2404.14527, section 5.3)."""

_AUTO: Final = re.compile(r"auto:([1-9][0-9]{0,5})")
_EDGES: Final = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*x[0-9]{1,9}(,[0-9]{1,9})*")


def parse_buckets(text: str, *, source: str = "--buckets") -> TokenGrid | int | None:
    """Edges for `melange` and lists; the most buckets for `auto:K`; None for `extend`.

    Raises InputError for anything else.
    """
    auto = _AUTO.fullmatch(text)
    if text == "melange":
        return MELANGE
    if text == "extend":
        return None
    if auto is not None:
        most = int(auto.group(1))
        if most > MAX_AUTO_BUCKETS:
            raise _mistake(source, f"auto:{most} is more than auto:{MAX_AUTO_BUCKETS}, the most buckets there may be")
        return most
    if _EDGES.fullmatch(text) is None:
        shown = repr(text[:60])
        raise _mistake(source, f"want melange, extend, auto:K or edges such as 100,1000x50,500, found {shown}")
    inputs, outputs = (tuple(int(edge) for edge in part.split(",")) for part in text.split("x"))
    for axis, edges in (("input", inputs), ("output", outputs)):
        _check(axis, edges, source)
    return TokenGrid(input_edges=inputs, output_edges=outputs)


def extended() -> TokenGrid:
    """Mélange's edges, doubled on up to the largest size that is read."""
    return TokenGrid(input_edges=_doubled(MELANGE.input_edges), output_edges=_doubled(MELANGE.output_edges))


def fine_edges() -> tuple[int, ...]:
    """Every whole number up to 64, then steps of about 3 %: from these `auto` chooses."""
    edges = list(range(1, 65))
    while edges[-1] < MAX_TOKENS:
        edges.append(min(MAX_TOKENS, edges[-1] + edges[-1] // 33))
    return tuple(edges)


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


def _doubled(edges: tuple[int, ...]) -> tuple[int, ...]:
    longer = list(edges)
    while longer[-1] < MAX_TOKENS:
        longer.append(min(MAX_TOKENS, longer[-1] * 2))
    return tuple(longer)


def _check(axis: str, edges: tuple[int, ...], source: str) -> None:
    if len(edges) > MAX_EDGES:
        raise _mistake(source, f"{len(edges)} {axis} edges are more than {MAX_EDGES}")
    if edges[0] < 1 or edges[-1] > MAX_TOKENS or any(after <= before for before, after in pairwise(edges)):
        raise _mistake(source, f"the {axis} edges must rise strictly, from 1 to {MAX_TOKENS}")


def _mistake(source: str, message: str) -> InputError:
    return InputError([Mistake(source=source, message=message)])


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
