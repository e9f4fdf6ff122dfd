"""Not all eggs in one basket: the part of the requests, not of the money, that one place may get."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.problem import GroupCapacities, Limit, Problem, Program, Terms

SHARE_TOLERANCE: Final = 1e-6
_NO_PLACE: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareLimit(Limit):
    """Σ_{c∈members} Σ_r w_r · x_rc ≤ limit for every place (label, members); w_r is the part of requests in class r.

    `constraints.max_cloud_share` (places are clouds), `max_region_share`, `max_spot_share`.
    """

    name: str
    places: tuple[tuple[str, tuple[bool, ...]], ...]
    limit_fraction: float

    @classmethod
    def of(cls, workload: Workload, candidates: Sequence[Candidate]) -> Iterator[Self]:
        limits = workload.constraints
        for key, fraction, label_of in (
            ("max_cloud_share", limits.max_cloud_share_fraction, _cloud),
            ("max_region_share", limits.max_region_share_fraction, _region),
            ("max_spot_share", limits.max_spot_share_fraction, _spot),
        ):
            if fraction is not None and fraction < 1:
                labels = [label_of(candidate.offer) for candidate in candidates]
                places = tuple(
                    (place, tuple(label == place for label in labels)) for place in sorted({*labels} - {_NO_PLACE})
                )
                if places:
                    yield cls(name=f"constraints.{key}", places=places, limit_fraction=fraction)

    def restricted_to(self, kept: Sequence[int]) -> Self:
        return replace(self, places=tuple((label, tuple(members[c] for c in kept)) for label, members in self.places))

    def rows(self, program: Program) -> None:
        whole = [(variable, -self.limit_fraction * factor) for variable, factor in program.whole]
        for _, members in self.places:
            routed = program.routed_to(members)
            if routed:
                program.at_most("share_#", [*routed, *whole], 0)

    def setting(self) -> str:
        return f"{self.limit_fraction:g}"

    @staticmethod
    def violations(plan: Plan, workload: Workload, capacities: GroupCapacities) -> Iterator[str]:
        limits = workload.constraints
        yield from _over(plan, "max_cloud_share", limits.max_cloud_share_fraction, lambda g: g.cloud)
        yield from _over(plan, "max_region_share", limits.max_region_share_fraction, lambda g: f"{g.cloud}/{g.region}")
        yield from _over(plan, "max_spot_share", limits.max_spot_share_fraction, lambda g: "spot" if g.use_spot else "")

    def may_replace(self, one: int, other: int, copies: int) -> bool:
        return all(members[other] or not members[one] for _, members in self.places)

    def counts_alike(self, one: int, other: int) -> bool:
        return all(members[one] == members[other] for _, members in self.places)

    def extra_instances(self, c: int) -> int:
        return 0

    def bound(self) -> float:
        return self.limit_fraction

    def measure(self, program: Program) -> Terms:
        """The largest share of a place: one key limits all of them."""
        level = program.variable("level_#")
        most = [(level, -factor) for _, factor in program.whole]
        for _, members in self.places:
            program.at_most("reached_#", [*program.routed_to(members), *most], 0)
        return [(level, 1)]

    def needed(self, measured: float) -> float:
        return min(1.0, math.ceil(measured * 1e4 - 1e-3) / 1e4)

    def in_the_way(self, problem: Problem, counts: Sequence[int], c: int, *, breaks: bool) -> Iterator[str]:
        """Named whatever the counts, which do not tell the shares."""
        for label, members in self.places:
            if members[c]:
                yield f"{self.name}{label and f' ({label})'} = {self.setting()}"


def _cloud(offer: Offer) -> str:
    return offer.cloud


def _region(offer: Offer) -> str:
    return f"{offer.cloud}/{offer.region}"


def _spot(offer: Offer) -> str:
    return "" if offer.use_spot else _NO_PLACE


def _over(plan: Plan, key: str, limit: float | None, place_of: Callable[[ReplicaGroup], str]) -> Iterator[str]:
    for place in sorted({place_of(group) for group in plan.groups} - {""}) if limit is not None else ():
        part = plan.request_fraction(*(group.name for group in plan.groups if place_of(group) == place))
        if limit is not None and part > limit + SHARE_TOLERANCE:
            yield f"{place} gets {part:.4%} of the requests, constraints.{key} allows {limit:.4%}"
