"""What can be bought is limited: GPUs by quota, machines by what is reserved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.limits.shapes import Counted
from sky_melange.optimizer.problem import GroupCapacities


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap(Counted):
    """`constraints.max_accelerators` and `max_accelerators_in` in GPUs; what is reserved in instances."""

    row: ClassVar[str] = "cap_#"

    is_shared: bool = False
    """Of something that other workloads may have a part of: a fleet has one of it, by `name`."""

    @classmethod
    def of(cls, workload: Workload, candidates: Sequence[Candidate]) -> Iterator[Self]:
        limits = workload.constraints
        for accelerator, limit in sorted(limits.max_accelerators.items()):
            yield cls.on(f"constraints.max_accelerators.{accelerator}", accelerator, limit, candidates, lambda _: True)
        for place, by_accelerator in sorted(limits.max_accelerators_in.items()):
            for accelerator, limit in sorted(by_accelerator.items()):
                name = f"constraints.max_accelerators_in.{place}.{accelerator}"
                yield cls.on(name, accelerator, limit, candidates, lambda c, place=place: is_in(c, place))  # type: ignore[misc]
        offers = [candidate.offer for candidate in candidates]
        reserved = {offer.name: offer.reserved_instances for offer in offers if offer.reserved_instances is not None}
        for name, instances in sorted(reserved.items()):
            weights = tuple(int(offer.name == name) for offer in offers)
            yield cls(name=f"reserved capacity {name}", weights=weights, limit=instances, is_shared=True)

    @classmethod
    def on(
        cls,
        name: str,
        accelerator: str,
        limit: int,
        candidates: Sequence[Candidate],
        counts: Callable[[Candidate], bool],
    ) -> Self:
        """Of the GPUs of a model, in the candidates that count."""
        weights = tuple(
            c.offer.accelerators_per_instance if c.offer.accelerator == accelerator and counts(c) else 0
            for c in candidates
        )
        return cls(name=name, weights=weights, limit=limit)

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        limits = workload.constraints
        for accelerator, limit in limits.max_accelerators.items():
            used = _gpus(plan.groups, accelerator)
            if used > limit:
                yield f"{used} × {accelerator} are planned, constraints.max_accelerators allows {limit}"
        for place, by_accelerator in limits.max_accelerators_in.items():
            for accelerator, limit in by_accelerator.items():
                used = _gpus((g for g in plan.groups if place in (g.cloud, f"{g.cloud}/{g.region}")), accelerator)
                if used > limit:
                    yield (
                        f"{used} × {accelerator} are planned in {place}, constraints.max_accelerators_in allows {limit}"
                    )
        sold = Counter[tuple[str, int]]()
        for group in plan.groups:
            if group.reserved_instances is not None:
                place = "/".join(filter(None, (group.cloud, group.region, group.zone, group.instance_type)))
                sold[place, group.reserved_instances] += group.instances
        for (place, reserved), instances in sold.items():
            if instances > reserved:
                yield f"{instances} × {place} are planned at the price of reserved capacity, {reserved} are reserved"


def is_in(candidate: Candidate, place: str) -> bool:
    """Whether a candidate is in a place: `aws`, or `aws/us-east-1`."""
    cloud, _, region = place.partition("/")
    return candidate.offer.cloud == cloud and region in ("", candidate.offer.region)


def _gpus(groups: Iterable[ReplicaGroup], accelerator: str) -> int:
    return sum(
        group.instances * group.accelerators_per_instance for group in groups if group.accelerator == accelerator
    )
