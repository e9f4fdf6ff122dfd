"""The same traffic bought from a hosted API, at its list price, and the rate at which own GPUs cost no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from sky_melange.domain.plan import HostedApi, HostedPrice, Plan
from sky_melange.domain.unit_costs import TokenBasis, token_rates
from sky_melange.domain.units import SECONDS_PER_HOUR
from sky_melange.domain.workload import Workload

_MOST_COPIES: Final = 1_000_000


def hosted_api(plan: Plan, workload: Workload, prices: Sequence[HostedPrice]) -> HostedApi | None:
    """None where no list price of this very model is known."""
    rates = token_rates(workload.traffic)
    bills = [
        (
            SECONDS_PER_HOUR
            * math.fsum(
                (
                    rates.input_tokens_per_s * price.usd_per_million_input / 1e6,
                    rates.output_tokens_per_s * price.usd_per_million_output / 1e6,
                )
            ),
            price,
        )
        for price in prices
        if price.model.casefold() == workload.model.id.casefold()
    ]
    if not bills:
        return None
    bill, price = min(bills, key=lambda pair: (pair[0], pair[1].provider))
    is_upper_bound = rates.basis is TokenBasis.UPPER
    room = None if is_upper_bound else _room(plan, workload)
    return HostedApi(
        price=price,
        usd_per_hour=bill,
        is_upper_bound=is_upper_bound,
        own_from_rps=None if is_upper_bound else _own_from(plan, rates.request_rate_rps, bill, room),
        loaded_usd_per_hour=None if room is None else bill * room,
    )


def _own_from(plan: Plan, rate_rps: float, bill: float, room: float | None) -> float | None:
    total = plan.mean_usd_per_hour
    if bill <= 0:
        return None
    if total <= bill * (room or 1.0):
        return rate_rps * total / bill
    # Each copy adds its replicas' price, and saves what its requests cost at the API; the overhead is paid once.
    replicas, overhead = plan.cost.replicas_usd_per_hour, plan.cost.overhead_usd_per_hour
    gain = 0.0 if room is None else bill * room - replicas
    copies = math.inf if gain <= 0 else math.ceil(overhead / gain)
    return None if copies > _MOST_COPIES else rate_rps * (copies * replicas + overhead) / bill


def _room(plan: Plan, workload: Workload) -> float | None:
    """How many times the traffic the plan's fleet carries, divided as it is; None: not known."""
    if plan.schedule is not None:
        return None
    limits = [group.max_utilization or workload.constraints.max_utilization for group in plan.groups]
    loads = [
        limit / group.utilization
        for limit, group in zip(limits, plan.groups, strict=True)
        if limit is not None and group.utilization > 0
    ]
    return max(1.0, min(loads)) if len(loads) == len(plan.groups) else None
