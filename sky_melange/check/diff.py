"""What changed between two plans."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sky_melange.check.inputs import profile_changes, workload_changes
from sky_melange.domain.machine import Deployment
from sky_melange.domain.plan import Plan, ReplicaGroup, Route
from sky_melange.domain.plan_diff import GroupChange, GroupChangeKind, PlanDiff, RouteChange
from sky_melange.domain.unit_costs import unit_costs
from sky_melange.domain.workload import Workload

_LEAST_MOVE = 1e-9
"""Shares are written with twelve decimals; less is rounding."""

_Pairs = Sequence[tuple[ReplicaGroup | None, ReplicaGroup | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A plan and the workload that it was made for."""

    plan: Plan
    workload: Workload


def compare(old: Side, new: Side) -> PlanDiff:
    """Every difference. Groups are the same when machine, place and layout are, whatever their names."""
    pairs = _pairs(old.plan.groups, new.plan.groups)
    groups = tuple(_group_change(before, after, old.plan, new.plan) for before, after in pairs)
    names = {before.name: after.name for before, after in pairs if before is not None and after is not None}
    routes, moved_fraction = _route_changes(old.plan, new.plan, names)
    kept = [(before, after) for before, after in pairs if before is not None and after is not None]
    return PlanDiff(
        old_name=old.plan.name,
        new_name=new.plan.name,
        old_cost=old.plan.cost,
        new_cost=new.plan.cost,
        old_mean_usd_per_hour=old.plan.mean_usd_per_hour,
        new_mean_usd_per_hour=new.plan.mean_usd_per_hour,
        old_units=unit_costs(old.plan.mean_usd_per_hour, old.workload.traffic),
        new_units=unit_costs(new.plan.mean_usd_per_hour, new.workload.traffic),
        groups=groups,
        price_effect_usd_per_hour=math.fsum(change.price_effect_usd_per_hour for change in groups),
        count_effect_usd_per_hour=math.fsum(change.count_effect_usd_per_hour for change in groups),
        overhead_effect_usd_per_hour=new.plan.cost.overhead_usd_per_hour - old.plan.cost.overhead_usd_per_hour,
        routes=routes,
        moved_fraction=moved_fraction,
        workload=workload_changes(old.workload, new.workload),
        profiles=profile_changes(kept),
        workload_file_changed=old.plan.inputs.workload != new.plan.inputs.workload,
        profiles_changed=old.plan.inputs.profiles != new.plan.inputs.profiles,
        prices_changed=old.plan.inputs.prices != new.plan.inputs.prices,
    )


def _pairs(old: Sequence[ReplicaGroup], new: Sequence[ReplicaGroup]) -> _Pairs:
    """(old, new) of the same deployment, in the order of the new plan; then those that are gone."""
    waiting: dict[tuple[Deployment, int], list[ReplicaGroup]] = defaultdict(list)
    for group in old:
        waiting[group.deployment, group.replicas_per_instance].append(group)
    found: list[tuple[ReplicaGroup | None, ReplicaGroup | None]] = []
    for group in new:
        same = waiting[group.deployment, group.replicas_per_instance]
        found.append((same.pop(0) if same else None, group))
    gone = {id(group) for groups in waiting.values() for group in groups}
    return [*found, *((group, None) for group in old if id(group) in gone)]


def _group_change(old: ReplicaGroup | None, new: ReplicaGroup | None, before: Plan, after: Plan) -> GroupChange:
    price_effect, count_effect = 0.0, 0.0
    if old is None and new is not None:
        kind, count_effect = GroupChangeKind.ADDED, new.cost_usd_per_hour
    elif new is None and old is not None:
        kind, count_effect = GroupChangeKind.REMOVED, -old.cost_usd_per_hour
    elif old is not None and new is not None:
        kind = GroupChangeKind.KEPT if old.instances == new.instances else GroupChangeKind.RESIZED
        price_effect = (new.price_usd_per_hour - old.price_usd_per_hour) * old.instances
        count_effect = new.price_usd_per_hour * (new.instances - old.instances)
        if old.committed is not None or new.committed is not None:
            # What a term covers has another price: as many instances as before, as they are bought now.
            price_effect = new.costs(old.instances) - old.cost_usd_per_hour
            count_effect = new.cost_usd_per_hour - new.costs(old.instances)
    return GroupChange(
        kind=kind,
        old=old,
        new=new,
        price_effect_usd_per_hour=price_effect,
        count_effect_usd_per_hour=count_effect,
        old_request_fraction=0.0 if old is None else before.request_fraction(old.name),
        new_request_fraction=0.0 if new is None else after.request_fraction(new.name),
    )


def _route_changes(old: Plan, new: Plan, names: Mapping[str, str]) -> tuple[tuple[RouteChange, ...], float]:
    """Buckets of both plans whose shares moved, and the part of those plans' common requests that moved."""
    before = {(route.input_tokens, route.output_tokens): _renamed(route, names, new) for route in old.routing}
    changes: list[RouteChange] = []
    common: list[float] = []
    for route in new.routing:
        earlier = before.get((route.input_tokens, route.output_tokens))
        if earlier is None:
            continue
        common.append(route.rate_rps)
        shares = dict(route.shares)
        moved = 0.5 * math.fsum(abs(shares.get(g, 0.0) - earlier.get(g, 0.0)) for g in sorted({*shares, *earlier}))
        if moved > _LEAST_MOVE:
            changes.append(
                RouteChange(
                    input_tokens=route.input_tokens,
                    output_tokens=route.output_tokens,
                    rate_rps=route.rate_rps,
                    moved_fraction=moved,
                    old_shares=tuple(sorted(earlier.items())),
                    new_shares=route.shares,
                )
            )
    total = math.fsum(common)
    moved_rps = math.fsum(change.rate_rps * change.moved_fraction for change in changes)
    return tuple(changes), moved_rps / total if total > 0 else 0.0


def _renamed(route: Route, names: Mapping[str, str], new: Plan) -> dict[str, float]:
    """Shares by the groups' new names; a group that is gone must not pass for a new one of its name."""
    taken = {group.name for group in new.groups}
    return {names.get(name, f"{name} (gone)" if name in taken else name): share for name, share in route.shares}
