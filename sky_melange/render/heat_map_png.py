"""A plot as a PNG, by matplotlib (extra `plot`), the only module that imports it."""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any, Final

from sky_melange.errors import InputError
from sky_melange.render.heat_map import HeatMap, Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DOTS_PER_INCH: Final = 120
_CELL_INCHES: Final = (0.95, 0.42)
_MARGIN_INCHES: Final = (1.6, 1.1)
_NOTE_INCHES: Final = 0.15


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
