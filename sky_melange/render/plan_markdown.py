"""A plan as Markdown, for a pull request or a wiki: what the table says, and the warnings."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.render import explain_table
from sky_melange.render import plan_table as words
from sky_melange.render.markdown_text import escape, fenced, folded, table, within
from sky_melange.render.plan_sentences import missing_sentences
from sky_melange.render.schedule_text import PERIOD_HEAD, PERIOD_NUMBERS, period_rows, picture

MOST_CHARACTERS: Final = 60_000
"""A comment takes 65,536."""


def render(plan: Plan, workload: Workload) -> str:
    """The text; what nobody acts on is folded."""
    lines = [f"**{escape(sentence)}**  " for sentence in missing_sentences(plan)]
    lines += [f"**{escape(words.headline(plan, workload))}**", ""]
    lines += [text for sentence in words.answer(plan, workload) for text in (escape(sentence), "")]
    rows = [[" · ".join(cell.splitlines()) for cell in row] for row in (*words.group_rows(plan), words.total_row(plan))]
    lines += [*table(words.GROUP_HEAD, rows, right=words.GROUP_NUMBERS), ""]
    lines += [text for warning in plan.warnings for text in (f"⚠️ {escape(warning)}", "")]
    if plan.explanation is not None:
        lines += [*folded("Why", fenced(explain_table.render(plan.explanation, color=False).splitlines())), ""]
    if plan.schedule is not None:
        rows = [list(row) for row in period_rows(plan, plan.schedule)]
        lines += [*table(PERIOD_HEAD, rows, right=PERIOD_NUMBERS), ""]
        lines += [*fenced(list(picture(plan.schedule))), ""]
    types = table(words.TYPE_HEAD, words.type_rows(plan), right=words.TYPE_NUMBERS)
    lines += [*folded(words.types_title(plan), types), ""]
    lines += folded("Taken for granted", [f"- {escape(assumption)}" for assumption in plan.assumptions])
    return within(lines, MOST_CHARACTERS)
