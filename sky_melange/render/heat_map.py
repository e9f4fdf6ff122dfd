"""What a plot of a profile shows, before it is HTML or PNG: panels of coloured cells."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.comparison import Better, Comparison, PricedGrid
from sky_melange.domain.profile import Profile, RateGrid, Skipped
from sky_melange.domain.workload import Slo
from sky_melange.render.profile_table import SYMBOLS, label, origin, targets, title

FIRST_RGB: Final = (20, 80, 160)
SECOND_RGB: Final = (200, 90, 20)
_FULL_ADVANTAGE: Final = math.log(3)
"""An advantage of three times has the full colour."""

_LEAST: Final = 0.08
_GREY: Final = (240, 240, 240)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One request size: short text, background (red, green, blue in 0..255), and a sentence that explains it."""

    text: str
    rgb: tuple[int, int, int]
    detail: str

    @property
    def is_dark(self) -> bool:
        """Whether text on it must be white (relative luminance, ITU-R BT.709 weights)."""
        red, green, blue = self.rgb
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """`cells[input size][output size]`; sizes in tokens."""

    title: str
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    cells: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """A whole plot: a title, what it rests on, and panels."""

    title: str
    notes: tuple[str, ...]
    panels: tuple[Panel, ...]


def rate_map(profile: Profile, slo: Slo, grid: RateGrid) -> HeatMap:
    """The largest request rates of one replica."""
    values = tuple(
        tuple(cell if isinstance(cell, Skipped) else cell.request_rate_rps for cell in row) for row in grid.cells
    )
    panel = _values(f"Requests/s of one replica within {targets(slo)}", grid, values, FIRST_RGB, _range([values]))
    return HeatMap(title=title(profile), notes=(origin(profile),), panels=(panel,))


def comparison_map(comparison: Comparison) -> HeatMap:
    """Which of two accelerators gives more requests per dollar, and how many each gives."""
    sides = ((comparison.first, FIRST_RGB), (comparison.second, SECOND_RGB))
    tables = [_per_usd(side) for side, _ in sides]
    bounds = _range(tables)
    panels = [
        _values(f"{label(side.profile)}: requests per USD", side.grid, table, rgb, bounds)
        for (side, rgb), table in zip(sides, tables, strict=True)
    ]
    first, second = (label(side.profile) for side, _ in sides)
    return HeatMap(
        title=f"{comparison.first.profile.key.model}: {first} against {second} within {targets(comparison.slo)}",
        notes=tuple(f"{title(side.profile)}. {price_text(side)}. {origin(side.profile)}" for side, _ in sides),
        panels=(_better(comparison), *panels),
    )


def price_text(side: PricedGrid) -> str:
    """`USD 0.8048 per hour and replica (aws/us-east-1/g6.xlarge, prices of 2026-05-07)`."""
    offer = side.price.offer
    dated = offer.provenance.data_date[:10] or "unknown date"
    return f"USD {side.price.usd_per_hour:.4f} per hour and replica ({offer.name}, price of {dated})"


def amount(value: float) -> str:
    """Three figures at least, never an exponent: `437,806`, `12.1`."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _per_usd(side: PricedGrid) -> tuple[tuple[float | Skipped, ...], ...]:
    rows, columns = range(len(side.grid.input_tokens)), range(len(side.grid.output_tokens))
    return tuple(tuple(side.requests_per_usd(i, j) for j in columns) for i in rows)


_Table = tuple[tuple[float | Skipped, ...], ...]


def _range(tables: Iterable[_Table]) -> tuple[float, float]:
    """Least and largest value; (1, 1) where there is none to colour."""
    found = [value for table in tables for row in table for value in row if not isinstance(value, Skipped)]
    return (min(found), max(found)) if found else (1.0, 1.0)


def _values(name: str, grid: RateGrid, values: _Table, rgb: tuple[int, int, int], bounds: tuple[float, float]) -> Panel:
    """Colour grows with the logarithm of the value, since sizes differ by powers of ten."""

    def cell(value: float | Skipped) -> Cell:
        if isinstance(value, Skipped):
            return _blank(value)
        low, high = bounds
        share = 1.0 if high == low else math.log(value / low) / math.log(high / low)
        return Cell(text=amount(value), rgb=_tint(rgb, _LEAST + (1 - _LEAST) * share), detail=f"{value:.6g}")

    return Panel(
        title=name,
        input_tokens=grid.input_tokens,
        output_tokens=grid.output_tokens,
        cells=tuple(tuple(cell(value) for value in row) for row in values),
    )


def _better(comparison: Comparison) -> Panel:
    grid = comparison.first.grid
    rows, columns = range(len(grid.input_tokens)), range(len(grid.output_tokens))
    return Panel(
        title="More requests per USD: which, and how many times as many",
        input_tokens=grid.input_tokens,
        output_tokens=grid.output_tokens,
        cells=tuple(tuple(_better_cell(comparison, i, j) for j in columns) for i in rows),
    )


def _better_cell(comparison: Comparison, row: int, column: int) -> Cell:
    sides = {Better.FIRST: (comparison.first, FIRST_RGB), Better.SECOND: (comparison.second, SECOND_RGB)}
    better, advantage = comparison.better(row, column), comparison.advantage(row, column)
    if better not in sides:
        return Cell(text=better.value, rgb=_GREY, detail=_reasons(comparison, row, column))
    side, rgb = sides[better]
    name = label(side.profile)
    if advantage is None:
        return Cell(text=f"only {name}", rgb=rgb, detail=_reasons(comparison, row, column))
    times = math.exp(abs(advantage))
    strength = min(1.0, _LEAST + abs(advantage) / _FULL_ADVANTAGE)
    return Cell(text=f"{name} {times:.2f}×", rgb=_tint(rgb, strength), detail=f"{name}: {times:.4g} times as many")


def _reasons(comparison: Comparison, row: int, column: int) -> str:
    """Why a side does not serve a size, for each that does not."""
    sides = (comparison.first, comparison.second)
    cells = [(label(side.profile), side.grid.cells[row][column]) for side in sides]
    return "; ".join(f"{name}: {cell.detail}" for name, cell in cells if isinstance(cell, Skipped))


def _blank(skipped: Skipped) -> Cell:
    return Cell(text=SYMBOLS[skipped.reason.value], rgb=_GREY, detail=skipped.detail)


def _tint(rgb: tuple[int, int, int], strength: float) -> tuple[int, int, int]:
    """White at strength 0, the colour itself at 1."""
    red, green, blue = (round(255 + (part - 255) * strength) for part in rgb)
    return red, green, blue
