"""What a reader of the plan must know beside its figures: assumptions made and things that deserve doubt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import Overhead, ReplicaGroup
from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import RoutingPolicy, Workload

_ROUTING = {
    RoutingPolicy.SIZE_AWARE: "a front door that knows the input and output length of each request",
    RoutingPolicy.INPUT_AWARE: "a front door that knows the input length of each request",
    RoutingPolicy.BLIND: "a front door that splits requests by weight alone",
}


def assumptions(workload: Workload) -> tuple[str, ...]:
    """What the plan takes for granted, in sentences."""
    slo = workload.slo
    stated = [
        f"{name} ≤ {s_to_ms(value):g} ms"
        for name, value in (("TPOT", slo.tpot_s), ("TTFT", slo.ttft_s), ("NTPOT", slo.ntpot_s))
        if value is not None
    ]
    return (
        f"Traffic: {workload.traffic.request_rate_rps:g} req/s, sizes from {workload.traffic.origin}; each bucket is "
        "planned at its largest size.",
        f"Targets: {', '.join(stated)} on average in steady state; replicas are loaded to at most "
        f"{workload.constraints.max_utilization:.0%} of the rate that meets them.",
        f"Routing: {workload.routing}, that is {_ROUTING[workload.routing]} and splits by the shares in plan.json. "
        "SkyServe's own balancers do not look at sizes, and each group is a service with its own endpoint.",
        f"Context limit: {workload.model.max_model_len} tokens (input + output).",
        "Prices are list prices without tax, storage, egress or negotiated discounts; capacity is not reserved.",
    )


def warnings(
    workload: Workload, groups: Sequence[ReplicaGroup], overhead: Iterable[Overhead], book: PriceBook
) -> tuple[str, ...]:
    """What deserves doubt or action before money is spent."""
    return (
        *_profile_warnings(groups),
        *_price_warnings(groups),
        *(f"Overhead: {machine.purpose}: {machine.note}." for machine in overhead if machine.note),
        *_launch_warnings(workload, groups),
        *book.notes,
    )


def _profile_warnings(groups: Iterable[ReplicaGroup]) -> Iterator[str]:
    for group in groups:
        profile = group.profile
        if profile.kind is ProfileKind.MEASURED:
            continue
        error = profile.error
        known = "its error is not known"
        if error is not None and error.request_rate_fraction is not None:
            known = f"{error.statistic} of the request rate {error.request_rate_fraction:.0%}: {error.basis}"
        yield f"Throughput of {group.name} is {profile.kind}, not measured ({known}). Measure before a large launch."


def _price_warnings(groups: Iterable[ReplicaGroup]) -> Iterator[str]:
    """One line for all prices: old ones must be seen, not drowned."""
    dates = {f"{group.cloud} of {group.price.fetched_at or 'unknown date'} ({group.price.source})" for group in groups}
    yield f"Prices are those of {', '.join(sorted(dates))}. Check them before launching."


def _launch_warnings(workload: Workload, groups: Sequence[ReplicaGroup]) -> Iterator[str]:
    if workload.routing is not RoutingPolicy.BLIND and len(groups) > 1:
        yield "The groups need a router in front that follows the shares in plan.json, or the targets may not hold."
