"""GitHub workflow annotations: an error for each check that failed, a warning for each warning, and the verdict."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.check import CheckReport
from sky_melange.render.check_report import words
from sky_melange.render.diff_report import words as diff_words
from sky_melange.render.github_text import annotation, plain

_MOST_LINES: Final = 20
"""GitHub cuts annotations at 4 KiB."""


def render(report: CheckReport) -> str:
    """Lines for the log of a workflow."""
    lines = []
    for check in report.failed:
        details = words.explanation(report, check)
        more = [f"… and {len(details) - _MOST_LINES} more lines"] if len(details) > _MOST_LINES else []
        message = "\n".join([words.sentence(check), *details[:_MOST_LINES], *more])
        lines.append(annotation("error", f"sky-melange: {check.name}", message, report.plan_file))
    lines += [annotation("warning", "sky-melange", warning, report.plan_file) for warning in report.warnings]
    if report.change is not None:
        said = f"{diff_words.headline(report.change)}. Why: {diff_words.reasons(report.change)}."
        lines.append(annotation("notice", "sky-melange: change", said, report.plan_file))
    said_lines = [words.verdict_line(report), *words.simulated_lines(report)]
    if not report.failed:
        lines.append(annotation("notice", "sky-melange", " ".join(said_lines), report.plan_file))
    lines += [plain(line) for line in (*said_lines, *(words.age_line(age) for age in report.price_ages))]
    return "\n".join(lines) + "\n"
