"""The edges of buckets: Mélange's, given ones, and the fine steps from which `auto` chooses."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.errors import InputError, Mistake

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
