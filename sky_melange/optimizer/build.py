"""Turns a workload and its candidates into the numbers of a problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate
from sky_melange.domain.profile import Skipped
from sky_melange.domain.workload import Constraints, Workload
from sky_melange.optimizer.limits import LIMITS
from sky_melange.optimizer.problem import Keep, Problem, RoutingClasses


def build_problem(
    workload: Workload, buckets: Sequence[Bucket], classes: RoutingClasses, candidates: Sequence[Candidate]
) -> Problem:
    """The problem; `buckets` are those with traffic, in the order of `Candidate.capacities`."""
    limits = workload.constraints
    total_rps = sum(bucket.rate_rps for bucket in buckets)
    return Problem(
        loads=tuple(tuple(_class_load(candidate, members, buckets) for candidate in candidates) for members in classes),
        prices=tuple(candidate.offer.price_usd_per_hour for candidate in candidates),
        replicas=tuple(candidate.replicas_per_instance for candidate in candidates),
        max_utilization=limits.max_utilization,
        limits=tuple(limit for kind in LIMITS.values() for limit in kind.of(workload, candidates)),
        weights=tuple(sum(buckets[index].rate_rps for index in members) / total_rps for members in classes),
        losses=limits.tolerate_replica_losses,
        keep=_keep(limits, candidates),
    )


def _class_load(candidate: Candidate, members: Sequence[int], buckets: Sequence[Bucket]) -> float | None:
    """Σ_{b∈r} λ_b ÷ μ_bc in instances, or None when the candidate cannot serve one of the buckets."""
    load = 0.0
    for index in members:
        capacity = candidate.capacities[index]
        if isinstance(capacity, Skipped):
            return None
        load += buckets[index].rate_rps / (capacity.request_rate_rps * candidate.replicas_per_instance)
    return load


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
