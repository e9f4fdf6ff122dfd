"""Every machine has a price today, and the prices are fresh enough."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from sky_melange.check.checks import within
from sky_melange.domain.ages import age_hours
from sky_melange.domain.check import Check, PriceAge, PriceChange, Unit, Verdict
from sky_melange.domain.offer import Obtained, PriceBook, PriceState

UNCONFIRMED_HOURS: Final = 72.0
"""How long prices are believed that cannot be confirmed; in CI, how old they may be where nothing else is said."""


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
