"""What a plot of a profile shows, before it is HTML or PNG: panels of coloured cells."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.comparison import Better, Comparison, PricedGrid
from sky_melange.domain.profile import Profile, RateGrid, Skipped
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError
from sky_melange.render.profile_table import SYMBOLS, label, origin, targets, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_DOTS_PER_INCH: Final = 120
_CELL_INCHES: Final = (0.95, 0.42)
_MARGIN_INCHES: Final = (1.6, 1.1)
_NOTE_INCHES: Final = 0.15

_STYLE: Final = (
    "body{font:14px system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.35em .6em;text-align:right;font-variant-numeric:"
    "tabular-nums;white-space:nowrap}th{font-weight:600}caption{text-align:left;font-weight:600;padding:.25em 0}"
)

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


def page(plot: HeatMap) -> str:
    """The page; the same bytes for the same plot."""
    name = _text(plot.title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(_body(plot)) + "\n</body></html>\n"
    )


def require_matplotlib() -> None:
    """Raises InputError with what to do when matplotlib is not installed: before work is done, not after."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        message = "a PNG needs matplotlib: pip install matplotlib; or name a .html file, which needs nothing"
        raise InputError(message) from None


def png(plot: HeatMap) -> bytes:
    """The picture. The same plot and matplotlib give the same bytes."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(len(panel.output_tokens) for panel in plot.panels)
    width = max(8.0, columns * _CELL_INCHES[0] + _MARGIN_INCHES[0])
    per_line = round(width * 15)
    notes = [line for note in plot.notes for line in textwrap.wrap(_plain(note), per_line)]
    heights = [len(panel.input_tokens) * _CELL_INCHES[1] + _MARGIN_INCHES[1] for panel in plot.panels]
    footer = _NOTE_INCHES * (len(notes) + 1)
    figure = Figure(figsize=(width, sum(heights) + footer + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    layout: Any = figure.get_layout_engine()
    layout.set(rect=(0, footer / figure.get_figheight(), 1, 1 - footer / figure.get_figheight()))
    axes = figure.subplots(len(plot.panels), 1, squeeze=False, height_ratios=heights)
    for place, panel in zip(axes[:, 0], plot.panels, strict=True):
        _draw(place, panel)
    figure.suptitle("\n".join(textwrap.wrap(_plain(plot.title), round(width * 10))), fontsize=11, parse_math=False)
    figure.text(0.01, 0.005, "\n".join(notes), fontsize=8, va="bottom", parse_math=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    return stream.getvalue()


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


def _body(plot: HeatMap) -> Iterator[str]:
    yield f"<h1>{_text(plot.title)}</h1>"
    yield from (_table(panel) for panel in plot.panels)
    yield "<p>Rows: input tokens. Columns: output tokens. Point at a cell for its figure or reason.</p>"
    yield from (f"<p>{_text(note)}</p>" for note in plot.notes)


def _table(panel: Panel) -> str:
    head = "".join(f"<th>{tokens}</th>" for tokens in panel.output_tokens)
    rows = (
        f"<tr><th>{tokens}</th>{''.join(_cell(cell) for cell in row)}</tr>"
        for tokens, row in zip(panel.input_tokens, panel.cells, strict=True)
    )
    top = f"<table><caption>{_text(panel.title)}</caption>\n<tr><th></th>{head}</tr>\n"
    return top + "\n".join(rows) + "\n</table>"


def _cell(cell: Cell) -> str:
    red, green, blue = cell.rgb
    color = ";color:#fff" if cell.is_dark else ""
    style = f"background:#{red:02x}{green:02x}{blue:02x}{color}"
    return f'<td style="{style}" title="{_text(cell.detail)}">{_text(cell.text)}</td>'


def _text(value: str) -> str:
    """Escaped; control characters and lone surrogates, which no page may hold, come as U+FFFD."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in value)
    return escape(shown)


def _draw(axes: Axes, panel: Panel) -> None:
    image: list[list[tuple[int, int, int]]] = [[cell.rgb for cell in row] for row in panel.cells]
    axes.imshow(image, aspect="auto")
    axes.set_title(_plain(panel.title), fontsize=10, loc="left", parse_math=False)
    axes.set_xticks(range(len(panel.output_tokens)), [str(tokens) for tokens in panel.output_tokens], fontsize=8)
    axes.set_yticks(range(len(panel.input_tokens)), [str(tokens) for tokens in panel.input_tokens], fontsize=8)
    axes.set_xlabel("output tokens", fontsize=8)
    axes.set_ylabel("input tokens", fontsize=8)
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "parse_math": False}
    for row, cells in enumerate(panel.cells):
        for column, cell in enumerate(cells):
            axes.text(column, row, _plain(cell.text), color="white" if cell.is_dark else "black", **style)


def _plain(text: str) -> str:
    """Without characters that cannot be drawn."""
    return "".join(c if c.isprintable() else " " for c in text)
