"""A fleet as Markdown: what its table says, and each plan folded."""

from __future__ import annotations

from collections.abc import Sequence

from sky_melange.domain.fleet import FleetPlan
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.render import fleet_table as words
from sky_melange.render import plan_markdown
from sky_melange.render.markdown_text import escape, folded, table, within
from sky_melange.render.plan_answer import attained


def render(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> str:
    """The text; `plans` in the order of the members."""
    lines = [f"**{escape(words.headline(fleet))}**", "", f"{escape(words.proof(fleet, plans))}.", ""]
    rows = ([cell.replace("\n", " · ") for cell in row] for row in words.member_rows(fleet, plans))
    lines += [*table(words.MEMBER_HEAD, rows, right=words.MEMBER_NUMBERS), ""]
    if fleet.shared or fleet.places:
        lines += [*table(words.SHARED_HEAD, words.shared_rows(fleet), right=words.SHARED_NUMBERS), ""]
    said = (*words.sentences(fleet), *(f"{plan.name}: {attained(plan, workload.slo)}" for plan, workload in plans))
    lines += [text for sentence in said for text in (escape(sentence), "")]
    lines += [text for warning in fleet.warnings for text in (f"⚠️ {escape(warning)}", "")]
    for plan, workload in plans:
        lines += folded(escape(plan.name), plan_markdown.render(plan, workload).splitlines())
    return within(lines, plan_markdown.MOST_CHARACTERS)
