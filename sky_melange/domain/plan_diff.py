"""What changed between two plans. Figures are never rounded here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sky_melange.domain.plan import Cost, ReplicaGroup
from sky_melange.domain.unit_costs import UnitCosts


class GroupChangeKind(StrEnum):
    """What happened to a replica group. `kept` groups may still have another price."""

    ADDED = "added"
    REMOVED = "removed"
    RESIZED = "resized"
    KEPT = "kept"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChange:
    """One group in both plans, the same machine in the same place and layout; None in the plan that lacks it.

    `price_effect` is the change of its cost by price at the old count, `count_effect` by count at the new price, both
    USD per hour; their sum is the change of the group's cost.
    """

    kind: GroupChangeKind
    old: ReplicaGroup | None
    new: ReplicaGroup | None
    price_effect_usd_per_hour: float
    count_effect_usd_per_hour: float
    old_request_fraction: float
    new_request_fraction: float

    @property
    def name(self) -> str:
        """The new name, or the old one of a group that is gone."""
        group = self.new or self.old
        return group.name if group is not None else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """A bucket whose shares moved. Shares are by name in the new plan; groups that are gone keep their old name.

    `moved_fraction` (0..1) is the part of the bucket's requests that goes to another group than before.
    """

    input_tokens: int
    output_tokens: int
    rate_rps: float
    moved_fraction: float
    old_shares: tuple[tuple[str, float], ...]
    new_shares: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChange:
    """One thing in the workload or profiles that differs, as text; None where it is absent.

    `note` says it in words where there are no two values to set beside each other.
    """

    key: str
    old: str | None = None
    new: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDiff:
    """All differences. price + count + overhead effects sum to the change of the total.

    `moved_fraction` (0..1) is the part of the new plan's requests, in buckets that both plans have, that is routed to
    another group. Costs and effects are of the busiest hour; the means are those over a plan's schedule, where it has
    one.
    """

    old_name: str
    new_name: str
    old_cost: Cost
    new_cost: Cost
    old_mean_usd_per_hour: float
    new_mean_usd_per_hour: float
    old_units: UnitCosts
    new_units: UnitCosts
    groups: tuple[GroupChange, ...]
    price_effect_usd_per_hour: float
    count_effect_usd_per_hour: float
    overhead_effect_usd_per_hour: float
    routes: tuple[RouteChange, ...]
    moved_fraction: float
    workload: tuple[InputChange, ...]
    profiles: tuple[InputChange, ...]
    workload_file_changed: bool
    profiles_changed: bool
    prices_changed: bool

    @property
    def is_empty(self) -> bool:
        """Whether the plans would launch the same machines at the same prices, with the same routes and inputs."""
        same_groups = all(change.kind is GroupChangeKind.KEPT and not _moved(change) for change in self.groups)
        inputs = self.workload or self.profiles or self.profiles_changed
        same_cost = self.old_cost == self.new_cost and self.old_mean_usd_per_hour == self.new_mean_usd_per_hour
        return same_groups and not self.routes and not inputs and same_cost

    @property
    def is_by_the_clock(self) -> bool:
        """Whether either plan costs less on average than in its busiest hour."""
        return (self.old_mean_usd_per_hour, self.new_mean_usd_per_hour) != (
            self.old_cost.total_usd_per_hour,
            self.new_cost.total_usd_per_hour,
        )


def _moved(change: GroupChange) -> bool:
    return change.price_effect_usd_per_hour != 0 or change.count_effect_usd_per_hour != 0
