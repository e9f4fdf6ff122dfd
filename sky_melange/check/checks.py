"""Single checks, each a function: prices and their ages, the lock, the load, the files beside plan.json, the drift."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from sky_melange.domain.ages import age_hours
from sky_melange.domain.check import Check, PriceAge, PriceChange, Unit, Verdict
from sky_melange.domain.offer import Obtained, PriceBook, PriceState
from sky_melange.domain.plan import Cost, Plan

UNCONFIRMED_HOURS: Final = 72.0
"""How many hours old prices may be that cannot be confirmed, and prices in CI where no other limit is set."""

TOLERANCE: Final = 1e-9
"""Sums of prices are exact to this; 3 × 0.1 is not over a budget of 0.3."""
_MAX_DIFF_LINES: Final = 200
"""A file; more than a person reads."""
_DRIFT_SAYS = "what the cheapest plan of today would save against this one at today's prices"


def within(figure: float, limit: float) -> Verdict:
    """Pass while figure ≤ limit."""
    return Verdict.PASS if figure <= limit + TOLERANCE * max(1.0, abs(limit)) else Verdict.FAIL


def lock(differences: Sequence[str] | None, *, reason: str = "") -> Check:
    """`differences` between the file and what was planned, None with the `reason` where they are not compared."""
    says = "differences between the workload file and what was planned: edited since, and not planned again"
    return Check(
        name="lock",
        verdict=Verdict.SKIPPED if differences is None else within(len(differences), 0),
        figure=None if differences is None else len(differences),
        limit=0,
        unit=Unit.VIOLATIONS,
        says=f"{says}; {reason}" if reason else says,
        details=tuple(differences or ()),
    )


def serves(violations: Sequence[str]) -> Check:
    """`violations` are what the independent verification says, with today's profiles."""
    return Check(
        name="serves",
        verdict=within(len(violations), 0),
        figure=len(violations),
        limit=0,
        unit=Unit.VIOLATIONS,
        says="ways in which the plan does not carry the workload within its targets, by today's profiles",
        details=tuple(violations),
    )


def files(expected: Mapping[str, str], found: Mapping[str, str | None], *, of: str = "plan") -> Check:
    """`found` is the text by name of each expected file, None where it is missing, and of launch files beside them.

    `of`: a plan, or a fleet.
    """
    details: list[str] = []
    wrong = 0
    for name in sorted({*expected, *found}):
        if name not in expected:
            owner = "group of the plan" if of == "plan" else "shared machine or router of the fleet"
            details.append(f"{name}: no {owner} has this file; remove it, or it may be launched")
        elif found.get(name) is None:
            details.append(f"{name}: is missing; plan again, or restore it from version control")
        elif found[name] != expected[name]:
            details += _diff(name, expected[name], found[name] or "")
        else:
            continue
        wrong += 1
    return Check(
        name="files" if of == "plan" else "fleet-files",
        verdict=within(wrong, 0),
        figure=wrong,
        limit=0,
        unit=Unit.FILES,
        says=f"files beside {of}.json that this release does not render from it: edited by hand, missing, or left over",
        details=tuple(details),
    )


def prices_known(groups: Sequence[PriceChange]) -> Check:
    """Whether each group's machine still has a price that is believed."""
    unknown = [change for change in groups if change.today_usd_per_hour is None]
    return Check(
        name="prices-known",
        verdict=within(len(unknown), 0),
        figure=len(unknown),
        limit=0,
        unit=Unit.MACHINES,
        says="machines of the plan without a price that is believed today",
        details=tuple(f"{change.name}: {change.cloud} {change.machine}: {change.problem}" for change in unknown),
    )


def prices_fresh(ages: Sequence[PriceAge], max_age_hours: float | None, problems: Sequence[str] = ()) -> Check:
    """Whether the oldest price that was used is at most `max_age_hours` old. An unknown age is too old.

    `problems` say which prices of today could not be obtained; any of them fails the check, whatever the limit.
    """
    unknown = [age for age in ages if age.age_hours is None]
    oldest = None if unknown else max((age.age_hours for age in ages if age.age_hours is not None), default=None)
    verdict = Verdict.SKIPPED
    says = "age of the oldest price used; no limit is set (--max-age-hours, or prices.max_age_hours in the workload)"
    if max_age_hours is not None:
        says = "age of the oldest price used"
        verdict = Verdict.FAIL if unknown or (oldest is not None and oldest > max_age_hours) else Verdict.PASS
    if problems:
        says = "age of the oldest price used; prices of today could not be obtained"
        verdict = Verdict.FAIL
    if unknown:
        says = f"{says}; not known for {', '.join(sorted({age.cloud for age in unknown}))}"
    return Check(
        name="prices-fresh",
        verdict=verdict,
        figure=oldest,
        limit=max_age_hours,
        unit=Unit.HOURS,
        says=says,
        details=tuple(problems),
    )


