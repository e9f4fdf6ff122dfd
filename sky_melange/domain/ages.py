"""How old a date is. The clock is the caller's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_SECONDS_PER_HOUR: Final = 3600.0
_HOURS_AHEAD: Final = 24.0


def age_hours(iso: str, now: datetime) -> float | None:
    """Hours from an ISO 8601 date or time (a date: from its first moment, UTC) to `now`.

    None where it is not known: no or no such text, or a time more than a day ahead, which a clock that was wrong has
    left. Never below 0.
    """
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    hours = (now - moment).total_seconds() / _SECONDS_PER_HOUR
    return None if hours < -_HOURS_AHEAD else max(0.0, hours)


def age_text(hours: float | None) -> str:
    """`3 minutes`, `5 hours`, `12 days`, or `unknown`."""
    if hours is None:
        return "unknown"
    if hours < 1:
        return _counted(round(hours * 60), "minute")
    return _counted(round(hours), "hour") if hours < 48 else _counted(round(hours / 24), "day")


def short_age(hours: float | None) -> str:
    """`3 min`, `5 h`, `12 d`, or `?`."""
    if hours is None:
        return "?"
    if hours < 1:
        return f"{round(hours * 60)} min"
    return f"{round(hours)} h" if hours < 48 else f"{round(hours / 24)} d"


def iso_utc(moment: datetime) -> str:
    """`2026-11-22T14:33:27Z`: to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
