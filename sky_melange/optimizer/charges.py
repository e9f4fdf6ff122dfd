"""What a launch costs beside its replicas, as plain numbers of the program: the controller, and a router."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterCharge:
    """USD/h of the router that a plan of more than one endpoint needs.

    `near_usd_per_hour[c]`: of the cheapest machine for it in the region of candidate c, None where there is none. A
    plan pays the least of its groups' regions, and `elsewhere_usd_per_hour` only where none of them has a machine.
    """

    near_usd_per_hour: tuple[float | None, ...]
    elsewhere_usd_per_hour: float

    def usd_per_hour(self, used: Sequence[int]) -> float:
        """For a plan of the candidates `used`."""
        near = [price for c in used if (price := self.near_usd_per_hour[c]) is not None]
        return min(near, default=self.elsewhere_usd_per_hour)

    @property
    def least_usd_per_hour(self) -> float:
        """No plan pays less."""
        near = [price for price in self.near_usd_per_hour if price is not None]
        # Where each candidate has a machine near, none is ever elsewhere.
        return min(near if len(near) == len(self.near_usd_per_hour) else [*near, self.elsewhere_usd_per_hour])

    @property
    def most_usd_per_hour(self) -> float:
        """No plan pays more."""
        return max([self.elsewhere_usd_per_hour, *(p for p in self.near_usd_per_hour if p is not None)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """`base_usd_per_hour` is paid by every plan. `steps`: a plan of more than so many groups pays so much on top.

    `most_groups`: what one controller can run; None: no limit. `instances_are_endpoints`: every instance answers at an
    address of its own (clusters), not every group (services). `router` None: there is none, or its price is not known.
    """

    base_usd_per_hour: float = 0.0
    steps: tuple[tuple[int, float], ...] = ()
    most_groups: int | None = None
    instances_are_endpoints: bool = False
    router: RouterCharge | None = None

    @property
    def depend_on_groups(self) -> bool:
        """Whether the number of groups, or which there are, plays a part."""
        return bool(self.steps) or self.most_groups is not None or self.router is not None

    def restricted_to(self, kept: Sequence[int]) -> Charges:
        """The same over the candidates `kept`."""
        if self.router is None:
            return self
        near = tuple(self.router.near_usd_per_hour[c] for c in kept)
        return replace(self, router=replace(self.router, near_usd_per_hour=near))

    def endpoints(self, counts: Sequence[int]) -> int:
        """Addresses that a plan answers at."""
        return sum(counts) if self.instances_are_endpoints else sum(count > 0 for count in counts)

    def usd_per_hour(self, counts: Sequence[int]) -> float:
        """Everything beside the replicas of a plan."""
        used = [c for c, count in enumerate(counts) if count > 0]
        total = self.base_usd_per_hour + sum(extra for groups, extra in self.steps if len(used) > groups)
        if self.router is not None and self.endpoints(counts) > 1:
            total += self.router.usd_per_hour(used)
        return total

    def alone_usd_per_hour(self, c: int, instances: int) -> float:
        """The same for a plan of nothing but instances of c."""
        routed = self.router is not None and self.instances_are_endpoints and instances > 1
        return self.base_usd_per_hour + (self.router.usd_per_hour([c]) if routed and self.router is not None else 0.0)
