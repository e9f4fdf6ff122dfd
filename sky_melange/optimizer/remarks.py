"""What a reader of the plan must know beside its figures: assumptions made and things that deserve doubt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from sky_melange.domain.buckets import BucketSize, Traffic, log_uniform_mean
from sky_melange.domain.hours import Scaling, Schedule
from sky_melange.domain.offer import IN_DOUBT, SOURCES_DISAGREE, PriceBook
from sky_melange.domain.own_gpus import OwnGpus
from sky_melange.domain.plan import Cost, Overhead, ReplicaGroup, mean_cost
from sky_melange.domain.price_record import PriceKind
from sky_melange.domain.profile import ProfileKind, interval_text
from sky_melange.domain.router import RouterKind
from sky_melange.domain.scaling import most_usd_per_hour
from sky_melange.domain.units import s_to_ms, usd_per_month
from sky_melange.domain.workload import Budget, CandidateFilter, CloudsFrom, LaunchMode, RoutingPolicy, Workload
from sky_melange.optimizer.spot import spot_warnings, unknown_surges

_ROUTING = {
    RoutingPolicy.SIZE_AWARE: "a front door that knows the input and output length of each request",
    RoutingPolicy.INPUT_AWARE: "a front door that knows the input length of each request",
    RoutingPolicy.BLIND: "a front door that splits requests by weight alone",
}

_PRICES_LISTED = (
    "Prices are list prices without tax, storage, egress or negotiated discounts; capacity is not reserved."
)
_PRICES_OWN = (
    "Prices are list prices with the discounts and overrides of the workload, without tax, storage and egress; "
    "capacity is reserved only where an override says so."
)

_BUCKET_SIZE = {
    BucketSize.UPPER: "its largest size (its upper edges)",
    BucketSize.MEAN: "the mean size of its requests",
}


_WIDE = 0.4
"""Requests that are, by what is taken for granted, this much smaller than their buckets' edges deserve a warning."""


def assumptions(workload: Workload, simulated_arrivals: str | None = None) -> tuple[str, ...]:
    """What the plan takes for granted, in sentences. `simulated_arrivals` None: nothing was simulated."""
    slo = workload.slo
    stated = [
        f"{name} ≤ {s_to_ms(value):g} ms"
        for name, value in (("TPOT", slo.tpot_s), ("TTFT", slo.ttft_s), ("NTPOT", slo.ntpot_s))
        if value is not None
    ] + [f"{each} ≤ {s_to_ms(each.limit_s):g} ms" for each in slo.percentiles]
    return (
        f"Traffic: {workload.traffic.request_rate_rps:,.10g} req/s, sizes from {workload.traffic.origin}; each "
        f"bucket is planned at {_BUCKET_SIZE[workload.traffic.bucket_size]}. {_prefix(workload.traffic)}",
        *_sizes_by_hour(workload.traffic),
        f"Targets: {', '.join(stated)} {_share(workload, simulated_arrivals)}",
        f"Routing: {workload.routing}, that is {_ROUTING[workload.routing]} and splits by the shares in plan.json. "
        f"{_router(workload)}",
        f"Context limit: {workload.model.max_model_len} tokens (input + output).",
        _PRICES_OWN if workload.prices.discounts or workload.prices.overrides else _PRICES_LISTED,
        *_clouds(workload.candidates),
        *_own_gpus(workload.candidates.own),
    )


def _sizes_by_hour(traffic: Traffic) -> Iterator[str]:
    if traffic.hours is None or not traffic.size_sets:
        return
    listed = ", ".join(
        f"{each.name} ({len(each.hours)} h, up to {rate_rps:.4g} req/s)"
        for each, rate_rps in zip(traffic.size_sets, traffic.hours.busiest_rps, strict=True)
    )
    yield (
        f"Sizes differ by the hour (traffic.hours.sizes): {listed}. Shares of the router and sizes within a bucket are "
        "those of all hours; limits on the requests of a cloud, a region or spot are of all hours together."
    )


def _clouds(wanted: CandidateFilter) -> Iterator[str]:
    """Which clouds are compared, where the workload does not say."""
    if wanted.clouds_from is CloudsFrom.STATED:
        return
    compared = ", ".join(wanted.clouds or ()) or "none"
    why = (
        "those that SkyPilot had enabled where this was planned"
        if wanted.clouds_from is CloudsFrom.ENABLED
        else "the usual ones, as no list of the clouds that SkyPilot has enabled was at hand"
    )
    yield f"Clouds: candidates.clouds names none, so {compared} are compared: {why}. Write `clouds: all` for every one."


