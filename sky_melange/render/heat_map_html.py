"""A plot as one HTML page without scripts or outside references."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from sky_melange.render.heat_map import Cell, HeatMap, Panel

_STYLE: Final = (
    "body{font:14px system-ui,sans-serif;margin:2em auto;max-width:80em;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.35em .6em;text-align:right;font-variant-numeric:"
    "tabular-nums;white-space:nowrap}th{font-weight:600}caption{text-align:left;font-weight:600;padding:.25em 0}"
)


def page(plot: HeatMap) -> str:
    """The page; the same bytes for the same plot."""
    name = _text(plot.title)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(_body(plot)) + "\n</body></html>\n"
    )


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
