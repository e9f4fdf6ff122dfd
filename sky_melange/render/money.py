"""How money is written: the only place where it is rounded."""

from __future__ import annotations

import math

from sky_melange.domain.units import usd_per_month


def hourly(usd_per_hour: float) -> str:
    """`12.3456`: four decimals, as the clouds state prices."""
    return f"{usd_per_hour:,.4f}"


def dollars(usd: float) -> str:
    """`12.35`: two decimals, and four where fewer than two digits would remain."""
    return f"{usd:,.4f}" if 0 < abs(usd) < 0.1 else f"{usd:,.2f}"


def monthly(usd_per_hour: float) -> str:
    """`9,012.34`: USD in a month of 730 hours."""
    return f"{usd_per_month(usd_per_hour):,.2f}"


def change(usd_per_hour: float) -> str:
    """`+1.3000` or `-0.2500`: a difference in USD per hour; `0.0000` has no sign."""
    text = f"{usd_per_hour:+,.4f}"
    return "0.0000" if text in {"+0.0000", "-0.0000"} else text


def monthly_change(usd_per_hour: float) -> str:
    """The same difference over a month of 730 hours: `+949.00`."""
    text = f"{usd_per_month(usd_per_hour):+,.2f}"
    return "0.00" if text in {"+0.00", "-0.00"} else text


def unit(usd: float) -> str:
    """`0.09925`, `1.2346`: four decimals, more where fewer than four digits would remain."""
    if usd >= 1 or usd == 0:
        return f"{usd:,.4f}"
    return f"{usd:.{3 - math.floor(math.log10(usd))}f}"
