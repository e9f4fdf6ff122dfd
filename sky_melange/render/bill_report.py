"""Planned against billed: a table for people, JSON for programs, Markdown for pull requests and wikis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from rich.text import Text

from sky_melange.domain.bill import CAUSES, BillLine, BillReport, Cause, OtherCharges, WorkloadBill
from sky_melange.render import foreign_text
from sky_melange.render.focus_csv import quoted
from sky_melange.render.text import Breakable, new_table, to_text

SCHEMA_VERSION: Final = 1
_MOST_OTHERS: Final = 15
_MOST_CHARACTERS: Final = 60_000
_LONGEST: Final = 80
_HEAD: Final = ("Line", "Planned", "Billed", "Difference", "Why")


def table(report: BillReport, *, color: bool = False) -> str:
    """The text, 100 columns wide."""
    lines = new_table(title="Lines of the plan, USD", expand=False)
    for name in _HEAD:
        is_amount = name in _HEAD[1:4]
        lines.add_column(
            name, justify="right" if is_amount else "left", min_width=8 if is_amount else 18, overflow="fold"
        )
    for row in _rows(report):
        lines.add_row(Breakable(row[0]), *row[1:4], Breakable(row[4]))
    causes = new_table(title="The difference by cause, USD", expand=False)
    causes.add_column("Cause")
    causes.add_column("USD", justify="right")
    causes.add_column("Meaning")
    for cause, usd in _causes(report):
        causes.add_row(cause.value, signed(usd), CAUSES[cause])
    others = [Text(""), Text("Billed, and of no line of the plan:")] if report.others else []
    others += [Text(f"  {line}", overflow="fold") for line in _other_lines(report)]
    return to_text(
        Text(verdict(report), style="bold red" if report.is_failed else "bold"),
        *(Text(line) for line in _head(report)),
        "",
        lines,
        *(("", causes) if causes.row_count else ()),
        *others,
        "",
        *(Text(_unit_line(each)) for each in report.workloads),
        color=color,
    )


def markdown(report: BillReport) -> str:
    """The text: GitHub's comment and step summary, and GitLab's note."""
    mark = "❌" if report.is_failed else "✅"
    found = [f"{mark} **{foreign_text.escape(verdict(report))}**", ""]
    found += [text for line in _head(report) for text in (foreign_text.escape(line), "")]
    found += foreign_text.table(_HEAD, _rows(report), right=(1, 2, 3))
    rows = [(cause.value, signed(usd), CAUSES[cause]) for cause, usd in _causes(report)]
    found += ["", *foreign_text.table(("Cause", "USD", "Meaning"), rows, right=(1,))] if rows else []
    found += [""]
    found += [f"- {foreign_text.escape(_unit_line(each))}" for each in report.workloads]
    for warning in report.warnings:
        found += ["", f"⚠️ {foreign_text.escape(warning)}"]
    if report.others:
        lines = (f"- {foreign_text.escape(line)}" for line in _other_lines(report))
        found += ["", *foreign_text.folded("Billed, and of no line of the plan", lines)]
    return foreign_text.within(found, _MOST_CHARACTERS)


def json_text(report: BillReport) -> str:
    """Amounts are USD with two digits after the point: read them as decimals to add them up. Schema version 1."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "files": list(report.files),
        "period": {"start": _moment(report.start_s), "end": _moment(report.end_s)},
        "currency": "USD",
        "cost_column": report.cost_column,
        "rows": report.rows,
        "failed": report.is_failed,
        "figure_usd": float(report.figure),
        "limit_usd": None if report.limit is None else float(report.limit),
        "summary": verdict(report),
        "planned_usd": float(report.planned),
        "billed_usd": float(report.billed),
        "difference_usd": float(report.difference),
        "causes_usd": {cause.value: float(usd) for cause, usd in report.causes.items()},
        "workloads": [_workload(each) for each in report.workloads],
        "lines": [_line(line) for line in report.lines],
        "others": [_other(other) for other in report.others],
        "warnings": list(report.warnings),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def verdict(report: BillReport) -> str:
    """What was planned and billed, and whether that is within the limit."""
    sums = (
        f"Planned USD {report.planned:,.2f}, billed USD {report.billed:,.2f}: {signed(report.difference)}"
        f"{_percent(report)}"
    )
    if report.limit is None:
        return f"{sums}."
    largest = max(report.causes.items(), key=lambda item: abs(item[1]))
    by = "" if abs(report.difference) == report.figure else f" by {largest[0].value} alone"
    compared = "exceeds" if report.is_failed else "is within"
    return f"{sums}; USD {report.figure:,.2f}{by} {compared} the limit of USD {report.limit:,.2f}."


def signed(usd: Decimal) -> str:
    """`+1,234.50`, `-0.25`, and `0.00` without a sign."""
    return f"{usd:+,.2f}" if usd else "0.00"


