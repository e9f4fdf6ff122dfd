"""From the solver's numbers to the groups and routes of a plan."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate
from sky_melange.domain.plan import Contingency, GroupCommitment, ReplicaGroup, Route, max_concurrency
from sky_melange.domain.profile import Capacity, Skipped
from sky_melange.domain.size_estimate import SizeEstimates, capacity_of, size_estimates
from sky_melange.domain.workload import Workload
from sky_melange.errors import SkyMelangeError
from sky_melange.optimizer.problem import RoutingClasses
from sky_melange.optimizer.solve.solution import Contingency as FoundContingency
from sky_melange.optimizer.solve.solution import Solution

_SHARE_DECIMALS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """Groups by name, the routes of every bucket, what to do when instances are lost, and each group's candidate."""

    groups: tuple[ReplicaGroup, ...]
    routing: tuple[Route, ...]
    candidates: dict[str, Candidate]
    contingencies: tuple[Contingency, ...] = ()


def assemble(
    workload: Workload,
    buckets: Sequence[Bucket],
    classes: RoutingClasses,
    candidates: Sequence[Candidate],
    solution: Solution,
    utilizations: Sequence[float] | None = None,
) -> Assembled:
    """Names the groups, rounds the shares, and computes each group's utilisation from the rounded shares.

    `utilizations`: as in `Model`.
    """
    used = [c for c, count in enumerate(solution.counts) if count > 0]
    names = group_names(workload.name, [candidates[c] for c in used])
    name_of = dict(zip(used, names, strict=True))
    routing: dict[int, Route] = {}
    estimates = size_estimates(workload)
    taken_rps = estimates.taken_rps(buckets)
    for members, row in zip(classes, solution.shares, strict=True):
        shares = _rounded([(name_of[c], row[c]) for c in used if row[c] > 0])
        for index in members:
            routing[index] = Route(
                input_tokens=buckets[index].input_tokens,
                output_tokens=buckets[index].output_tokens,
                rate_rps=buckets[index].rate_rps,
                shares=shares,
                can_serve=tuple(sorted(name_of[c] for c in used if _can_serve(candidates[c], index))),
                taken_rps=None if taken_rps is None else taken_rps[index],
            )
    routes = tuple(routing[index] for index in range(len(buckets)))
    groups = [
        _group(
            name_of[c],
            candidates[c],
            solution.counts[c],
            workload.traffic.in_busiest_hours(),
            routes,
            estimates,
            None if utilizations is None else utilizations[c],
            None if solution.committed is None else solution.committed[c],
        )
        for c in used
    ]
    return Assembled(
        groups=tuple(sorted(groups, key=lambda group: group.name)),
        routing=routes,
        candidates={name_of[c]: candidates[c] for c in used},
        contingencies=tuple(_contingency(found, name_of, classes) for found in solution.contingencies),
    )


def _contingency(found: FoundContingency, name_of: Mapping[int, str], classes: RoutingClasses) -> Contingency:
    by_bucket: dict[int, tuple[tuple[str, float], ...]] = {}
    for members, row in zip(classes, found.shares, strict=True):
        shares = _rounded([(name, row[c]) for c, name in name_of.items() if row[c] > 0])
        by_bucket.update(dict.fromkeys(members, shares))
    return Contingency(
        lost=tuple(sorted((name, found.lost[c]) for c, name in name_of.items() if found.lost[c])),
        shares=tuple(by_bucket[index] for index in range(len(by_bucket))),
        peak_utilization=found.peak_utilization,
    )


def _can_serve(candidate: Candidate, bucket: int) -> bool:
    return isinstance(candidate.capacities[bucket], Capacity)


