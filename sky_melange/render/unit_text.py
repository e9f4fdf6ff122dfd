"""Unit costs in words, the same in every report."""

from __future__ import annotations

from collections.abc import Iterator

from sky_melange.domain.unit_costs import TokenBasis, UnitCosts, served_models
from sky_melange.domain.workload import Model
from sky_melange.render.money import hourly, monthly, unit

LOWER_BOUND_NOTE = (
    "≥: each request counts as the largest of its bucket, so there are at most that many tokens and they cost at least "
    "that much."
)


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
