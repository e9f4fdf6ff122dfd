"""A plan as Markdown, for a pull request or a wiki: what the table says, and the warnings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sky_melange.domain.plan import Plan
from sky_melange.domain.unit_costs import unit_costs
from sky_melange.domain.workload import Workload
from sky_melange.render import explain_table
from sky_melange.render import plan_answer as answer
from sky_melange.render import plan_table as words
from sky_melange.render.foreign_text import escape, fenced, folded, table, within
from sky_melange.render.money import unit_line
from sky_melange.render.plan_sentences import (
    SCENARIO_HEAD,
    SCENARIO_NUMBERS,
    commitment_sentences,
    missing_sentences,
    plan_sentences,
    scenario_rows,
    simulated_sentences,
)
from sky_melange.render.schedule_text import PERIOD_HEAD, PERIOD_NUMBERS, as_run, period_rows, period_title, picture
from sky_melange.render.text import NO_BREAK

MOST_CHARACTERS: Final = 60_000
"""A comment takes 65,536."""


def render(plan: Plan, workload: Workload) -> str:
    """The text; what nobody acts on is folded."""
    lines = [f"**{escape(sentence)}**  " for sentence in missing_sentences(plan)]
    lines += [f"**{escape(answer.headline(plan))}**", ""]
    sentences = (
        answer.lead(plan, workload),
        answer.verdict(plan, workload),
        answer.attained(plan, workload.slo),
        *plan_sentences(plan, workload),
    )
    lines += [text for sentence in sentences for text in (escape(sentence), "")]
    lines += [*table(answer.HEAD, map(_plain, answer.group_rows(plan)), right=answer.NUMBERS), ""]
    doubts = answer.warnings(plan)
    lines += [text for doubt in doubts[: answer.MOST_WARNINGS] for text in (f"⚠️ {escape(doubt)}", "")]
    if len(doubts) > answer.MOST_WARNINGS:
        lines += [answer.more_warnings(len(doubts) - answer.MOST_WARNINGS, "below"), ""]
    rows = [
        [" · ".join(_plain(cell.splitlines())) for cell in row]
        for row in (*words.group_rows(plan), words.total_row(plan))
    ]
    units = unit_line(unit_costs(plan.mean_usd_per_hour, workload.traffic))
    said = [f"- {escape(sentence)}" for sentence in (units, *simulated_sentences(plan))]
    lines += [*folded("Groups", [*table(words.GROUP_HEAD, rows, right=words.GROUP_NUMBERS), "", *said]), ""]
    if plan.warnings:
        lines += [
            *folded(f"Warnings ({len(plan.warnings)})", [f"- {escape(warning)}" for warning in plan.warnings]),
            "",
        ]
    if plan.explanation is not None:
        lines += [*folded("Why", fenced(explain_table.render(plan.explanation, color=False).splitlines())), ""]
    schedule = as_run(plan, workload)
    if schedule is not None:
        rows = [list(row) for row in period_rows(plan, schedule)]
        lines += [f"{period_title(schedule)}:", "", *table(PERIOD_HEAD, rows, right=PERIOD_NUMBERS), ""]
        lines += [*fenced(list(picture(schedule))), ""]
    lines += [text for sentence in commitment_sentences(plan) for text in (escape(sentence), "")]
    if plan.commitments is not None:
        lines += [*table(SCENARIO_HEAD, map(list, scenario_rows(plan)), right=SCENARIO_NUMBERS), ""]
    types = table(words.TYPE_HEAD, words.type_rows(plan), right=words.TYPE_NUMBERS)
    lines += [*folded(words.types_title(plan), types), ""]
    lines += folded("Taken for granted", [f"- {escape(assumption)}" for assumption in plan.assumptions])
    return within(lines, MOST_CHARACTERS)


def _plain(cells: Iterable[str]) -> list[str]:
    return [cell.replace(NO_BREAK, " ") for cell in cells]
