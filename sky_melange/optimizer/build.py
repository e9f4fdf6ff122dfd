"""Turns a workload and its candidates into the numbers of a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate
from sky_melange.domain.profile import Skipped
from sky_melange.domain.size_estimate import Part, SizeEstimates, capacity_of, size_estimates
from sky_melange.domain.workload import Constraints, Workload
from sky_melange.optimizer.limits import Cap, Floor, Keep, ShareLimit
from sky_melange.optimizer.problem import Loads, Problem, RoutingClasses


def build_problem(
    workload: Workload,
    buckets: Sequence[Bucket],
    classes: RoutingClasses,
    candidates: Sequence[Candidate],
    estimates: SizeEstimates | None = None,
) -> Problem:
    """The problem; `buckets` are those with traffic, in the order of `Candidate.capacities`.

    `estimates`: those under another routing policy than the workload's.
    """
    estimates = estimates or size_estimates(workload)
    limits = workload.constraints
    total_rps = sum(bucket.rate_rps for bucket in buckets)
    loads, *biased = _loads(candidates, classes, buckets, estimates)
    return Problem(
        loads=loads,
        biased=tuple(biased),
        prices=tuple(candidate.offer.price_usd_per_hour for candidate in candidates),
        replicas=tuple(candidate.replicas_per_instance for candidate in candidates),
        max_utilization=limits.max_utilization,
        min_replicas=limits.min_replicas,
        max_groups=limits.max_groups,
        caps=tuple(_caps(limits, candidates)),
        floors=tuple(_floors(limits, candidates)),
        share_limits=tuple(_share_limits(limits, candidates)),
        weights=_weights(classes, buckets, estimates, total_rps),
        losses=limits.tolerate_replica_losses,
        keep=_keep(limits, candidates),
    )


def _loads(
    candidates: Sequence[Candidate], classes: RoutingClasses, buckets: Sequence[Bucket], estimates: SizeEstimates
) -> tuple[Loads, ...]:
    """Σ λ_b · fraction ÷ μ_bc in instances over the parts that are taken for class r, in each case.

    None where the candidate cannot serve one of them.
    """
    of = _class_of(classes)
    by_class: list[list[Part]] = [[] for _ in classes]
    for part in estimates.parts:
        by_class[of[part.taken_for]].append(part)
    columns: dict[tuple[int, int], list[tuple[float | None, ...]]] = {}
    for candidate in candidates:
        key = (id(candidate.capacities), candidate.replicas_per_instance)
        if key not in columns:
            columns[key] = [_class_loads(candidate, parts, buckets, estimates.cases) for parts in by_class]
    chosen = [columns[id(candidate.capacities), candidate.replicas_per_instance] for candidate in candidates]
    return tuple(
        tuple(tuple(column[r][case] for column in chosen) for r in range(len(classes)))
        for case in range(estimates.cases)
    )


def _class_loads(
    candidate: Candidate, parts: Sequence[Part], buckets: Sequence[Bucket], cases: int
) -> tuple[float | None, ...]:
    sums = [0.0] * cases
    capacities = (*candidate.capacities, *candidate.strays)
    for part in parts:
        capacity = capacity_of(part, capacities)
        if isinstance(capacity, Skipped):
            return (None,) * cases
        load = buckets[part.bucket].rate_rps / (capacity.request_rate_rps * candidate.replicas_per_instance)
        for case, fraction in enumerate(part.fractions):
            sums[case] += load * fraction
    return tuple(sums)


def _weights(
    classes: RoutingClasses, buckets: Sequence[Bucket], estimates: SizeEstimates, total_rps: float
) -> tuple[float, ...]:
    """The fraction of all requests that is taken for each class."""
    of = _class_of(classes)
    sums = [0.0] * len(classes)
    for part in estimates.parts:
        sums[of[part.taken_for]] += buckets[part.bucket].rate_rps * part.fractions[0]
    return tuple(each / total_rps for each in sums)


def _class_of(classes: RoutingClasses) -> dict[int, int]:
    return {index: r for r, members in enumerate(classes) for index in members}


def _caps(limits: Constraints, candidates: Sequence[Candidate]) -> Iterator[Cap]:
    for accelerator, limit in sorted(limits.max_accelerators.items()):
        yield _cap(f"constraints.max_accelerators.{accelerator}", accelerator, limit, candidates, lambda _: True)
    for place, by_accelerator in sorted(limits.max_accelerators_in.items()):
        for accelerator, limit in sorted(by_accelerator.items()):
            name = f"constraints.max_accelerators_in.{place}.{accelerator}"
            yield _cap(name, accelerator, limit, candidates, lambda c, place=place: is_in(c, place))  # type: ignore[misc]
    reserved = {c.offer.name: c.offer.reserved_instances for c in candidates if c.offer.reserved_instances is not None}
    for name, instances in sorted(reserved.items()):
        usage = tuple(int(candidate.offer.name == name) for candidate in candidates)
        yield Cap(name=f"reserved capacity {name}", usage=usage, limit=instances)


def _cap(
    name: str, accelerator: str, limit: int, candidates: Sequence[Candidate], counts: Callable[[Candidate], bool]
) -> Cap:
    return Cap(
        name=name,
        usage=tuple(
            c.offer.accelerators_per_instance if c.offer.accelerator == accelerator and counts(c) else 0
            for c in candidates
        ),
        limit=limit,
    )


def is_in(candidate: Candidate, place: str) -> bool:
    """Whether a candidate is in a place: `aws`, or `aws/us-east-1`."""
    cloud, _, region = place.partition("/")
    return candidate.offer.cloud == cloud and region in ("", candidate.offer.region)


def _floors(limits: Constraints, candidates: Sequence[Candidate]) -> Iterator[Floor]:
    if limits.min_on_demand_replicas > 0:
        yield Floor(
            name="constraints.min_on_demand_replicas",
            supply=tuple(0 if c.offer.use_spot else c.replicas_per_instance for c in candidates),
            minimum=limits.min_on_demand_replicas,
        )


def _share_limits(limits: Constraints, candidates: Sequence[Candidate]) -> Iterator[ShareLimit]:
    """One limit for each cloud and each region there is, and one for all spot offers."""
    clouds = sorted({c.offer.cloud for c in candidates})
    regions = sorted({f"{c.offer.cloud}/{c.offer.region}" for c in candidates})
    wanted = (
        (limits.max_cloud_share_fraction, "constraints.max_cloud_share", clouds),
        (limits.max_region_share_fraction, "constraints.max_region_share", regions),
    )
    for fraction, name, places in wanted:
        if fraction is not None and fraction < 1:
            for place in places:
                members = tuple(is_in(c, place) for c in candidates)
                yield ShareLimit(name=f"{name} ({place})", members=members, limit_fraction=fraction)
    spot = tuple(c.offer.use_spot for c in candidates)
    if limits.max_spot_share_fraction is not None and limits.max_spot_share_fraction < 1 and any(spot):
        yield ShareLimit(name="constraints.max_spot_share", members=spot, limit_fraction=limits.max_spot_share_fraction)


def _keep(limits: Constraints, candidates: Sequence[Candidate]) -> Keep | None:
    """Previous groups that are no candidates now have to go whatever the plan, so they do not enter.

    Where the same machine is sold twice, reserved and at its list price, the reserved ones are taken to run first.
    """
    if limits.keep is None:
        return None
    left = Counter[tuple[object, ...]]()
    for group in limits.keep.groups:
        left[group.identity] += group.instances
    previous = [0] * len(candidates)
    for c in sorted(range(len(candidates)), key=lambda c: (candidates[c].offer.reserved_instances is None, c)):
        reserved = candidates[c].offer.reserved_instances
        running = left[candidates[c].identity]
        previous[c] = running if reserved is None else min(running, reserved)
        left[candidates[c].identity] -= previous[c]
    return Keep(previous=tuple(previous), usd_per_hour=limits.keep.switching_usd_per_hour)
