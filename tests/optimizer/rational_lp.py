"""Whether linear inequalities have a solution, by the simplex method in exact rational arithmetic (Bland's rule)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

Row = Sequence[Fraction]


def is_feasible(at_most: Sequence[tuple[Row, Fraction]], equal: Sequence[tuple[Row, Fraction]]) -> bool:
    """Whether some x ≥ 0 has row·x ≤ bound for all of `at_most` and row·x = bound for all of `equal`."""
    width = len((at_most[0] if at_most else equal[0])[0])
    table: list[list[Fraction]] = []
    for index, (row, bound) in enumerate([*at_most, *equal]):
        slack = [Fraction(int(index == other)) for other in range(len(at_most))]
        line = [Fraction(value) for value in row] + slack + [Fraction(bound)]
        table.append(line if bound >= 0 else [-value for value in line])
    return _phase_one(table, width + len(at_most)) == 0


def _phase_one(table: list[list[Fraction]], columns: int) -> Fraction:
    """The least sum of artificial variables, one a row, that the start needs."""
    basis = [columns + index for index in range(len(table))]
    while True:
        costs = [
            sum((line[j] for line, basic in zip(table, basis, strict=True) if basic >= columns), Fraction(0))
            for j in range(columns)
        ]
        entering = next((j for j in range(columns) if costs[j] > 0 and j not in basis), None)
        if entering is None:
            return sum((line[-1] for line, b in zip(table, basis, strict=True) if b >= columns), Fraction(0))
        ratios = [(line[-1] / line[entering], basis[i], i) for i, line in enumerate(table) if line[entering] > 0]
        _, _, pivot = min(ratios)
        _eliminate(table, pivot, entering)
        basis[pivot] = entering


def _eliminate(table: list[list[Fraction]], pivot: int, entering: int) -> None:
    scale = table[pivot][entering]
    table[pivot] = [value / scale for value in table[pivot]]
    for i, line in enumerate(table):
        if i != pivot and line[entering] != 0:
            factor = line[entering]
            table[i] = [a - factor * b for a, b in zip(line, table[pivot], strict=True)]
