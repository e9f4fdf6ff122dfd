"""What can be bought is limited: GPUs by quota or by what one has, machines by what is reserved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.limits.shapes import Counted
from sky_melange.optimizer.problem import GroupCapacities


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap(Counted):
    """`constraints.max_accelerators`, `max_accelerators_in` and one's own in GPUs; what is reserved in instances."""

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
        for gpus in workload.candidates.own:
            place = f"{gpus.cloud}/{gpus.place}"
            name = f"{gpus.accelerator} on {gpus.infra} (candidates.own)"
            cap = cls.on(name, gpus.accelerator, gpus.gpus, candidates, lambda c, place=place: is_in(c, place))  # type: ignore[misc]
            yield replace(cap, is_shared=True)
        # Pods of own GPUs are counted together above.
        offers = [candidate.offer for candidate in candidates]
        bounded = (offer for offer in offers if not offer.provenance.is_of_own_gpus)
        reserved = {offer.name: offer.reserved_instances for offer in bounded if offer.reserved_instances is not None}
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
        for gpus in workload.candidates.own:
            used = _gpus((g for g in plan.groups if (g.cloud, g.region) == (gpus.cloud, gpus.place)), gpus.accelerator)
            if used > gpus.gpus:
                yield f"{used} × {gpus.accelerator} are planned on {gpus.infra}, which has {gpus.gpus}"
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
