"""Rich renderables to text of a given width, so that output in a file is the same everywhere."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

VerdictRow = tuple[str, str, bool, str]
"""Group, check, passed, detail."""

WIDTH: Final = 100
NO_BREAK: Final = "\u00a0"
"""A blank in a `Breakable` where no line ends; it is shown as a plain one."""

_WITHIN_NAMES: Final = ("/", "_:.,-")
"""Where names break, best first: `lambda/us-east-1/gpu_1x_b200_sxm6` after a slash sooner than after an underscore."""


def csv_text(names: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table for programs."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return stream.getvalue()


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


def to_text(*renderables: RenderableType, color: bool, width: int = WIDTH) -> str:
    """The text, without trailing blanks; `color` adds terminal codes."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=width,
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


def counted(count: int | str, what: str) -> str:
    """`2 × H100`, which a `Breakable` keeps together."""
    return f"{count}{NO_BREAK}×{NO_BREAK}{what}"


class Breakable:
    """Text of a cell with long names in it: lines end at blanks, else where a name has parts, else anywhere."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The text in lines that fit."""
        lines = (line for given in self._text.split("\n") for line in break_line(given, options.max_width))
        yield Text("\n".join(lines).replace(NO_BREAK, " "))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """As for any text."""
        return Measurement.get(console, options, Text(self._text))


def break_line(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters. A name that has to break starts on a line of its own.

    One without slashes does so only where that takes no more lines.
    """
    lines: list[str] = []
    for word in text.split(" "):
        parts = list(_parts(word, width))
        below = [*lines, *_packed("", parts, width)]
        beside = [*lines[:-1], *_packed(lines[-1] + " ", parts, width)] if lines else below
        fits = len(beside) == len(lines)
        lines = below if not fits and ("/" in word or len(below) <= len(beside)) else beside
    return lines


def verdict_table(rows: Iterable[VerdictRow], *, color: bool) -> str:
    """A table of checks, 100 columns."""
    table = new_table()
    table.add_column("Group", overflow="fold")
    table.add_column("Check")
    table.add_column("Holds")
    table.add_column("Detail", overflow="fold", ratio=1)
    for group, check, passed, detail in rows:
        style = "green" if passed else "bold red"
        table.add_row(group, check, Text("yes" if passed else "NO", style=style), detail)
    return to_text(table, color=color)


def _packed(start: str, parts: Sequence[str], width: int) -> list[str]:
    lines = [start]
    for part in parts:
        if len(lines[-1]) + len(part) <= width:
            lines[-1] += part
        else:
            lines.append(part)
    return lines


def _parts(word: str, width: int, within: tuple[str, ...] = _WITHIN_NAMES) -> Iterator[str]:
    """The word itself where it fits, else its parts."""
    if len(word) <= width:
        yield word
    elif within:
        for part in re.findall(f"[^{within[0]}]*[{within[0]}]|[^{within[0]}]+", word):
            yield from _parts(part, width, within[1:])
    else:
        yield from (word[start : start + width] for start in range(0, len(word), max(1, width)))
