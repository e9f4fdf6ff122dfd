"""For people at a terminal, 100 columns, without colour codes: the same text in a log."""

from __future__ import annotations

from rich.text import Text

from sky_melange.domain.check import CheckReport, Verdict
from sky_melange.render.check_report import words
from sky_melange.render.diff_report import words as diff_words
from sky_melange.render.money import change, hourly
from sky_melange.render.text import Breakable, counted, new_table, to_text
from sky_melange.render.unit_text import LOWER_BOUND_NOTE, at_least, unit_line


def render(report: CheckReport, *, color: bool = False) -> str:
    """The text."""
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
        *_change(report),
        *_units(report),
        "",
        table,
        *_details(report),
        "",
        *_prices(report),
        color=color,
    )


def _change(report: CheckReport) -> list[Text]:
    if report.change is None:
        return []
    return [Text(f"{diff_words.headline(report.change)}."), Text(f"Why: {diff_words.reasons(report.change)}.")]


def _units(report: CheckReport) -> list[Text]:
    units = report.today_units
    if units is None:
        return []
    note = [Text(LOWER_BOUND_NOTE, style="dim")] if at_least(units) else []
    return [Text(unit_line(units)), *note]


def _details(report: CheckReport) -> list[Text]:
    """What failed and why, then why others were skipped."""
    lines: list[Text] = []
    for check in report.failed:
        lines += [Text(""), Text(f"{check.name} FAILED: {words.sentence(check)}", style="bold")]
        lines += [Text(f"  {line}", overflow="fold") for line in words.explanation(report, check)]
    skipped = [check for check in report.checks if check.verdict is Verdict.SKIPPED]
    lines += [Text("")] if skipped else []
    return lines + [Text(f"{check.name} skipped: {check.says}.", style="dim") for check in skipped]


def _prices(report: CheckReport) -> list[Text | str]:
    table = new_table(title="Prices, USD per hour", expand=False)
    for name, justify in (("Machine", "left"), ("Planned", "right"), ("Today", "right"), ("Change, all", "right")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for item in report.price_changes:
        moved = item.change_usd_per_hour
        table.add_row(
            Breakable(f"{counted(item.instances, item.cloud)} {item.machine}"),
            _price(item.planned_usd_per_hour),
            _price(item.today_usd_per_hour),
            "-" if moved is None else change(moved),
        )
    ages = [Text(f"Used {words.age_line(age)}.") for age in report.price_ages]
    return [table, "", *ages]  # type: ignore[list-item]


def _price(usd_per_hour: float | None) -> str:
    return "not known" if usd_per_hour is None else hourly(usd_per_hour)
