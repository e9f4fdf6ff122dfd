"""Every machine has a price today, and the prices are fresh enough."""

from __future__ import annotations

from collections.abc import Sequence

from sky_melange.check.outcome import within
from sky_melange.domain.check import Check, PriceAge, PriceChange, Unit, Verdict


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


def prices_fresh(ages: Sequence[PriceAge], max_age_hours: float | None) -> Check:
    """Whether the oldest price that was used is at most `max_age_hours` old. An unknown age is too old."""
    unknown = [age for age in ages if age.age_hours is None]
    oldest = None if unknown else max((age.age_hours for age in ages if age.age_hours is not None), default=None)
    verdict = Verdict.SKIPPED
    says = "age of the oldest price used; no limit is set (--max-age-hours, or prices.max_age_hours in the workload)"
    if max_age_hours is not None:
        says = "age of the oldest price used"
        verdict = Verdict.FAIL if unknown or (oldest is not None and oldest > max_age_hours) else Verdict.PASS
    if unknown:
        says = f"{says}; not known for {', '.join(sorted({age.cloud for age in unknown}))}"
    return Check(name="prices-fresh", verdict=verdict, figure=oldest, limit=max_age_hours, unit=Unit.HOURS, says=says)
