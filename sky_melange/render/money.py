"""How money is written: the only place where it is rounded."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sky_melange.domain.unit_costs import TokenBasis, UnitCosts, served_models
from sky_melange.domain.units import usd_per_month
from sky_melange.domain.workload import Model

LOWER_BOUND_NOTE = (
    "≥: each request counts as the largest of its bucket, so there are at most that many tokens and they cost at least "
    "that much."
)


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


def unit_line(units: UnitCosts) -> str:
    """One line: per 1,000 requests and per million tokens, the whole cost over input, over output, over both."""
    bound = at_least(units)
    return (
        f"USD {unit(units.usd_per_1000_requests)} per 1,000 requests; per million tokens "
        f"{bound}{unit(units.usd_per_million_input_tokens)} in, {bound}{unit(units.usd_per_million_output_tokens)} "
        f"out, {bound}{unit(units.usd_per_million_tokens)} both."
    )


def served_sentences(model: Model, units: UnitCosts) -> Iterator[str]:
    """What each adapter and the base model cost, by their requests; nothing where there are no adapters."""
    served = served_models(model, units)
    if served:
        costs = [f"{each.id} USD {hourly(each.usd_per_hour)} ({each.share:.1%})" for each in served]
        yield f"Per hour by share of the requests: {', '.join(costs)}."


def unit_rows(units: UnitCosts) -> tuple[tuple[str, str], ...]:
    """(what, USD) for tables."""
    bound = at_least(units)
    return (
        ("per hour", hourly(units.usd_per_hour)),
        ("per month (730 h)", monthly(units.usd_per_hour)),
        ("per 1,000 requests", unit(units.usd_per_1000_requests)),
        ("per million input tokens", bound + unit(units.usd_per_million_input_tokens)),
        ("per million output tokens", bound + unit(units.usd_per_million_output_tokens)),
        ("per million tokens of both", bound + unit(units.usd_per_million_tokens)),
    )


def at_least(units: UnitCosts) -> str:
    """`≥ ` where tokens are counted by upper edges, so that a cost per token is a lower bound."""
    return "≥ " if units.rates.basis is TokenBasis.UPPER else ""
