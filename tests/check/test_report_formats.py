"""Each check fails alone, in every format (golden files), and no format shows a figure in two ways."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
from check_cases import FAILING, PASSING, Situation

from sky_melange.domain.check import Verdict
from sky_melange.extensions import CHECK_FORMATS

ENDINGS = {"table": "txt", "json": "json", "markdown": "md", "junit": "xml", "github": "log"}
ALL = {**FAILING, **PASSING}


@pytest.mark.parametrize("name", FAILING)
def test_only_that_check_fails(name: str) -> None:
    assert [check.name for check in FAILING[name]().report().failed] == [name]


@pytest.mark.parametrize("name", PASSING)
def test_nothing_fails(name: str) -> None:
    assert PASSING[name]().report().failed == ()


def test_every_check_has_a_situation_in_which_it_fails() -> None:
    names = {check.name for make in ALL.values() for check in make().report().checks}
    assert names == set(FAILING)


def test_every_check_passes_somewhere() -> None:
    passed = {check.name for make in ALL.values() for check in make().report().checks if check.verdict is Verdict.PASS}
    assert passed == set(FAILING) - {"drift"}  # test_report.py


@pytest.mark.parametrize("kind", CHECK_FORMATS)
@pytest.mark.parametrize("name", ALL)
def test_golden(repository: Path, name: str, kind: str) -> None:
    text = CHECK_FORMATS[kind](ALL[name]().report())
    path = repository / "tests" / "golden" / "check" / f"{name}.{ENDINGS[kind]}"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text, encoding="utf-8", newline="\n")
    assert text == path.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over(repository: Path) -> None:
    expected = {f"{name}.{ending}" for name in ALL for ending in ENDINGS.values()}
    assert {path.name for path in (repository / "tests" / "golden" / "check").iterdir()} == expected


@pytest.mark.parametrize("name", ALL)
def test_the_table_fits_100_columns(name: str) -> None:
    lines = CHECK_FORMATS["table"](ALL[name]().report()).splitlines()
    assert [line for line in lines if len(line) > 100 or line != line.rstrip() or "\x1b" in line] == []


@pytest.mark.parametrize("name", ALL)
def test_a_standard_parser_reads_the_junit_file(name: str) -> None:
    report = ALL[name]().report()
    root = ET.fromstring(CHECK_FORMATS["junit"](report))  # noqa: S314 - our own text
    (suite,) = root.findall("testsuite")
    cases = {case.get("name"): case for case in suite.findall("testcase")}
    assert list(cases) == [check.name for check in report.checks]
    assert {name for name, case in cases.items() if case.find("failure") is not None} == {
        check.name for check in report.failed
    }
    for element in (root, suite):
        assert element.get("tests") == str(len(cases))
        assert element.get("failures") == str(len(report.failed))
        assert element.get("skipped") == str(len([c for c in cases.values() if c.find("skipped") is not None]))


def test_json_figures_are_not_rounded() -> None:
    document = json.loads(CHECK_FORMATS["json"](FAILING["budget-total"]().report()))
    total = next(check for check in document["checks"] if check["name"] == "budget-total")
    assert total["figure"] == document["cost"]["today"]["total_usd_per_hour"]
    assert total["figure"] == pytest.approx(4 * 0.8048 + 4.29 + 0.17, abs=1e-12)
    assert document["verdict"] == "fail"


def test_a_rise_is_named_with_its_amount_in_every_format() -> None:
    report = FAILING["budget-total"]().report()
    for kind, render in CHECK_FORMATS.items():
        text = " ".join(render(report).replace("\\", "").split())
        assert "lambda gpu_1x_h100_pcie (1 × H100) in us-west-1 rose from 2.9900 to 4.2900 USD/h" in text, kind
        assert "+1.3000 USD/h" in text, kind


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in ALL.items()])
def test_no_figure_is_shown_in_two_ways(make: Callable[[], Situation]) -> None:
    """Every rounded figure of a text format is that of `words`, so the same number is one string everywhere."""
    from sky_melange.render import check_words as words

    report = make().report()
    for check in report.checks:
        if check.figure is None:
            continue
        for kind in ("table", "markdown"):
            assert words.figure(check).split()[-1] in CHECK_FORMATS[kind](report), (kind, check.name)


def test_the_comment_begins_with_the_change_against_the_base() -> None:
    lines = CHECK_FORMATS["markdown"](PASSING["changed"]().report()).splitlines()
    before, after = 2 * 0.7 + 1.006 + 0.17, 4 * 0.8048 + 2.99 + 0.17
    change = after - before
    assert lines[0].startswith(
        f"✅ **chat: +{change:.4f} USD per hour, +{change * 730:,.2f} per month (+{change / before:.1%}): "
    )
    assert lines[2] == (
        "Why: by price +0.2096 USD/h; by count +3.5936 USD/h; traffic.request\\_rate: 4 req/s → 8 req/s; "
        "other keys of the workload: slo.tpot\\_s."
    )
    table = [line for line in lines if line.startswith(("| added", "| removed", "| resized", "| kept"))]
    assert [line.split(" | ")[0].strip("| ") for line in table] == ["resized", "added", "removed"]
    assert "A10G" in table[2]


def test_skipped_checks_are_folded() -> None:
    report = PASSING["nothing-asked"]().report()
    skipped = [check.name for check in report.checks if check.verdict is Verdict.SKIPPED]
    head, _, folded = CHECK_FORMATS["markdown"](report).partition(
        f"<details><summary>{len(skipped)} checks were skipped</summary>"
    )
    assert "skipped |" not in head
    assert all(f"| {name} | ➖ skipped |" in folded for name in skipped)


def test_no_line_of_a_comment_is_a_quick_action_of_gitlab() -> None:
    """`/merge` at the beginning of a line of a note is a command there, but not in a code block."""
    for make in ALL.values():
        text = CHECK_FORMATS["markdown"](make().report())
        assert [line for line in text.splitlines() if line.lstrip().startswith("/")] == []


class TestHostileText:
    """Names and files may come from anyone's pull request."""

    def test_a_file_cannot_break_out_of_markdown_or_xml(self) -> None:
        name = next(iter(Situation().document().plan.groups)).file
        evil = "```\n</details> @org/team [x](http://x) | <script>\n]]>\x00\x1b[31m\n::error::pwned\n" * 3
        report = Situation(edits={name: evil}).report()
        markdown = CHECK_FORMATS["markdown"](report)
        fence = "````"
        block = markdown.split(f"{fence}diff\n")[1].split(f"\n{fence}\n")[0]
        assert "</details> @org/team" in block
        assert markdown.count("<details>") == markdown.replace(block, "").count("</details>")
        ET.fromstring(CHECK_FORMATS["junit"](report))  # noqa: S314 - our own text
        lines = CHECK_FORMATS["github"](report).splitlines()
        assert [line for line in lines if line.strip().startswith("::error::")] == []

    def test_a_huge_edit_gives_a_comment_that_github_takes(self) -> None:
        name = next(iter(Situation().document().plan.groups)).file
        report = Situation(edits={name: "\n".join("x" * 2000 for _ in range(200))}).report()
        markdown = CHECK_FORMATS["markdown"](report)
        assert len(markdown) <= 60_000
        assert "files" in markdown
        assert "too long for a comment" in markdown
