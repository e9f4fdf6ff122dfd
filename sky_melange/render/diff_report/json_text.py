"""For programs: every figure as it is, unrounded. Schema version 1, described in docs/check.md."""

from __future__ import annotations

import dataclasses
import json
from typing import Final

from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.plan_diff import GroupChange, PlanDiff, RouteChange
from sky_melange.render.diff_report import words

SCHEMA_VERSION: Final = 1


def render(diff: PlanDiff) -> str:
    """The JSON text."""
    return json.dumps(document(diff), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(diff: PlanDiff) -> dict[str, object]:
    """The same as plain JSON values."""
    return {
        "schema_version": SCHEMA_VERSION,
        "old": diff.old_name,
        "new": diff.new_name,
        "changed": not diff.is_empty,
        "summary": words.verdict_line(diff),
        "cost": {"old": dataclasses.asdict(diff.old_cost), "new": dataclasses.asdict(diff.new_cost)},
        "mean_usd_per_hour": {"old": diff.old_mean_usd_per_hour, "new": diff.new_mean_usd_per_hour},
        "unit_costs": {"old": dataclasses.asdict(diff.old_units), "new": dataclasses.asdict(diff.new_units)},
        "effects": {
            "price_usd_per_hour": diff.price_effect_usd_per_hour,
            "count_usd_per_hour": diff.count_effect_usd_per_hour,
            "overhead_usd_per_hour": diff.overhead_effect_usd_per_hour,
        },
        "groups": [_group(item) for item in diff.groups],
        "routing": {"moved_fraction": diff.moved_fraction, "buckets": [_route(item) for item in diff.routes]},
        "workload": [dataclasses.asdict(item) for item in diff.workload],
        "profiles": [dataclasses.asdict(item) for item in diff.profiles],
        "inputs_changed": {
            "workload": diff.workload_file_changed,
            "profiles": diff.profiles_changed,
            "prices": diff.prices_changed,
        },
    }


def _group(item: GroupChange) -> dict[str, object]:
    return {
        "change": item.kind.value,
        "old": _side(item.old, item.old_request_fraction),
        "new": _side(item.new, item.new_request_fraction),
        "price_effect_usd_per_hour": item.price_effect_usd_per_hour,
        "count_effect_usd_per_hour": item.count_effect_usd_per_hour,
    }


def _side(group: ReplicaGroup | None, request_fraction: float) -> dict[str, object] | None:
    if group is None:
        return None
    return {
        "name": group.name,
        "cloud": group.cloud,
        "region": group.region,
        "zone": group.zone,
        "instance_type": group.instance_type,
        "accelerator": group.accelerator,
        "accelerators_per_instance": group.accelerators_per_instance,
        "tensor_parallel": group.tensor_parallel,
        "layout": group.layout,
        "engine": group.engine,
        "use_spot": group.use_spot,
        "instances": group.instances,
        "price_usd_per_hour": group.price_usd_per_hour,
        "cost_usd_per_hour": group.cost_usd_per_hour,
        "request_fraction": request_fraction,
    }


def _route(item: RouteChange) -> dict[str, object]:
    return {**dataclasses.asdict(item), "old_shares": dict(item.old_shares), "new_shares": dict(item.new_shares)}
