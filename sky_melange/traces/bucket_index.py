"""The bucket of a size, as Ibis expressions: by comparing it with the edges, or by looking it up in a table."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import Rejection
from sky_melange.traces import numbers

if TYPE_CHECKING:
    import ibis.expr.types as ir

INPUT_LOOKUP: Final = "input_cells"
OUTPUT_LOOKUP: Final = "output_cells"
"""Tables of `size` and its share of the `cell`, as `lookup_steps` has them."""

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


def lookup_steps(grid: TokenGrid) -> dict[str, list[tuple[int, int, int]]]:
    """What the tables hold by name: (share of the cell, its first size, the size after its last), each size once.

    The last size stands for all that are larger. 0, no valid size, has a share that makes the cell negative.
    """
    return {
        INPUT_LOOKUP: _steps(grid.input_edges, width(grid), -3 * _number_of_cells(grid)),
        OUTPUT_LOOKUP: _steps(grid.output_edges, 1, -_number_of_cells(grid)),
    }


def looked_up(rows: ir.Table, grid: TokenGrid) -> ir.Table:
    """Adds `cell`, the same number, negative where a size is 0, and drops negative sizes; they must be whole numbers.

    Joins are by far the quicker way.
    """
    rows = _joined(rows, "input", INPUT_LOOKUP, grid.input_edges, width(grid))
    rows = _joined(rows, "output", OUTPUT_LOOKUP, grid.output_edges, 1)
    return rows.mutate(cell=rows.input_cell + rows.output_cell)


def status(cell: Any, grid: TokenGrid) -> Any:
    """0, or the code of the first fault, of a cell that was looked up."""
    import ibis

    return ibis.cases(
        (cell >= 0, ibis.literal(0, "int8")),
        (cell >= -_number_of_cells(grid), ibis.literal(numbers.CODES[Rejection.OUTPUT_ZERO], "int8")),
        else_=ibis.literal(numbers.CODES[Rejection.INPUT_ZERO], "int8"),
    )


def _number_of_cells(grid: TokenGrid) -> int:
    return (len(grid.input_edges) + 1) * width(grid)


def _steps(edges: Sequence[int], stride: int, of_zero: int) -> list[tuple[int, int, int]]:
    lows = [1, *(edge + 1 for edge in _looked_up(edges))]
    steps = [(index * stride, low, high) for index, (low, high) in enumerate(pairwise([*lows, lows[-1] + 1]))]
    return [(of_zero, 0, 1), *steps]


def _looked_up(edges: Sequence[int]) -> list[int]:
    return [edge for edge in edges if edge <= _MAX_SIZE]


def _joined(rows: ir.Table, axis: str, name: str, edges: Sequence[int], stride: int) -> ir.Table:
    import ibis

    lookup = ibis.table({"size": "int64", "cell": "int32"}, name=name)
    within = _looked_up(edges)
    last = within[-1] if within else 0
    is_same = ibis.least(rows[axis].cast("int64"), last + 1) == lookup.size
    found = rows.join(lookup, is_same).select(*rows.columns, found=lookup.cell)
    cell = found.found
    if len(within) < len(edges):
        beyond = (_compared(found[axis], edges[len(within) :]) + len(within)) * stride
        cell = (found[axis] <= last).ifelse(cell, beyond)
    return found.mutate(**{f"{axis}_cell": cell}).drop("found")


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
