"""What a plan costs per hour, month, token and request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from sky_melange.domain.buckets import Traffic
from sky_melange.domain.units import SECONDS_PER_HOUR, usd_per_month
from sky_melange.domain.workload import Model


class TokenBasis(StrEnum):
    """Where the tokens per request come from: means of real requests, or the largest size of each bucket."""

    MEAN = "mean"
    UPPER = "upper"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRates:
    """The planned traffic, per second; over all hours where it has some.

    With the basis `mean` the tokens are those of the requests. With `upper` every request counts as the largest of its
    bucket where no mean is known: the true number of tokens is at most this.
    """

    request_rate_rps: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    basis: TokenBasis


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """The whole cost, overhead included, divided by time, by the planned tokens and by the planned requests.

    Each of the three token figures divides the WHOLE cost: by input tokens alone, by output tokens alone, by both
    together. With `rates.basis` `upper` they are lower bounds, since requests have at most that many tokens.
    """

    usd_per_hour: float
    usd_per_month: float
    usd_per_million_input_tokens: float
    usd_per_million_output_tokens: float
    usd_per_million_tokens: float
    usd_per_1000_requests: float
    rates: TokenRates


def token_rates(traffic: Traffic) -> TokenRates:
    """Σ_b λ_b · (tokens of b): the bucket's mean size where it is known, else its upper edges; means over the hours."""
    inputs: list[float] = []
    outputs: list[float] = []
    rates: list[float] = []
    means_known = True
    # Those of the buckets are of the busiest hour.
    part = 1.0 if traffic.hours is None else traffic.hours.mean_rps / traffic.hours.peak_rps
    for bucket in traffic.buckets():
        means = traffic.mean_tokens
        mean = None if means is None else means[bucket.input_index][bucket.output_index]
        means_known = means_known and mean is not None
        input_tokens, output_tokens = mean or (bucket.input_tokens, bucket.output_tokens)
        rate_rps = bucket.rate_rps * part
        rates.append(rate_rps)
        inputs.append(rate_rps * input_tokens)
        outputs.append(rate_rps * output_tokens)
    return TokenRates(
        request_rate_rps=math.fsum(rates),
        input_tokens_per_s=math.fsum(inputs),
        output_tokens_per_s=math.fsum(outputs),
        basis=TokenBasis.MEAN if means_known else TokenBasis.UPPER,
    )


def unit_costs(usd_per_hour: float, traffic: Traffic) -> UnitCosts:
    """The units of a cost per hour, a mean over all hours, at a traffic. Nothing is rounded."""
    rates = token_rates(traffic)
    usd_per_s = usd_per_hour / SECONDS_PER_HOUR
    return UnitCosts(
        usd_per_hour=usd_per_hour,
        usd_per_month=usd_per_month(usd_per_hour),
        usd_per_million_input_tokens=1e6 * usd_per_s / rates.input_tokens_per_s,
        usd_per_million_output_tokens=1e6 * usd_per_s / rates.output_tokens_per_s,
        usd_per_million_tokens=1e6 * usd_per_s / (rates.input_tokens_per_s + rates.output_tokens_per_s),
        usd_per_1000_requests=1e3 * usd_per_s / rates.request_rate_rps,
        rates=rates,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """What the base model, or an adapter, has of a plan's cost: as much as its requests have of all requests."""

    id: str
    share: float
    request_rate_rps: float
    usd_per_hour: float


def served_models(model: Model, units: UnitCosts) -> tuple[ServedModel, ...]:
    """The adapters in their order, then the base model: shares add up to 1. Empty where there are no adapters."""
    left = max(0.0, 1.0 - math.fsum(adapter.share for adapter in model.adapters))
    shares = [*((adapter.id, adapter.share) for adapter in model.adapters), (model.id, left)]
    return tuple(
        ServedModel(
            id=name,
            share=share,
            request_rate_rps=share * units.rates.request_rate_rps,
            usd_per_hour=share * units.usd_per_hour,
        )
        for name, share in (shares if model.adapters else ())
    )
