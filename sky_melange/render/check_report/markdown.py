"""For a pull request: the change and why, the verdict, a table, the rest folded. A comment takes 65,536 characters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sky_melange.domain.check import Check, CheckReport, Verdict
from sky_melange.render.check_report import words
from sky_melange.render.diff_report import words as diff_words
from sky_melange.render.markdown_text import escape, fenced, folded, table, within
from sky_melange.render.money import change, hourly
from sky_melange.render.unit_text import LOWER_BOUND_NOTE, at_least, unit_rows

MOST_CHARACTERS: Final = 60_000

_MARKS: Final = {Verdict.PASS: "✅ pass", Verdict.FAIL: "❌ fail", Verdict.SKIPPED: "➖ skipped"}


def render(report: CheckReport) -> str:
    """The text: GitHub's comment and step summary, and GitLab's note."""
    mark = "❌" if report.failed else "✅"
    lines = []
    if report.change is not None:
        lines += [f"{mark} **{escape(diff_words.headline(report.change))}.**", ""]
        lines += [] if report.change.is_empty else [f"Why: {escape(diff_words.reasons(report.change))}.", ""]
        rows = diff_words.changed_group_rows(report.change)
        lines += [*table(diff_words.GROUP_HEAD, rows, right=diff_words.NUMBERS), ""] if rows else []
        mark = ""
    lines += [f"{mark} **{escape(words.verdict_line(report))}**".lstrip(), ""]
    lines += [text for line in words.simulated_lines(report) for text in (escape(line), "")]
    lines += _table(check for check in report.checks if check.verdict is not Verdict.SKIPPED)
    for warning in report.warnings:
        lines += ["", f"⚠️ {escape(warning)}"]
    for check in report.checks:
        details = words.explanation(report, check)
        if details or check.verdict is Verdict.FAIL:
            language = "diff" if check.name == "files" else "text"
            lines += ["", *folded(f"{check.name}: {check.says}", fenced(details or [words.sentence(check)], language))]
    skipped = [check for check in report.checks if check.verdict is Verdict.SKIPPED]
    if skipped:
        reasons = (f"- {escape(check.name)}: {escape(check.says)}" for check in skipped)
        lines += ["", *folded(f"{len(skipped)} checks were skipped", [*_table(skipped), "", *reasons])]
    lines += ["", *folded("Prices and unit costs", _costs(report))]
    return within(lines, MOST_CHARACTERS)


def _table(checks: Iterable[Check]) -> list[str]:
    return table(
        ("Check", "Verdict", "Figure", "Limit"),
        ((check.name, _MARKS[check.verdict], words.figure(check), words.limit(check)) for check in checks),
        right=(2, 3),
    )


def _costs(report: CheckReport) -> list[str]:
    lines = table(
        ("Machine", "Planned USD/h", "Today USD/h", "Change, all"),
        (
            (
                f"{item.instances} × {item.cloud} {item.machine}",
                "not known" if item.planned_usd_per_hour is None else hourly(item.planned_usd_per_hour),
                "not known" if item.today_usd_per_hour is None else hourly(item.today_usd_per_hour),
                "-" if item.change_usd_per_hour is None else change(item.change_usd_per_hour),
            )
            for item in report.price_changes
        ),
        right=(1, 2, 3),
    )
    lines += ["", *(f"- Used {escape(words.age_line(age))}" for age in report.price_ages), ""]
    units = report.today_units
    if units is not None:
        planned = dict(unit_rows(report.planned_units))
        rows = ((name, planned[name], today) for name, today in unit_rows(units))
        lines += table(("USD", "Planned", "Today"), rows, right=(1, 2))
        lines += ["", LOWER_BOUND_NOTE] if at_least(units) else []
    return lines
