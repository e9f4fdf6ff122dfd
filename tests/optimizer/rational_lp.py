"""Whether linear inequalities have a solution, by the simplex method in exact arithmetic (Bland's rule).

Of whole numbers, which are all that a table is once each row is multiplied by its denominators: entries stand for
themselves divided by the last pivot, and every division below leaves nothing (Edmonds, Bareiss).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

Row = Sequence[Fraction]


def is_feasible(at_most: Sequence[tuple[Row, Fraction]], equal: Sequence[tuple[Row, Fraction]]) -> bool:
    """Whether some x ≥ 0 has row·x ≤ bound for all of `at_most` and row·x = bound for all of `equal`."""
    table = []
    for index, (row, bound) in enumerate([*at_most, *equal]):
        slack = [int(index == other) for other in range(len(at_most))]
        whole = math.lcm(bound.denominator, *(value.denominator for value in row))
        sign = 1 if bound >= 0 else -1
        table.append([sign * int(value * whole) for value in (*row, *slack, bound)])
    return _least_artificial(table) == 0


def _least_artificial(table: list[list[int]]) -> int:
    """The least sum of artificial variables, one a row, that the start needs, times a positive number."""
    columns = len(table[0]) - 1
    basis = [columns + index for index in range(len(table))]
    costs, scale = [sum(column) for column in zip(*table, strict=True)], 1
    while (entering := next((j for j in range(columns) if costs[j] > 0 and j not in basis), None)) is not None:
        pivot = _leaving(table, basis, entering)
        line = table[pivot]
        costs, *table = [each if each is line else _eliminated(each, line, entering, scale) for each in (costs, *table)]
        basis[pivot], scale = entering, line[entering]
    return costs[-1]


def _leaving(table: list[list[int]], basis: list[int], entering: int) -> int:
    """The row with the least ratio of bound to entry; of equal ones that of the first variable."""
    found: int | None = None
    for row, line in enumerate(table):
        if line[entering] > 0:
            best = line if found is None else table[found]
            ours, theirs = line[-1] * best[entering], best[-1] * line[entering]
            if found is None or (ours, basis[row]) < (theirs, basis[found]):
                found = row
    assert found is not None
    return found


def _eliminated(line: list[int], by: list[int], entering: int, scale: int) -> list[int]:
    pivot, factor = by[entering], line[entering]
    return [(pivot * a - factor * b) // scale for a, b in zip(line, by, strict=True)]
