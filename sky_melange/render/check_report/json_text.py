"""For programs: every figure as it is, unrounded. Schema version 1, described in docs/check.md."""

from __future__ import annotations

import dataclasses
import json
from typing import Final

from sky_melange.domain.check import Check, CheckReport, PriceChange
from sky_melange.render.check_report import words
from sky_melange.render.diff_report import json_text as diff_json

SCHEMA_VERSION: Final = 1
_SIMULATED: Final = (
    *("attainment", "attainment_error", "refused_fraction", "requests", "arrivals", "seed"),
    *("ttft_s", "tpot_s", "percentiles", "thinned_to"),
)


def render(report: CheckReport) -> str:
    """The JSON text."""
    return json.dumps(document(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(report: CheckReport) -> dict[str, object]:
    """The same as plain JSON values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "plan": report.plan_name,
        "plan_file": report.plan_file,
        "verdict": "fail" if report.failed else "pass",
        "summary": words.verdict_line(report),
        "simulated": _simulated(report),
        "checks": [_check(report, check) for check in report.checks],
        "cost": {
            "planned": dataclasses.asdict(report.planned),
            "today": None if report.today is None else dataclasses.asdict(report.today),
        },
        "unit_costs": {
            "planned": dataclasses.asdict(report.planned_units),
            "today": None if report.today_units is None else dataclasses.asdict(report.today_units),
        },
        "prices": [_price(item) for item in report.price_changes],
        "change": None if report.change is None else diff_json.document(report.change),
        "price_ages": [dataclasses.asdict(age) for age in report.price_ages],
        "warnings": list(report.warnings),
    }


def _simulated(report: CheckReport) -> dict[str, object] | None:
    if report.simulated is None:
        return None
    found = dataclasses.asdict(report.simulated)
    return {"says": words.simulated_lines(report)[0], **{name: found[name] for name in _SIMULATED}}


def _check(report: CheckReport, check: Check) -> dict[str, object]:
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


def _price(item: PriceChange) -> dict[str, object]:
    return {**dataclasses.asdict(item), "change_usd_per_hour": item.change_usd_per_hour}
