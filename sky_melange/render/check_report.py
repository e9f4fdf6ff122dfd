"""The report of `check` in every format."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Final

from rich.text import Text

from sky_melange.domain.check import Check, CheckReport, PriceChange, Verdict
from sky_melange.render import check_words as words
from sky_melange.render import diff_report, diff_words
from sky_melange.render.foreign_text import annotation, escape, fenced, folded, plain, within, xml_attribute, xml_text
from sky_melange.render.foreign_text import table as markdown_table
from sky_melange.render.money import LOWER_BOUND_NOTE, at_least, change, hourly, unit_line, unit_rows
from sky_melange.render.text import Breakable, counted, new_table, to_text

_SCHEMA_VERSION: Final = 1
_JSON_SIMULATED: Final = (
    *("attainment", "attainment_error", "refused_fraction", "requests", "arrivals", "seed"),
    *("ttft_s", "tpot_s", "percentiles", "thinned_to"),
)
_MOST_CHARACTERS: Final = 60_000
"""A comment takes 65,536."""
_MARKDOWN_MARKS: Final = {Verdict.PASS: "✅ pass", Verdict.FAIL: "❌ fail", Verdict.SKIPPED: "➖ skipped"}
_GITHUB_MOST_LINES: Final = 20
"""GitHub cuts annotations at 4 KiB."""


def render_table(report: CheckReport, *, color: bool = False) -> str:
    """For people at a terminal, 100 columns, without colour codes: the same text in a log."""
    table = new_table(expand=False)
    for name, justify in (("Check", "left"), ("Verdict", "left"), ("Figure", "right"), ("Limit", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    styles = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.SKIPPED: "dim"}
    for check in report.checks:
        verdict = Text(words.VERDICTS[check.verdict], style=styles[check.verdict])
        table.add_row(check.name, verdict, words.figure(check), words.limit(check))
    return to_text(
        Text(words.verdict_line(report), style="bold"),
        *(Text(line) for line in words.simulated_lines(report)),
        *_table_change(report),
        *_table_units(report),
        "",
        table,
        *_table_details(report),
        "",
        *_table_prices(report),
        color=color,
    )


def render_json(report: CheckReport) -> str:
    """For programs: every figure as it is, unrounded. Schema version 1, described in docs/check.md."""
    return json.dumps(document(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(report: CheckReport) -> dict[str, object]:
    """The same as plain JSON values."""
    return {
        "schema_version": _SCHEMA_VERSION,
        "plan": report.plan_name,
        "plan_file": report.plan_file,
        "verdict": "fail" if report.failed else "pass",
        "summary": words.verdict_line(report),
        "simulated": _json_simulated(report),
        "checks": [_json_check(report, check) for check in report.checks],
        "cost": {
            "planned": dataclasses.asdict(report.planned),
            "today": None if report.today is None else dataclasses.asdict(report.today),
        },
        "unit_costs": {
            "planned": dataclasses.asdict(report.planned_units),
            "today": None if report.today_units is None else dataclasses.asdict(report.today_units),
        },
        "prices": [_json_price(item) for item in report.price_changes],
        "change": None if report.change is None else diff_report.document(report.change),
        "price_ages": [dataclasses.asdict(age) for age in report.price_ages],
        "warnings": list(report.warnings),
    }


def render_markdown(report: CheckReport) -> str:
    """For a pull request: the change and why, the verdict, a table, the rest folded."""
    mark = "❌" if report.failed else "✅"
    lines = []
    if report.change is not None:
        lines += [f"{mark} **{escape(diff_words.headline(report.change))}.**", ""]
        lines += [] if report.change.is_empty else [f"Why: {escape(diff_words.reasons(report.change))}.", ""]
        rows = diff_words.changed_group_rows(report.change)
        lines += [*markdown_table(diff_words.GROUP_HEAD, rows, right=diff_words.NUMBERS), ""] if rows else []
        mark = ""
    lines += [f"{mark} **{escape(words.verdict_line(report))}**".lstrip(), ""]
    lines += [text for line in words.simulated_lines(report) for text in (escape(line), "")]
    lines += _markdown_checks(check for check in report.checks if check.verdict is not Verdict.SKIPPED)
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
        lines += ["", *folded(f"{len(skipped)} checks were skipped", [*_markdown_checks(skipped), "", *reasons])]
    lines += ["", *folded("Prices and unit costs", _markdown_costs(report))]
    return within(lines, _MOST_CHARACTERS)


def render_junit(report: CheckReport) -> str:
    """JUnit XML: one test case a check, as CI systems read it. No times: the same report gives the same bytes."""
    skipped = sum(check.verdict is Verdict.SKIPPED for check in report.checks)
    counts = f'tests="{len(report.checks)}" failures="{len(report.failed)}" errors="0" skipped="{skipped}"'
    name = xml_attribute(f"sky-melange check {report.plan_name}")
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {counts}>", f"  <testsuite name={name} {counts}>"]
    for check in report.checks:
        lines += _junit_case(report, check)
    output = [words.verdict_line(report), *words.simulated_lines(report)]
    output += [*(words.age_line(age) for age in report.price_ages), *report.warnings]
    lines.append(f"    <system-out>{xml_text(chr(10).join(output))}</system-out>")
    return "\n".join([*lines, "  </testsuite>", "</testsuites>"]) + "\n"


def render_github(report: CheckReport) -> str:
    """GitHub workflow annotations: an error for each check that failed, a warning for each warning, and the verdict."""
    lines = []
    for check in report.failed:
        details = words.explanation(report, check)
        more = [f"… and {len(details) - _GITHUB_MOST_LINES} more lines"] if len(details) > _GITHUB_MOST_LINES else []
        message = "\n".join([words.sentence(check), *details[:_GITHUB_MOST_LINES], *more])
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


def _table_change(report: CheckReport) -> list[Text]:
    if report.change is None:
        return []
    return [Text(f"{diff_words.headline(report.change)}."), Text(f"Why: {diff_words.reasons(report.change)}.")]


def _table_units(report: CheckReport) -> list[Text]:
    units = report.today_units
    if units is None:
        return []
    note = [Text(LOWER_BOUND_NOTE, style="dim")] if at_least(units) else []
    return [Text(unit_line(units)), *note]


def _table_details(report: CheckReport) -> list[Text]:
    """What failed and why, then why others were skipped."""
    lines: list[Text] = []
    for check in report.failed:
        lines += [Text(""), Text(f"{check.name} FAILED: {words.sentence(check)}", style="bold")]
        lines += [Text(f"  {line}", overflow="fold") for line in words.explanation(report, check)]
    skipped = [check for check in report.checks if check.verdict is Verdict.SKIPPED]
    lines += [Text("")] if skipped else []
    return lines + [Text(f"{check.name} skipped: {check.says}.", style="dim") for check in skipped]


def _table_prices(report: CheckReport) -> list[Text | str]:
    table = new_table(title="Prices, USD per hour", expand=False)
    for name, justify in (("Machine", "left"), ("Planned", "right"), ("Today", "right"), ("Change, all", "right")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for item in report.price_changes:
        moved = item.change_usd_per_hour
        table.add_row(
            Breakable(f"{counted(item.instances, item.cloud)} {item.machine}"),
            _table_price(item.planned_usd_per_hour),
            _table_price(item.today_usd_per_hour),
            "-" if moved is None else change(moved),
        )
    ages = [Text(f"Used {words.age_line(age)}.") for age in report.price_ages]
    return [table, "", *ages]  # type: ignore[list-item]


def _table_price(usd_per_hour: float | None) -> str:
    return "not known" if usd_per_hour is None else hourly(usd_per_hour)


def _json_simulated(report: CheckReport) -> dict[str, object] | None:
    if report.simulated is None:
        return None
    found = dataclasses.asdict(report.simulated)
    return {"says": words.simulated_lines(report)[0], **{name: found[name] for name in _JSON_SIMULATED}}


def _json_check(report: CheckReport, check: Check) -> dict[str, object]:
    return {
        "name": check.name,
        "verdict": check.verdict.value,
        "figure": check.figure,
        "limit": check.limit,
        "unit": check.unit.value,
        "figure_is_lower_bound": check.is_lower_bound,
        "says": check.says,
        "details": list(words.explanation(report, check)),
    }


def _json_price(item: PriceChange) -> dict[str, object]:
    return {**dataclasses.asdict(item), "change_usd_per_hour": item.change_usd_per_hour}


def _markdown_checks(checks: Iterable[Check]) -> list[str]:
    return markdown_table(
        ("Check", "Verdict", "Figure", "Limit"),
        ((check.name, _MARKDOWN_MARKS[check.verdict], words.figure(check), words.limit(check)) for check in checks),
        right=(2, 3),
    )


def _markdown_costs(report: CheckReport) -> list[str]:
    lines = markdown_table(
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
        lines += markdown_table(("USD", "Planned", "Today"), rows, right=(1, 2))
        lines += ["", LOWER_BOUND_NOTE] if at_least(units) else []
    return lines


def _junit_case(report: CheckReport, check: Check) -> list[str]:
    head = (
        f"    <testcase name={xml_attribute(check.name)} classname={xml_attribute(f'sky-melange.{report.plan_name}')}"
    )
    place = f" file={xml_attribute(report.plan_file)}"
    message = xml_attribute(words.sentence(check))
    if check.verdict is Verdict.PASS:
        return [f"{head}{place}/>"]
    if check.verdict is Verdict.SKIPPED:
        return [f"{head}{place}>", f"      <skipped message={message}/>", "    </testcase>"]
    body = xml_text("\n".join(words.explanation(report, check)))
    return [f"{head}{place}>", f'      <failure type="check" message={message}>{body}</failure>', "    </testcase>"]
