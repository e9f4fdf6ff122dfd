"""The optimisation problem as plain numbers: no names of clouds or models, nothing of PuLP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.candidate import Candidate
from sky_melange.domain.profile import Skipped
from sky_melange.domain.workload import RoutingPolicy, Workload

RoutingClasses = tuple[tuple[int, ...], ...]
"""Buckets (by index) that the front door cannot tell apart, and which therefore share one set of weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """A limit Σ_c usage[c]·n_c ≤ limit, with its name for messages (`constraints.max_accelerators.H100`)."""

    name: str
    usage: tuple[int, ...]
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Sets: routing classes r, candidates c.

    `loads[r][c]`: instances of c that all of class r would keep fully busy, Σ_{b∈r} λ_b ÷ μ_bc; None when c cannot
    serve some bucket of r. `prices[c]`: USD per hour an instance. `replicas[c]`: replicas an instance.
    """

    loads: tuple[tuple[float | None, ...], ...]
    prices: tuple[float, ...]
    replicas: tuple[int, ...]
    max_utilization: float = 1.0
    min_replicas: int = 0
    max_groups: int | None = None
    caps: tuple[Cap, ...] = ()

    @property
    def class_count(self) -> int:
        """Number of routing classes."""
        return len(self.loads)

    @property
    def candidate_count(self) -> int:
        """Number of candidates."""
        return len(self.prices)

    def loads_on(self, c: int) -> list[tuple[int, float]]:
        """(class, load in instances) of the classes that candidate c can serve."""
        return [(r, load) for r, row in enumerate(self.loads) if (load := row[c]) is not None]

    def restricted_to(self, kept: Sequence[int]) -> Problem:
        """The same problem with the candidates `kept` only, in that order."""
        return Problem(
            loads=tuple(tuple(row[c] for c in kept) for row in self.loads),
            prices=tuple(self.prices[c] for c in kept),
            replicas=tuple(self.replicas[c] for c in kept),
            max_utilization=self.max_utilization,
            min_replicas=self.min_replicas,
            max_groups=self.max_groups,
            caps=tuple(
                Cap(name=cap.name, usage=tuple(cap.usage[c] for c in kept), limit=cap.limit) for cap in self.caps
            ),
        )


def routing_classes(policy: RoutingPolicy, buckets: Sequence[Bucket]) -> RoutingClasses:
    """Groups the buckets that a policy must route alike: the whole meaning of a routing policy.

    `size_aware`: every bucket alone. `input_aware`: buckets of one input edge together. `blind`: all together.
    """
    classes: dict[tuple[int, ...], list[int]] = {}
    for index, bucket in enumerate(buckets):
        classes.setdefault(_seen_by(policy, bucket), []).append(index)
    return tuple(tuple(members) for _, members in sorted(classes.items()))


def _seen_by(policy: RoutingPolicy, bucket: Bucket) -> tuple[int, ...]:
    """What the front door knows of a request in this bucket."""
    match policy:
        case RoutingPolicy.SIZE_AWARE:
            return (bucket.input_index, bucket.output_index)
        case RoutingPolicy.INPUT_AWARE:
            return (bucket.input_index,)
        case RoutingPolicy.BLIND:
            return ()


def build_problem(
    workload: Workload, buckets: Sequence[Bucket], classes: RoutingClasses, candidates: Sequence[Candidate]
) -> Problem:
    """Turns candidates into numbers. `buckets` are those with traffic, in the order of `Candidate.capacities`."""
    limits = workload.constraints
    return Problem(
        loads=tuple(tuple(_class_load(candidate, members, buckets) for candidate in candidates) for members in classes),
        prices=tuple(candidate.offer.price_usd_per_hour for candidate in candidates),
        replicas=tuple(candidate.replicas_per_instance for candidate in candidates),
        max_utilization=limits.max_utilization,
        min_replicas=limits.min_replicas,
        max_groups=limits.max_groups,
        caps=tuple(
            Cap(
                name=f"constraints.max_accelerators.{accelerator}",
                usage=tuple(
                    candidate.offer.accelerators_per_instance if candidate.offer.accelerator == accelerator else 0
                    for candidate in candidates
                ),
                limit=limit,
            )
            for accelerator, limit in sorted(limits.max_accelerators.items())
        ),
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
