"""Rich renderables to text of a fixed width, so that output is the same on every terminal and in a file."""

from __future__ import annotations

import io
from typing import Final

from rich.console import Console, RenderableType

WIDTH: Final = 100


def to_text(*renderables: RenderableType, color: bool) -> str:
    """The text, 100 columns, without trailing blanks; `color` adds terminal codes."""
    stream = io.StringIO()
    console = Console(
        file=stream, width=WIDTH, force_terminal=color, no_color=not color, highlight=False, legacy_windows=False
    )
    for renderable in renderables:
        console.print(renderable)
    return "".join(line.rstrip() + "\n" for line in stream.getvalue().splitlines())
