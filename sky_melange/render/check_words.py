"""Figures and sentences of a check report, the same in every format. Figures are rounded here and nowhere before."""

from __future__ import annotations

from sky_melange.domain.check import Check, CheckReport, PriceAge, PriceChange, Unit, Verdict
from sky_melange.render.money import change, hourly, unit
from sky_melange.render.plan_sentences import attained_sentence

VERDICTS = {Verdict.PASS: "pass", Verdict.FAIL: "FAIL", Verdict.SKIPPED: "skipped"}


def verdict_line(report: CheckReport) -> str:
    """One sentence on everything."""
    failed = report.failed
    skipped = sum(check.verdict is Verdict.SKIPPED for check in report.checks)
    if failed:
        names = ", ".join(check.name for check in failed)
        lead = f"{report.plan_name}: {len(failed)} of {len(report.checks) - skipped} checks failed: {names}"
    else:
        lead = f"{report.plan_name}: all {len(report.checks) - skipped} checks hold"
    beside = f" ({skipped} skipped)" if skipped else ""
    return f"{lead}{beside}. {cost_sentence(report)}"


def simulated_lines(report: CheckReport) -> list[str]:
    """What the simulation says; empty where there is none."""
    return [] if report.simulated is None else [attained_sentence(report.simulated)]


def cost_sentence(report: CheckReport) -> str:
    """The total today beside the planned one."""
    planned = report.planned.total_usd_per_hour
    if report.today is None:
        return f"Planned at USD {hourly(planned)} per hour; today's price is not known."
    today = report.today.total_usd_per_hour
    moved = change(today - planned)
    beside = "as planned" if moved == "0.0000" else f"{moved} since it was planned"
    return f"It costs USD {hourly(today)} per hour today, {beside}."


def figure(check: Check) -> str:
    """The figure with its unit; `not known` where there is none."""
    if check.figure is None:
        return "-" if check.verdict is Verdict.SKIPPED else "not known"
    return ("≥ " if check.is_lower_bound else "") + amount(check.figure, check.unit)


def limit(check: Check) -> str:
    """The limit with its unit; `-` where there is none."""
    return "-" if check.limit is None else amount(check.limit, check.unit)


def amount(value: float, kind: Unit) -> str:
    """A figure of a kind, rounded for people."""
    match kind:
        case Unit.USD_PER_HOUR:
            return f"{hourly(value)} USD/h"
        case Unit.USD_PER_MONTH:
            return f"{value:,.2f} USD/month"
        case Unit.USD_PER_MILLION_TOKENS:
            return f"{unit(value)} USD/M tokens"
        case Unit.HOURS:
            return f"{value:,.1f} h" if value >= 0.1 or value == 0 else f"{value:.2g} h"
        case Unit.FRACTION:
            return f"{value:.1%}"
        case _:
            return f"{value:.0f}"


def sentence(check: Check) -> str:
    """`12.3456 USD/h, limit 10.0000 USD/h: replicas and overhead at today's prices`."""
    against = "" if check.limit is None else f", limit {limit(check)}"
    if check.figure is None and check.limit is None:
        return check.says
    return f"{figure(check)}{against}: {check.says}"


def explanation(report: CheckReport, check: Check) -> tuple[str, ...]:
    """The details of a check; for one that failed for its price also which prices changed."""
    changes = changed(report) if check.of_prices and check.verdict is Verdict.FAIL else ()
    return (*check.details, *(price_line(item) for item in changes))


def changed(report: CheckReport) -> tuple[PriceChange, ...]:
    """The machines whose price is not the planned one, the largest rise first; unknown prices last."""
    moved = [item for item in report.price_changes if item.change_usd_per_hour != 0]
    return tuple(sorted(moved, key=lambda item: (item.change_usd_per_hour is None, -(item.change_usd_per_hour or 0.0))))


def price_line(item: PriceChange) -> str:
    """`lambda gpu_1x_h100_sxm5 (1 × H100) in us-east-1 rose from 2.9900 to 4.2900 USD/h (+43.5%): +1.3000 …`."""
    what = f"{item.name}: {item.cloud} {item.machine}"
    planned, today, moved = item.planned_usd_per_hour, item.today_usd_per_hour, item.change_usd_per_hour
    if today is None:
        return f"{what}: today's price is not known: {item.problem}"
    if planned is None or moved is None:
        return f"{what}: costs {hourly(today)} USD/h, not known when planned"
    verb = "rose" if moved > 0 else "fell"
    relative = f" ({today / planned - 1:+.1%})" if planned > 0 else ""
    count = f" for {item.instances}" if item.instances > 1 else ""
    return f"{what} {verb} from {hourly(planned)} to {hourly(today)} USD/h{relative}: {change(moved)} USD/h{count}"


def age_line(age: PriceAge) -> str:
    """`lambda: snapshot of 2026-05-07, 4,776.0 h old`: in the unit of the check of ages."""
    dated = age.as_of or age.fetched_at or "unknown date"
    old = "age not known" if age.age_hours is None else f"{amount(age.age_hours, Unit.HOURS)} old"
    return f"{age.cloud}: {age.source} of {dated}, {old}"