def _own_gpus(own: Sequence[OwnGpus]) -> Iterator[str]:
    """What is believed of GPUs that one has."""
    if not own:
        return
    listed = "; ".join(f"{gpus} at USD {gpus.usd_per_gpu_hour:g} per GPU and hour" for gpus in own)
    yield (
        f"Own GPUs, as candidates.own states them: {listed}. They are taken to be free, a GPU that the plan leaves to "
        "cost nothing, and pods to be packed: where a cluster spreads them, start the largest first."
    )


def _prefix(traffic: Traffic) -> str:
    """How much of the prompts engines need not compute."""
    if not traffic.prefix_hit_fraction:
        return "No prompt is found in a prefix cache (traffic.prefix_hit_fraction is 0)."
    return (
        f"{traffic.prefix_hit_fraction:.4g} of each prompt is found in the prefix cache of its replica: it is not "
        "computed, and takes memory as the rest."
    )


def _share(workload: Workload, simulated_arrivals: str | None) -> str:
    """How many requests meet the targets, and how that is known."""
    wanted, limit = workload.slo.attainment, workload.constraints.max_utilization
    most = "" if limit is None else f"; replicas are loaded to at most {limit:.0%} of the rate that meets them"
    if wanted is None:
        return f"on average in steady state{most}."
    if simulated_arrivals is None:
        return (
            f"for {wanted:.6g} of the requests: not simulated; replicas are loaded to at most "
            f"{min(0.9, workload.constraints.utilization_limit):.0%} of the rate that meets them on average."
        )
    return (
        f"for at least {wanted * 100:.6g}% of the requests, each by its own latencies, in simulation (arrivals: "
        f"{simulated_arrivals}){most}."
    )


def _router(workload: Workload) -> str:
    """What front door there is, and what it only estimates."""
    if workload.router.kind is RouterKind.NONE:
        return "No router is planned: SkyServe's own balancers do not look at sizes; each group has its own endpoint."
    output = ", output by what a request allows" if workload.routing is RoutingPolicy.SIZE_AWARE else ""
    where = "where there is more than one endpoint"
    if workload.router.of_fleet:
        where = "one for all workloads of the fleet, whose cost is not in this plan"
    if workload.router.kind is RouterKind.LITELLM or workload.routing is RoutingPolicy.BLIND:
        return f"The router ({workload.router.kind}) is planned {where}."
    return (
        f"The router (haproxy, {where}) estimates input by {workload.router.bytes_per_token:g} bytes a token{output}."
    )


def warnings(
    workload: Workload, groups: Sequence[ReplicaGroup], overhead: Iterable[Overhead], book: PriceBook
) -> tuple[str, ...]:
    """What deserves doubt or action before money is spent."""
    return (
        *workload.traffic.notes,
        *_size_warnings(workload.traffic),
        *_profile_warnings(groups),
        *spot_warnings(groups, falls_back=workload.launch.mode is LaunchMode.SERVE),
        *_price_warnings(groups, book),
        *(f"Overhead: {machine.purpose}: {machine.note}." for machine in overhead if machine.note),
        *_launch_warnings(workload, groups),
        *(note for note in book.notes if _concerns(workload, note)),
    )


def clock_assumptions(workload: Workload, schedule: Schedule | None) -> Iterator[str]:
    """Where the traffic has hours: whether the fleet follows them, and why."""
    hours, scaling = workload.traffic.hours, workload.launch.scaling
    if hours is None:
        return
    if schedule is None:
        why = "; no schedule was found that costs less"
        if workload.launch.mode is LaunchMode.CLUSTER:
            why = ", since clusters cannot be scaled (launch.mode)"
        elif scaling is Scaling.FIXED:
            why = ", as launch.scaling: fixed says"
        what = "the busiest hour of each set of sizes" if hours.sizes else "the busiest hour"
        yield f"Scaling: the fleet of {what} runs around the clock{why}."
        return
    saved = 1 - schedule.usd_per_hour / schedule.fixed_usd_per_hour if schedule.fixed_usd_per_hour > 0 else 0.0
    why = f"that saves {saved:.1%} (launch.scaling: fixed plans the same fleet around the clock)"
    if scaling is not None:
        why = f"launch.scaling: {scaling} asks for it"
    minutes = "as launch.startup_minutes says" if workload.launch.startup_minutes is not None else "an estimate"
    yield (
        f"Scaling: instances follow the {len(hours.rates_rps)} hours of traffic.hours"
        f"{f' ({hours.origin})' if hours.origin else ''}, on the clocks of {hours.time_zone}, since {why}. Requests "
        "that come faster than planned for their hour may miss the targets."
    )
    if hours.headroom_fraction and scaling is not Scaling.AUTOSCALE:
        yield (
            f"Each hour is planned {hours.headroom_fraction:.0%} above its rate, at most at the busiest hour's "
            f"{'of the same sizes ' if hours.sizes else ''}"
            f"(traffic.hours.headroom_fraction: {hours.headroom_basis or 'as given'})."
        )
    yield (
        f"An instance is started {schedule.startup_minutes:g} minutes before the hour that needs it ({minutes}), and "
        "paid from then on."
    )


