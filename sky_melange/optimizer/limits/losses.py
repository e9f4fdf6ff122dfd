"""The traffic still fits when instances are lost."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.plan import Contingency, Plan
from sky_melange.domain.profile import Capacity
from sky_melange.domain.size_estimate import capacity_of, size_estimates
from sky_melange.domain.workload import RoutingPolicy, Workload
from sky_melange.optimizer.limits.shapes import BuiltIn
from sky_melange.optimizer.limits.utilization import TOLERANCE
from sky_melange.optimizer.problem import GroupCapacities, Limit, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ToleratedLosses(BuiltIn):
    """`constraints.tolerate_replica_losses` (`Problem.losses`): any so many instances may be lost."""

    name: str = "constraints.tolerate_replica_losses"
    losses: int

    is_minimum: ClassVar[bool] = True

    @classmethod
    def set_in(cls, problem: Problem) -> Iterator[Limit]:
        if problem.losses:
            yield cls(losses=problem.losses)

    def setting(self) -> str:
        return str(self.losses)

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        """Every loss of `tolerate_replica_losses` instances has its contingency, and each of those holds."""
        stated = {frozenset(contingency.lost): contingency for contingency in plan.contingencies}
        losses = workload.constraints.tolerate_replica_losses
        counts = {group.name: group.instances for group in plan.groups}
        if losses and sum(counts.values()) <= losses:
            yield f"{sum(counts.values())} instances are planned, constraints.tolerate_replica_losses is {losses}"
            return
        for chosen in itertools.combinations_with_replacement(sorted(counts), losses):
            lost = Counter(chosen)
            can_be_lost = losses and all(gone <= counts[name] for name, gone in lost.items())
            if can_be_lost and frozenset(lost.items()) not in stated:
                yield f"there is no routing for the loss of {_words(lost)}"
        buckets = workload.traffic.buckets()
        for contingency in plan.contingencies:
            yield from _holds(plan, workload, buckets, capacities, contingency)

    def extra_instances(self, c: int) -> int:
        return self.losses

    def bound(self) -> float:
        return self.losses

    def looser(self, problem: Problem) -> Sequence[tuple[float, Problem]]:
        return [(losses, replace(problem, losses=losses, loss_cuts=())) for losses in range(problem.losses - 1, -1, -1)]

    def without(self, problem: Problem) -> Problem:
        return replace(problem, losses=0, loss_cuts=())


def _holds(
    plan: Plan,
    workload: Workload,
    buckets: Sequence[Bucket],
    capacities: GroupCapacities,
    contingency: Contingency,
) -> Iterator[str]:
    """All traffic is routed to what is left, within the utilisation limit and the routing policy."""
    lost = dict(contingency.lost)
    what = f"after the loss of {_words(lost)}"
    left = {group.name: group.instances - lost.get(group.name, 0) for group in plan.groups}
    if len(contingency.shares) != len(buckets):
        yield f"{what} {len(contingency.shares)} buckets are routed, there are {len(buckets)}"
        return
    situations = workload.traffic.in_busiest_hours()
    busy = [dict.fromkeys(left, 0.0) for _ in situations]
    for bucket, shares in zip(buckets, contingency.shares, strict=True):
        if not math.isclose(math.fsum(share for _, share in shares), 1.0, rel_tol=TOLERANCE):
            yield f"{what} the shares of bucket {bucket.label} do not sum to 1"
    for part in size_estimates(workload).parts:
        for name, share in contingency.shares[part.taken_for]:
            capacity = capacity_of(part, capacities[name]) if left.get(name, 0) > 0 else None
            if not isinstance(capacity, Capacity) or share < 0:
                yield f"{what} bucket {buckets[part.bucket].label} is sent to {name}, which cannot serve it"
                continue
            for each, situation in zip(busy, situations, strict=True):
                each[name] += situation[part.bucket].rate_rps * share * part.fractions[0] / capacity.request_rate_rps
    for group in plan.groups:
        replicas = left[group.name] * group.replicas_per_instance
        limit = workload.constraints.utilization_limit if group.max_utilization is None else group.max_utilization
        most = max(each[group.name] for each in busy)
        if most > replicas * limit * (1 + TOLERANCE):
            yield f"{what} {group.name} is used to {most / replicas:.4f}, over {limit:g}"
    yield from _alike(plan.policy, buckets, contingency, what)


def _alike(policy: RoutingPolicy, buckets: Sequence[Bucket], contingency: Contingency, what: str) -> Iterator[str]:
    first: dict[int, tuple[tuple[str, float], ...]] = {}
    for bucket, shares in zip(buckets, contingency.shares, strict=True):
        key = {RoutingPolicy.INPUT_AWARE: bucket.input_tokens, RoutingPolicy.BLIND: 0}.get(policy)
        if key is not None and dict(first.setdefault(key, shares)) != dict(shares):
            yield f"{what} {policy} routing cannot tell bucket {bucket.label} from others that are routed elsewhere"


def _words(lost: Mapping[str, int]) -> str:
    return " and ".join(f"{gone} × {name}" for name, gone in sorted(lost.items()))
