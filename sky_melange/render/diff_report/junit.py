"""JUnit XML: one test case that passes, with the differences as its output. A difference is no failure."""

from __future__ import annotations

from sky_melange.domain.plan_diff import PlanDiff
from sky_melange.render.diff_report import words
from sky_melange.render.xml_text import attribute, text


def render(diff: PlanDiff) -> str:
    """The XML text."""
    output = [words.verdict_line(diff)]
    if not diff.is_empty:
        output += ["  ".join(filter(None, row)) for row in words.group_rows(diff)]
        output += [words.routing_line(diff), *(words.route_line(item) for item in diff.routes)]
    output += words.input_lines(diff)
    counts = 'tests="1" failures="0" errors="0" skipped="0"'
    name = attribute(f"sky-melange diff {diff.new_name}")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<testsuites {counts}>\n"
        f"  <testsuite name={name} {counts}>\n"
        f'    <testcase name="diff" classname={attribute(f"sky-melange.{diff.new_name}")}>\n'
        f"      <system-out>{text(chr(10).join(output))}</system-out>\n"
        "    </testcase>\n"
        "  </testsuite>\n"
        "</testsuites>\n"
    )
