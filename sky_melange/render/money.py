"""How money is written: the only place where it is rounded."""

from __future__ import annotations

from sky_melange.domain.units import usd_per_month


def hourly(usd_per_hour: float) -> str:
    """`12.3456`: four decimals, as the clouds state prices."""
    return f"{usd_per_hour:,.4f}"


def monthly(usd_per_hour: float) -> str:
    """`9,012.34`: USD in a month of 730 hours."""
    return f"{usd_per_month(usd_per_hour):,.2f}"
