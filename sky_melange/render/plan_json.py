"""plan.json, the one artifact between computing and everything that is made from a plan. Schema version 1."""

from __future__ import annotations

import dataclasses
import json
from typing import Final

from sky_melange.domain.plan import Alternative, Overhead, Plan, ReplicaGroup, Route
from sky_melange.domain.workload import Workload

SCHEMA_VERSION: Final = 1
FILE_NAME: Final = "plan.json"


def render(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> JSON text."""
    return {FILE_NAME: text(plan, workload)}


def text(plan: Plan, workload: Workload) -> str:
    """The JSON text; the same plan gives the same bytes."""
    return json.dumps(document(plan, workload), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(plan: Plan, workload: Workload) -> dict[str, object]:
    """The plan as plain JSON values, in the documented order of keys."""
    return {
        "schema_version": SCHEMA_VERSION,
        "name": plan.name,
        "model": {
            "id": workload.model.id,
            "dtype": workload.model.dtype,
            "max_model_len": workload.model.max_model_len,
        },
        "launch_mode": workload.launch.mode.value,
        "status": plan.status,
        "mip_gap": plan.mip_gap,
        "cost": dataclasses.asdict(plan.cost),
        "groups": [_group(group) for group in plan.groups],
        "overhead": [_overhead(machine) for machine in plan.overhead],
        "routing": {"policy": plan.policy.value, "buckets": [_route(route) for route in plan.routing]},
        "alternatives": [_alternative(alternative) for alternative in plan.alternatives],
        "assumptions": list(plan.assumptions),
        "warnings": list(plan.warnings),
        "inputs": {f"{name}_sha256": value for name, value in dataclasses.asdict(plan.inputs).items()},
    }


def _group(group: ReplicaGroup) -> dict[str, object]:
    fields = dataclasses.asdict(group)
    fields["engine_args"] = dict(group.engine_args)
    fields["profile"]["notes"] = list(group.profile.notes)
    fields["cost_usd_per_hour"] = group.cost_usd_per_hour
    return fields


def _overhead(machine: Overhead) -> dict[str, object]:
    return dataclasses.asdict(machine)


def _route(route: Route) -> dict[str, object]:
    return {**dataclasses.asdict(route), "shares": dict(route.shares)}


def _alternative(alternative: Alternative) -> dict[str, object]:
    return dataclasses.asdict(alternative)
