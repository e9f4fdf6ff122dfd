"""JUnit XML: one test case a check, as CI systems read it. No times: the same report gives the same bytes."""

from __future__ import annotations

from sky_melange.domain.check import Check, CheckReport, Verdict
from sky_melange.render.check_report import words
from sky_melange.render.xml_text import attribute, text


def render(report: CheckReport) -> str:
    """The XML text."""
    skipped = sum(check.verdict is Verdict.SKIPPED for check in report.checks)
    counts = f'tests="{len(report.checks)}" failures="{len(report.failed)}" errors="0" skipped="{skipped}"'
    name = attribute(f"sky-melange check {report.plan_name}")
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f"<testsuites {counts}>", f"  <testsuite name={name} {counts}>"]
    for check in report.checks:
        lines += _case(report, check)
    output = [words.verdict_line(report), *words.simulated_lines(report)]
    output += [*(words.age_line(age) for age in report.price_ages), *report.warnings]
    lines.append(f"    <system-out>{text(chr(10).join(output))}</system-out>")
    return "\n".join([*lines, "  </testsuite>", "</testsuites>"]) + "\n"


def _case(report: CheckReport, check: Check) -> list[str]:
    head = f"    <testcase name={attribute(check.name)} classname={attribute(f'sky-melange.{report.plan_name}')}"
    place = f" file={attribute(report.plan_file)}"
    message = attribute(words.sentence(check))
    if check.verdict is Verdict.PASS:
        return [f"{head}{place}/>"]
    if check.verdict is Verdict.SKIPPED:
        return [f"{head}{place}>", f"      <skipped message={message}/>", "    </testcase>"]
    body = text("\n".join(words.explanation(report, check)))
    return [f"{head}{place}>", f'      <failure type="check" message={message}>{body}</failure>', "    </testcase>"]
