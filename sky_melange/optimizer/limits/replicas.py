"""Enough replicas to lose one, and some that are not spot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.limits.shapes import AtLeast
from sky_melange.optimizer.problem import GroupCapacities


@dataclass(frozen=True, slots=True, kw_only=True)
class MinReplicas(AtLeast):
    """`constraints.min_replicas`: weights are replicas an instance. Every plan has one."""

    name: str = "constraints.min_replicas"

    row: ClassVar[str] = "min_replicas"

    @classmethod
    def of(cls, workload: Workload, candidates: Sequence[Candidate]) -> Iterator[Self]:
        if workload.constraints.min_replicas > 1:
            weights = tuple(candidate.replicas_per_instance for candidate in candidates)
            yield cls(weights=weights, limit=workload.constraints.min_replicas)

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        replicas, wanted = sum(group.replicas for group in plan.groups), workload.constraints.min_replicas
        if replicas < wanted:
            yield f"{replicas} replicas are planned, constraints.min_replicas is {wanted}"
        for group in plan.groups:
            if group.instances < 1:
                yield f"{group.name} has {group.instances} instances"


@dataclass(frozen=True, slots=True, kw_only=True)
class MinOnDemandReplicas(AtLeast):
    """`constraints.min_on_demand_replicas`: weights are replicas an instance, 0 for spot."""

    name: str = "constraints.min_on_demand_replicas"

    @classmethod
    def of(cls, workload: Workload, candidates: Sequence[Candidate]) -> Iterator[Self]:
        if workload.constraints.min_on_demand_replicas > 0:
            weights = tuple(0 if c.offer.use_spot else c.replicas_per_instance for c in candidates)
            yield cls(weights=weights, limit=workload.constraints.min_on_demand_replicas)

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        on_demand = sum(group.replicas for group in plan.groups if not group.use_spot)
        wanted = workload.constraints.min_on_demand_replicas
        if on_demand < wanted:
            yield f"{on_demand} on-demand replicas are planned, constraints.min_on_demand_replicas is {wanted}"
