"""Checks with their outcome, for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from sky_melange.render.text import new_table, to_text

Row = tuple[str, str, bool, str]
"""Group, check, passed, detail."""


def render(rows: Iterable[Row], *, color: bool) -> str:
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