def without_prices(book: PriceBook, clouds: Collection[str]) -> list[str]:
    """A line for each of the clouds that has no prices at all."""
    return [f"{missing.cloud}: no prices: {missing.problem}" for missing in book.missing if missing.cloud in clouds]


def not_confirmed(book: PriceBook, clouds: Collection[str], max_age_hours: float | None, now: datetime) -> list[str]:
    """A line for each of the clouds whose source could not be reached, and whose last prices are too old to go by.

    That is `max_age_hours`, or UNCONFIRMED_HOURS where there is no limit.
    """
    most = UNCONFIRMED_HOURS if max_age_hours is None else max_age_hours
    used: dict[str, PriceState] = {}
    for state in book.states:
        # The first source that has a cloud is the one whose prices are used.
        if state.obtained is not Obtained.ABSENT:
            used.setdefault(state.cloud, state)
    found = []
    for cloud in sorted(set(clouds) & used.keys()):
        state = used[cloud]
        hours = age_hours(state.fetched_at, now)
        is_old = hours is None or hours > most
        if state.problem and state.obtained in (Obtained.CACHED, Obtained.SNAPSHOT) and is_old:
            dated = f"of {state.fetched_at}" if state.fetched_at else "of unknown date"
            found.append(
                f"{cloud}: the prices are {dated}, older than {most:g} hours, and could not be confirmed: "
                f"{state.problem} (--offline uses them all the same)"
            )
    return found


def _diff(name: str, expected: str, found: str) -> list[str]:
    lines = list(
        difflib.unified_diff(
            expected.splitlines(), found.splitlines(), f"{name} (as planned)", f"{name} (as it is)", lineterm="", n=1
        )
    )
    if not lines:
        return [f"{name}: differs in the ends of lines only"]
    if len(lines) > _MAX_DIFF_LINES:
        lines = [*lines[:_MAX_DIFF_LINES], f"… and {len(lines) - _MAX_DIFF_LINES} more lines"]
    return lines


def drift(today: Cost | None, best: Plan | None, max_drift_fraction: float | None, problem: str = "") -> Check:
    """`best` is the plan of today, re-solved; None with the `problem` when there is none.

    Totals are compared, overhead included; replicas alone where the overhead's price is not known in `best`.
    """
    if max_drift_fraction is None:
        return _drift(Verdict.SKIPPED, None, None, f"{_DRIFT_SAYS}; not searched for (--max-drift)")
    if today is None:
        says = f"{_DRIFT_SAYS}; not judged, since a price is not known (see prices-known)"
        return _drift(Verdict.SKIPPED, None, max_drift_fraction, says)
    if best is None:
        return _drift(Verdict.FAIL, None, max_drift_fraction, f"{_DRIFT_SAYS}; searching failed", *problem.splitlines())
    known = all(machine.price_usd_per_hour is not None for machine in best.overhead)
    now = today.total_usd_per_hour if known else today.replicas_usd_per_hour
    then = best.cost.total_usd_per_hour if known else best.cost.replicas_usd_per_hour
    saving = max(0.0, 1 - then / now) if now > 0 else 0.0
    groups = tuple(f"{g.name}: {g.instances} × {g.instance_type} on {g.cloud} {g.region}" for g in best.groups)
    proven = () if best.status == "optimal" else ("this plan is not proven cheapest: more may be saved",)
    return _drift(within(saving, max_drift_fraction), saving, max_drift_fraction, _DRIFT_SAYS, *groups, *proven)


def _drift(verdict: Verdict, figure: float | None, limit: float | None, says: str, *details: str) -> Check:
    return Check(
        name="drift", verdict=verdict, figure=figure, limit=limit, unit=Unit.FRACTION, says=says, details=details
    )
