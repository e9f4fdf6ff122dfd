"""Units and the only conversions between them. Names of quantities carry their unit."""

from __future__ import annotations

from typing import Final

HOURS_PER_MONTH: Final = 730.0
"""365 days / 12 months x 24 hours, the month that the cloud providers' price pages use."""

HOURS_PER_YEAR: Final = 12 * HOURS_PER_MONTH

SECONDS_PER_HOUR: Final = 3600.0
BYTES_PER_GIB: Final = 1024**3


def ms_to_s(milliseconds: float) -> float:
    """Milliseconds to seconds."""
    return milliseconds / 1000.0


def s_to_ms(seconds: float) -> float:
    """Seconds to milliseconds."""
    return seconds * 1000.0


def usd_per_month(usd_per_hour: float) -> float:
    """USD per hour to USD per month of 730 hours."""
    return usd_per_hour * HOURS_PER_MONTH


def requests_per_usd(rate_rps: float, usd_per_hour: float) -> float:
    """Requests that a dollar buys at a steady rate."""
    return rate_rps * SECONDS_PER_HOUR / usd_per_hour


def ms_above(latency_s: float, limit_s: float) -> str:
    """A latency over its limit in milliseconds, with one decimal, or as many as it takes (up to nine) to be seen."""
    shown = (f"{s_to_ms(latency_s):.{digits}f}" for digits in range(1, 10))
    return next((text for text in shown if float(text) > s_to_ms(limit_s)), f"{s_to_ms(latency_s):.9f}")
