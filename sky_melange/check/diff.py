"""What changed between two plans."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.buckets import Traffic
from sky_melange.domain.hours import Hours
from sky_melange.domain.machine import Deployment
from sky_melange.domain.plan import Plan, ReplicaGroup, Route
from sky_melange.domain.plan_diff import GroupChange, GroupChangeKind, InputChange, PlanDiff, RouteChange
from sky_melange.domain.unit_costs import unit_costs
from sky_melange.domain.workload import Workload

_TABLES: Final = (
    "traffic.rates_rps",
    "traffic.mean_tokens",
    "traffic.hours.rates_rps",
    "traffic.hours.windows_rps",
    "traffic.hours.sizes",
)
"""Compared by bucket or hour, not by position: a new edge moves every position."""

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
        profiles=_profile_changes(kept),
        workload_file_changed=old.plan.inputs.workload != new.plan.inputs.workload,
        profiles_changed=old.plan.inputs.profiles != new.plan.inputs.profiles,
        prices_changed=old.plan.inputs.prices != new.plan.inputs.prices,
    )


def workload_changes(old: Workload, new: Workload) -> tuple[InputChange, ...]:
    """Every key that differs, in the order of the fields, then the traffic by bucket."""
    before, after = dict(_flat(old, "")), dict(_flat(new, ""))
    return (
        *_changes(before, after),
        *_traffic_changes(old.traffic, new.traffic),
        *_hours_changes(old.traffic.hours, new.traffic.hours),
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


def _profile_changes(pairs: Iterable[tuple[ReplicaGroup, ReplicaGroup]]) -> tuple[InputChange, ...]:
    """What each group's throughput rests on, where that differs; keys begin with the group's new name."""
    found: list[InputChange] = []
    for old, new in pairs:
        for name in ("profile", "engine_version", "engine_args"):
            before = dict(_flat(getattr(old, name), f"{new.name}.{name}"))
            after = dict(_flat(getattr(new, name), f"{new.name}.{name}"))
            found += _changes(before, after)
    return tuple(found)


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[InputChange]:
    return [
        InputChange(key=key, old=before.get(key), new=after.get(key))
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    ]


def _traffic_changes(old: Traffic, new: Traffic) -> Iterator[InputChange]:
    """The total rate, and how many buckets have another rate, another share of the requests, or other sizes."""
    # Sums over buckets: other shares of the same rate differ in the last digits.
    if not math.isclose(old.request_rate_rps, new.request_rate_rps, rel_tol=1e-12):
        yield InputChange(
            key="traffic.request_rate", old=f"{old.request_rate_rps:g} req/s", new=f"{new.request_rate_rps:g} req/s"
        )
    before = {(b.input_tokens, b.output_tokens): b for b in old.buckets()}
    after = {(b.input_tokens, b.output_tokens): b for b in new.buckets()}
    moved = 0.5 * sum(
        abs(
            (before[key].rate_rps / old.request_rate_rps if key in before else 0.0)
            - (after[key].rate_rps / new.request_rate_rps if key in after else 0.0)
        )
        for key in {*before, *after}
    )
    if moved > 1e-9:
        yield InputChange(key="traffic.sizes", note=f"{moved:.2%} of the requests have another size")
    sizes = [
        key
        for key in before.keys() & after.keys()
        if (before[key].planned_input_tokens, before[key].planned_output_tokens)
        != (after[key].planned_input_tokens, after[key].planned_output_tokens)
    ]
    if sizes:
        yield InputChange(key="traffic.planned_sizes", note=f"{len(sizes)} buckets are planned at another size")


def _hours_changes(old: Hours | None, new: Hours | None) -> Iterator[InputChange]:
    """How many hours have another rate, and the mean over the cycle; what differs of their sizes."""
    if old is not None and new is not None and old.sizes != new.sizes:
        was, now = (", ".join(f"{each.name} ({len(each.hours)} h)" for each in hours.sizes) for hours in (old, new))
        note = "some hours have other sizes, or are in another set" if was == now else ""
        yield InputChange(key="traffic.hours.sizes", old=was or None, new=now or None, note=note)
    if old is None or new is None or old.rates_rps == new.rates_rps:
        return
    if len(old.rates_rps) != len(new.rates_rps):
        was, now = (f"{len(hours.rates_rps)} hours" for hours in (old, new))
        yield InputChange(key="traffic.hours", old=was, new=now)
        return
    other = sum(before != now for before, now in zip(old.rates_rps, new.rates_rps, strict=True))
    means = f"{old.mean_rps:.4g} req/s on average when planned, {new.mean_rps:.4g} now"
    yield InputChange(key="traffic.hours", note=f"{other} of {len(old.rates_rps)} hours have another rate; {means}")


def _flat(value: object, key: str) -> Iterator[tuple[str, str]]:
    """(`slo.tpot_s`, `0.04`) for each leaf; what is None or empty is absent."""
    if key in _TABLES or value is None or value in ((), "", {}):
        return
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _flat(getattr(value, field.name), f"{key}.{field.name}" if key else field.name)
    elif isinstance(value, Mapping):
        for name, item in sorted(value.items()):
            yield from _flat(item, f"{key}.{name}")
    elif isinstance(value, tuple):
        yield key, ", ".join(_item(item) for item in value)
    else:
        yield key, f"{value:g}" if isinstance(value, float) else str(value)


def _item(value: object) -> str:
    """One item of a list, on one line."""
    if isinstance(value, tuple):
        return "=".join(_item(item) for item in value)
    if dataclasses.is_dataclass(value):
        return " ".join(f"{name}={text}" for name, text in _flat(value, ""))
    return f"{value:g}" if isinstance(value, float) else str(value)
