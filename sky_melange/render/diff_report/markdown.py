"""For a pull request: one line, the groups, details folded."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.plan_diff import PlanDiff
from sky_melange.render.diff_report import words
from sky_melange.render.markdown_text import escape, fenced, folded, table, within
from sky_melange.render.unit_text import LOWER_BOUND_NOTE, at_least, unit_rows

MOST_CHARACTERS: Final = 60_000


def render(diff: PlanDiff) -> str:
    """The text."""
    lines = [f"**{escape(words.verdict_line(diff))}**"]
    inputs = words.input_lines(diff)
    if not diff.is_empty:
        lines += ["", *table(words.GROUP_HEAD, words.group_rows(diff), right=words.NUMBERS)]
        lines += ["", *folded("Costs", _costs(diff))]
        lines += ["", escape(words.routing_line(diff))]
        if diff.routes:
            lines += ["", *folded("Routing by bucket", fenced(words.route_line(item) for item in diff.routes))]
    if inputs:
        lines += ["", *folded("What it was made from", fenced(inputs))]
    return within(lines, MOST_CHARACTERS)


def _costs(diff: PlanDiff) -> list[str]:
    lines = table(("Change", "USD/h", "USD/month"), words.cost_rows(diff), right=(1, 2))
    before = dict(unit_rows(diff.old_units))
    rows = ((name, before[name], after) for name, after in unit_rows(diff.new_units))
    lines += ["", *table(("USD", "Before", "After"), rows, right=(1, 2))]
    bounds = at_least(diff.old_units) or at_least(diff.new_units)
    return [*lines, "", LOWER_BOUND_NOTE] if bounds else lines
