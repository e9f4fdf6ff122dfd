"""For a pull request: one line of verdict, a table, details folded. A comment takes 65,536 characters."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.check import CheckReport, Verdict
from sky_melange.render.check_report import words
from sky_melange.render.markdown_text import escape, fenced, folded, table, within
from sky_melange.render.money import change, hourly
from sky_melange.render.unit_text import LOWER_BOUND_NOTE, at_least, unit_rows

MOST_CHARACTERS: Final = 60_000

_MARKS: Final = {Verdict.PASS: "✅ pass", Verdict.FAIL: "❌ fail", Verdict.SKIPPED: "➖ skipped"}


def render(report: CheckReport) -> str:
    """The text."""
    mark = "❌" if report.failed else "✅"
    lines = [f"{mark} **{escape(words.verdict_line(report))}**", ""]
    lines += table(
        ("Check", "Verdict", "Figure", "Limit"),
        ((check.name, _MARKS[check.verdict], words.figure(check), words.limit(check)) for check in report.checks),
        right=(2, 3),
    )
    for warning in report.warnings:
        lines += ["", f"⚠️ {escape(warning)}"]
    for check in report.checks:
        details = words.explanation(report, check)
        if details or check.verdict is Verdict.FAIL:
            language = "diff" if check.name == "files" else "text"
            lines += ["", *folded(f"{check.name}: {check.says}", fenced(details or [words.sentence(check)], language))]
    lines += ["", *folded("Prices and unit costs", _costs(report))]
    return within(lines, MOST_CHARACTERS)


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
