"""GitHub workflow annotations: one notice with the costs, the groups and inputs in the log."""

from __future__ import annotations

from sky_melange.domain.plan_diff import PlanDiff
from sky_melange.render.diff_report import words
from sky_melange.render.github_text import annotation, plain


def render(diff: PlanDiff) -> str:
    """Lines for the log of a workflow."""
    lines = [annotation("notice", "sky-melange diff", words.verdict_line(diff))]
    if not diff.is_empty:
        lines += [plain("  ".join(filter(None, row))) for row in words.group_rows(diff)]
        lines.append(plain(words.routing_line(diff)))
    lines += [plain(line) for line in words.input_lines(diff)]
    return "\n".join(lines) + "\n"
