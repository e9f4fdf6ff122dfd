"""The bucket of a size, as Ibis expressions: by comparing it with the edges, or by looking it up in a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.buckets import TokenGrid

if TYPE_CHECKING:
    import ibis.expr.types as ir

INPUT_LOOKUP: Final = "input_buckets"
OUTPUT_LOOKUP: Final = "output_buckets"
"""Tables of `size` and the index of its `bucket`, as `lookup_steps` has them."""

_MAX_SIZE: Final = 2**17
"""Few requests are larger, and the tables stay within a processor's cache."""

_FEW_EDGES: Final = 24
"""Up to here a plain list of comparisons is quicker than a tree."""


def width(grid: TokenGrid) -> int:
    """Cells of one input index: an output index each, and one for what lies beyond."""
    return len(grid.output_edges) + 1


def compared(rows: ir.Table, grid: TokenGrid) -> Any:
    """The cell of each row, `input index · width + output index`, by comparisons."""
    return _compared(rows.input, grid.input_edges) * width(grid) + _compared(rows.output, grid.output_edges)


def lookup_steps(edges: Sequence[int]) -> list[tuple[int, int, int]]:
    """What the table of an axis holds: (bucket, its first size, the size after its last), each size from 0 on once.

    The last size stands for all that are larger.
    """
    within = _looked_up(edges)
    lows = [0, *(edge + 1 for edge in within)]
    return [(bucket, low, high) for bucket, (low, high) in enumerate(pairwise([*lows, lows[-1] + 1]))]


def looked_up(rows: ir.Table, grid: TokenGrid) -> ir.Table:
    """Adds `cell`, the same number, to rows whose sizes are positive integers. Joins are by far the quicker way."""
    rows = _joined(rows, "input", INPUT_LOOKUP, grid.input_edges)
    rows = _joined(rows, "output", OUTPUT_LOOKUP, grid.output_edges)
    return rows.mutate(cell=rows.input_bucket * width(grid) + rows.output_bucket)


def _looked_up(edges: Sequence[int]) -> list[int]:
    return [edge for edge in edges if edge <= _MAX_SIZE]


def _joined(rows: ir.Table, axis: str, name: str, edges: Sequence[int]) -> ir.Table:
    import ibis

    lookup = ibis.table({"size": "int64", "bucket": "int32"}, name=name)
    size = rows[axis].cast("int64")
    within = _looked_up(edges)
    last = within[-1] if within else -1
    found = rows.join(lookup, ibis.least(size, last + 1) == lookup.size).select(*rows.columns, found=lookup.bucket)
    bucket = found.found
    if len(within) < len(edges):
        beyond = _compared(found[axis], edges[len(within) :]) + len(within)
        bucket = (found[axis] <= last).ifelse(bucket, beyond)
    return found.mutate(**{f"{axis}_bucket": bucket}).drop("found")


def _compared(value: Any, edges: Sequence[int]) -> Any:
    """The first edge at or above `value`, len(edges) beyond the last; a tree of comparisons when there are many."""
    import ibis

    if len(edges) <= _FEW_EDGES:
        branches = [(value <= edge, ibis.literal(index, "int16")) for index, edge in enumerate(edges)]
        return ibis.cases(*branches, else_=ibis.literal(len(edges), "int16"))

    def search(low: int, high: int) -> Any:
        if low == high:
            return ibis.literal(low, "int16")
        middle = (low + high) // 2
        return (value <= edges[middle]).ifelse(search(low, middle), search(middle + 1, high))

    return search(0, len(edges))