_ENDED_BY = {
    "work": "The search ended when the work that solver.time_limit_s ({:g}) allows was done: a busy machine finds the "
    "same plan. A longer limit allows more work.",
    "time": "The search ended by the clock after solver.time_limit_s ({:g}), before the work that it allows was done: "
    "a quieter machine, or a longer limit, may find a cheaper plan.",
}


def search_warnings(workload: Workload, ended_by: str | None) -> Iterator[str]:
    """Which limit ended the search of a large problem (`Solution.ended_by`)."""
    if ended_by is not None:
        yield _ENDED_BY[ended_by].format(workload.solver.time_limit_s)


def budget_warnings(
    workload: Workload, groups: Sequence[ReplicaGroup], cost: Cost, schedule: Schedule | None = None
) -> Iterator[str]:
    """A plan within its budget is written, also where its worst case is not; `check` and `up` then refuse it."""
    total, worst = cost.total_usd_per_hour, cost.worst_case_usd_per_hour
    mean = mean_cost(cost, groups, schedule)
    monthly = (usd_per_month(mean.total_usd_per_hour), usd_per_month(mean.worst_case_usd_per_hour))
    limits = workload.budget or Budget()
    if schedule is not None and workload.launch.scaling is Scaling.AUTOSCALE and limits.usd_per_hour is not None:
        autoscaled = most_usd_per_hour(groups, cost, schedule)
        if total <= limits.usd_per_hour < autoscaled:
            yield (
                f"SkyServe may start instances of USD {autoscaled:.4f} per hour, over budget.usd_per_hour "
                f"{limits.usd_per_hour:.12g}: lower traffic.hours.headroom_fraction ({schedule.headroom_fraction:g})."
            )
    unknown = unknown_surges(groups, falls_back=workload.launch.mode is LaunchMode.SERVE)
    if unknown and workload.budget is not None:
        yield (
            f"What stands in for spot in {', '.join(unknown)} has no known price, so that nobody knows whether the "
            "worst case is within budget: `check` and `up` refuse this plan. Take other machines, or on demand there."
        )
    for key, unit, usual, most, limit in (
        ("usd_per_hour", "hour", total, worst, limits.usd_per_hour),
        ("usd_per_month", "month", *monthly, limits.usd_per_month),
    ):
        if limit is not None and usual <= limit < most:
            yield (
                f"The worst case, USD {most:.4f} per {unit}, is over budget.{key} {limit:.12g}: `check` and `up` "
                "refuse this plan. Raise the budget, or limit spot (constraints.max_spot_share)."
            )


def _size_warnings(traffic: Traffic) -> Iterator[str]:
    """Where nobody said how large the requests of wide buckets are."""
    means = traffic.mean_tokens
    unknown = [b for b in traffic.buckets() if means is None or means[b.input_index][b.output_index] is None]
    if traffic.bucket_size is BucketSize.UPPER or not unknown:
        return
    grid, rate = traffic.grid, math.fsum(b.rate_rps for b in unknown)
    taken = (
        math.fsum(b.rate_rps * log_uniform_mean(grid.input_edges, b.input_index) for b in unknown) / rate,
        math.fsum(b.rate_rps * log_uniform_mean(grid.output_edges, b.output_index) for b in unknown) / rate,
    )
    most = (
        math.fsum(b.rate_rps * b.input_tokens for b in unknown) / rate,
        math.fsum(b.rate_rps * b.output_tokens for b in unknown) / rate,
    )
    if min(taken[0] / most[0], taken[1] / most[1]) < _WIDE:
        yield (
            f"How large requests are within their buckets is not given: they are taken for {taken[0]:,.0f} input and "
            f"{taken[1]:,.0f} output tokens on average, with edges of {most[0]:,.0f} and {most[1]:,.0f}. State "
            "mean_tokens, narrower buckets, or `bucket_size: upper`."
        )


