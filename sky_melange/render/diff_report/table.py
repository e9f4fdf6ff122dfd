"""For people at a terminal, 100 columns."""

from __future__ import annotations

from typing import Final

from rich.table import Table
from rich.text import Text

from sky_melange.domain.plan_diff import PlanDiff
from sky_melange.render.diff_report import words
from sky_melange.render.text import Breakable, new_table, to_text
from sky_melange.render.unit_text import unit_line

_MOST_ROUTES: Final = 10


def render(diff: PlanDiff, *, color: bool = False) -> str:
    """The text."""
    head = Text(words.verdict_line(diff), style="bold")
    inputs = [Text(line) for line in words.input_lines(diff)]
    if diff.is_empty:
        return to_text(head, *inputs, color=color)
    routes = [Text(f"  {words.route_line(item)}") for item in diff.routes[:_MOST_ROUTES]]
    more = len(diff.routes) - len(routes)
    return to_text(
        head,
        Text(f"Before: {unit_line(diff.old_units)}"),
        Text(f"After:  {unit_line(diff.new_units)}"),
        "",
        _groups(diff),
        "",
        _costs(diff),
        "",
        Text(words.routing_line(diff)),
        *routes,
        *([Text(f"  … and {more} more (--format json lists all)")] if more > 0 else []),
        *([Text("")] if inputs else []),
        *inputs,
        color=color,
    )


def _groups(diff: PlanDiff) -> Table:
    table = new_table()
    for index, name in enumerate(words.GROUP_HEAD):
        folded = name in {"Group", "Machine"}
        table.add_column(
            name,
            justify="right" if index in words.NUMBERS else "left",
            overflow="fold",
            ratio=(2 if name == "Machine" else 1) if folded else None,
        )
    for row in words.group_rows(diff):
        table.add_row(*(Breakable(cell.replace(" → ", "\n→ ")) for cell in row))
    return table


def _costs(diff: PlanDiff) -> Table:
    table = new_table(expand=False)
    table.add_column("Change")
    table.add_column("USD/h", justify="right")
    table.add_column("USD/month", justify="right")
    for row in words.cost_rows(diff):
        table.add_row(*row)
    return table