def group_names(prefix: str, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """A name for each candidate: as short as keeps them apart, the same whatever else the plan holds of that kind.

    `chat-l40s`, `chat-a100-80gb-x8`; where two would be alike the layout, cloud, region, zone and instance type join.
    """
    parts = [_name_parts(candidate) for candidate in candidates]
    for depth in range(1, 8):
        names = [_slug("-".join([prefix, *filter(None, part[:depth])])) for part in parts]
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(f"{name}-{number}" for number, name in enumerate(names, start=1))


def _name_parts(candidate: Candidate) -> tuple[str, ...]:
    offer = candidate.offer
    count = f"-x{offer.accelerators_per_instance}" if offer.accelerators_per_instance > 1 else ""
    spot = "-spot" if offer.use_spot else ""
    key = candidate.profile.key
    return (
        f"{offer.accelerator}{count}{spot}",
        "-".join(filter(None, (f"tp{key.tensor_parallel}", key.layout))),
        key.engine,
        offer.cloud,
        offer.region,
        offer.zone or "",
        offer.instance_type,
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _rounded(shares: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """Twelve decimals, summing to 1: the largest share takes up the rounding. Sorted by group name."""
    rounded = {name: round(share, _SHARE_DECIMALS) for name, share in shares}
    largest = max(sorted(rounded), key=lambda name: rounded[name])
    others = math.fsum(share for name, share in rounded.items() if name != largest)
    rounded[largest] = round(1.0 - others, _SHARE_DECIMALS)
    return tuple((name, share) for name, share in sorted(rounded.items()) if share > 0)


def _group(  # noqa: PLR0913, PLR0917 - what a group is made of
    name: str,
    candidate: Candidate,
    instances: int,
    situations: Sequence[Sequence[Bucket]],
    routes: Sequence[Route],
    estimates: SizeEstimates,
    max_utilization: float | None,
    committed: int | None,
) -> ReplicaGroup:
    offer, profile = candidate.offer, candidate.profile
    term = offer.committed
    busy = [0.0] * len(situations)
    in_flight = [0.0] * len(situations)
    shares = [dict(route.shares).get(name, 0.0) for route in routes]
    capacities = (*candidate.capacities, *candidate.strays)
    for part in estimates.parts:
        share = shares[part.taken_for] * part.fractions[0]
        if share > 0:
            served = _served(capacity_of(part, capacities))
            for number, buckets in enumerate(situations):
                load = buckets[part.bucket].rate_rps * share / served.request_rate_rps
                busy[number] += load
                in_flight[number] += load * served.concurrency
    is_simulated = max_utilization is not None
    return ReplicaGroup(
        name=name,
        cloud=offer.cloud,
        region=offer.region,
        zone=offer.zone,
        instance_type=offer.instance_type,
        accelerator=offer.accelerator,
        catalog_accelerator=offer.catalog_accelerator,
        accelerators_per_instance=offer.accelerators_per_instance,
        use_spot=offer.use_spot,
        instances=instances,
        replicas_per_instance=candidate.replicas_per_instance,
        tensor_parallel=profile.key.tensor_parallel,
        price_usd_per_hour=offer.price_usd_per_hour if term is None else term.on_demand_usd_per_hour,
        price=offer.provenance,
        utilization=max(busy) / (instances * candidate.replicas_per_instance),
        max_concurrency=max(
            max_concurrency(running, load, is_simulated=is_simulated)
            for running, load in zip(in_flight, busy, strict=True)
        ),
        engine_version=profile.engine_version,
        engine_args=tuple(sorted(profile.engine_args.items())),
        profile=profile.provenance,
        file=f"{name}.sky.yaml",
        reserved_instances=offer.reserved_instances,
        max_utilization=max_utilization,
        engine=profile.key.engine,
        layout=profile.key.layout,
        part=offer.part,
        committed=None
        if term is None
        else GroupCommitment(
            kind=term.kind,
            instances=instances if committed is None else committed,
            price_usd_per_hour=offer.price_usd_per_hour,
            as_of=term.as_of,
            source=term.source,
        ),
    )


def _served(capacity: Capacity | Skipped) -> Capacity:
    if isinstance(capacity, Skipped):
        raise SkyMelangeError(f"the solver used a pair that the model lacks: {capacity.detail}")
    return capacity