def _profile_warnings(groups: Iterable[ReplicaGroup]) -> Iterator[str]:
    for group in groups:
        profile = group.profile
        if profile.kind is ProfileKind.MEASURED:
            continue
        error = profile.error
        known = "its error is not known"
        if error is not None and error.request_rate_within is not None:
            within = interval_text(error.request_rate_within)
            known = f"in 4 of 5 cases within {within} of the predicted request rate; {error.statistic}: {error.basis}"
        slower = f"; planned {profile.slower_by - 1:.0%} slower than predicted" if profile.slower_by > 1.0 else ""
        doubt = f"is {profile.kind}, not measured ({known}){slower}"
        yield f"Throughput of {group.name} {doubt}. Measure before a large launch."


def _price_warnings(groups: Sequence[ReplicaGroup], book: PriceBook) -> Iterator[str]:
    """One line for all prices: old ones must be seen, not drowned."""
    dates = {
        f"{group.cloud} as stated ({group.price.source})"
        if group.price.is_of_own_gpus
        else f"{group.cloud} of {group.price.data_date or 'unknown date'} ({group.price.source})"
        for group in groups
    }
    yield f"Prices are those of {', '.join(sorted(dates))}. Check them before launching."
    for group in groups:
        for mark in (SOURCES_DISAGREE, IN_DOUBT):
            _, found, said = group.price.detail.partition(mark)
            if found:
                yield f"Price of {group.name}: {mark}{said}."
    yield from _unconfirmed_warnings(groups, book)


def _concerns(workload: Workload, note: str) -> bool:
    """Whether a note is not about the prices of a cloud that is no candidate."""
    clouds = workload.candidates.clouds
    about, found, _ = note.removeprefix("Prices of ").partition(":")
    return clouds is None or not note.startswith("Prices of ") or not found or about in clouds


def _unconfirmed_warnings(groups: Sequence[ReplicaGroup], book: PriceBook) -> Iterator[str]:
    if not book.unconfirmed:
        return
    machines = {offer.machine for offer in book.offers if offer.name in book.unconfirmed}
    names = [f"{group.name} ({group.cloud})" for group in groups if group.machine in machines]
    if names:
        yield (
            f"Prices of {len(names)} of {len(groups)} groups are unconfirmed: no list, second source, neighbour or "
            f"earlier price speaks for those of {', '.join(names)}."
        )


def _launch_warnings(workload: Workload, groups: Sequence[ReplicaGroup]) -> Iterator[str]:
    has_router = workload.router.kind is not RouterKind.NONE
    if workload.routing is not RoutingPolicy.BLIND and len(groups) > 1 and not has_router:
        yield "The groups need a router in front that follows the shares in plan.json, or the targets may not hold."


_MOST_NAMED = 3


def commitment_warnings(workload: Workload, book: PriceBook) -> Iterator[str]:
    """What is not known of the commitments that `candidates.purchase` asks for, and which are not worth their name."""
    wanted = workload.candidates
    if not wanted.commitments:
        return
    considered = [
        offer
        for offer in book.offers
        if offer.accelerators_per_instance
        and not offer.use_spot
        and offer.reserved_instances is None
        and (wanted.clouds is None or offer.cloud in wanted.clouds)
        and (wanted.accelerators is None or offer.accelerator in wanted.accelerators)
    ]
    prices = {(*each.covered, each.kind): each.price_usd_per_hour for each in book.commitments}
    instead = "planned by the hour" if wanted.by_the_hour else "left out"
    unknown: dict[tuple[str, ...], list[PriceKind]] = {}
    for kind in wanted.commitments:
        there = {offer.cloud for offer in considered if (*offer.covered, kind) in prices}
        unknown.setdefault(tuple(sorted({offer.cloud for offer in considered} - there)), []).append(kind)
    for clouds, kinds in unknown.items():
        if clouds:
            yield (
                f"Commitments: no price of {' or '.join(kinds)} is known of {', '.join(clouds)}: machines there are "
                f"{instead} where no other term has a price. prices.overrides takes yours (purchase: {kinds[0]})."
            )
    for kind in wanted.commitments:
        dearer = sorted(
            offer.name
            for offer in considered
            if (price := prices.get((*offer.covered, kind))) is not None and price >= offer.price_usd_per_hour
        )
        if dearer:
            more = f" and {len(dearer) - _MOST_NAMED} more" if len(dearer) > _MOST_NAMED else ""
            yield (
                f"Commitments: {kind} costs as much as today's price on demand or more for "
                f"{', '.join(dearer[:_MOST_NAMED])}{more}: one of the two prices is wrong or old."
            )
