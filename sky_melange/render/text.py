"""Rich renderables to text of a fixed width, so that output is the same on every terminal and in a file."""

from __future__ import annotations

import io
from typing import Final

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

WIDTH: Final = 100


def new_table(*, show_footer: bool = False, title: str | None = None, expand: bool = True) -> Table:
    """An empty table in the house style: a line under the head, two blanks between columns."""
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_footer=show_footer,
        footer_style="bold",
        title=title,
        title_justify="left",
        expand=expand,
    )


def to_text(*renderables: RenderableType, color: bool) -> str:
    """The text, 100 columns, without trailing blanks; `color` adds terminal codes."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=WIDTH,
        force_terminal=color,
        no_color=not color,
        highlight=False,
        legacy_windows=False,
        markup=False,
        emoji=False,
    )
    for renderable in renderables:
        console.print(renderable)
    return "".join(line.rstrip() + "\n" for line in stream.getvalue().splitlines())