def _percent(report: BillReport) -> str:
    return f" ({100 * report.difference / report.planned:+.1f} %)" if report.planned and report.difference else ""


def _head(report: BillReport) -> Iterator[str]:
    hours = Fraction(report.end_s - report.start_s, 3600)
    files = ", ".join(quoted(file) for file in report.files)
    yield (
        f"{_moment(report.start_s)} to {_moment(report.end_s)} ({float(hours):,.6g} h), {report.rows:,} rows of "
        f"{files}, {report.cost_column}."
    )


def _rows(report: BillReport) -> Iterator[tuple[str, str, str, str, str]]:
    for line in report.lines:
        yield (
            _name(line),
            f"{line.planned:,.2f}",
            f"{line.billed:,.2f}",
            signed(line.difference),
            ", ".join(_why(line)) or "as planned",
        )
    yield (
        "all of the plan",
        f"{sum((line.planned for line in report.lines), Decimal(0)):,.2f}",
        f"{sum((line.billed for line in report.lines), Decimal(0)):,.2f}",
        signed(sum((line.difference for line in report.lines), Decimal(0))),
        "",
    )


def _name(line: BillLine) -> str:
    planned = line.planned_line
    price = "price not known" if planned.price is None else f"{float(planned.price):,.4f}/h"
    return f"{planned.workload}: {planned.name}\n{planned.instance_type} {planned.purchase.value}, {price}"


def _why(line: BillLine) -> Iterator[str]:
    if not line.matched_by and line.planned:
        yield "nothing billed"
    for cause, usd in line.causes.items():
        text = f"{cause.value} {signed(usd)}"
        if cause is Cause.PRICE and line.billed_price is not None:
            text += f" ({float(line.billed_price):,.4f}/h)"
        if cause is Cause.COUNT and line.billed_hours is not None:
            text += f" ({float(line.billed_hours):,.6g} instance-hours, planned {float(line.planned_hours):,.6g})"
        yield text


def _causes(report: BillReport) -> Iterator[tuple[Cause, Decimal]]:
    for cause, usd in report.causes.items():
        if usd:
            yield cause, usd


def _other_lines(report: BillReport) -> Iterator[str]:
    for other in report.others[:_MOST_OTHERS]:
        aside = "" if other.is_counted else ", left out"
        yield f"{other.billed:,.2f} {other.cause.value}: {_shown(other.what)} ({other.rows:,} rows{aside})"
    rest = report.others[_MOST_OTHERS:]
    if rest:
        yield f"{sum((other.billed for other in rest), Decimal(0)):,.2f} in {len(rest)} more, see --format json"


def _unit_line(each: WorkloadBill) -> str:
    if not each.planned_million_tokens:
        return f"{each.workload}: no tokens were planned."
    planned, billed = (Fraction(usd) / each.planned_million_tokens for usd in (each.planned, each.billed))
    bound = "at least " if each.is_upper_bound else ""
    return (
        f"{each.workload}: {bound}USD {float(planned):,.4f} planned and {bound}{float(billed):,.4f} billed per million "
        f"tokens, at the planned traffic."
    )


def _shown(text: str) -> str:
    plain = quoted(text)
    return plain if len(plain) <= _LONGEST else plain[:_LONGEST] + "…"


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _workload(each: WorkloadBill) -> dict[str, object]:
    return {
        "workload": each.workload,
        "planned_usd": float(each.planned),
        "billed_usd": float(each.billed),
        "difference_usd": float(each.billed - each.planned),
        "planned_million_tokens": float(each.planned_million_tokens),
        "is_upper_bound": each.is_upper_bound,
    }


def _line(line: BillLine) -> dict[str, object]:
    planned = line.planned_line
    billed_price = line.billed_price
    return {
        "workload": planned.workload,
        "group": planned.group or None,
        "name": planned.name,
        "model": planned.model,
        "cloud": planned.cloud,
        "region": planned.region,
        "instance_type": planned.instance_type,
        "purchase": planned.purchase.value,
        "planned_usd": float(line.planned),
        "billed_usd": float(line.billed),
        "difference_usd": float(line.difference),
        "causes_usd": {cause.value: float(usd) for cause, usd in line.causes.items()},
        "planned_usd_per_hour": None if planned.price is None else float(planned.price),
        "billed_usd_per_hour": None if billed_price is None else float(billed_price),
        "planned_instance_hours": float(line.planned_hours),
        "billed_instance_hours": None if line.billed_hours is None else float(line.billed_hours),
        "matched_by": line.matched_by or None,
    }


def _other(other: OtherCharges) -> dict[str, object]:
    return {
        "cause": other.cause.value,
        "what": _shown(other.what),
        "billed_usd": float(other.billed),
        "rows": other.rows,
        "is_counted": other.is_counted,
    }
