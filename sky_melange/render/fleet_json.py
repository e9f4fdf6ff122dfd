"""fleet.json: what the plans of a fleet share, beside the folders of the plans. Schema version 1."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, Final

from sky_melange.domain.digest import in_order, json_sha256
from sky_melange.domain.fleet import FLEET_SCHEMA_VERSION, FleetPlan
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.render import plan_json
from sky_melange.render.plan_json import MACHINE_KEYS

_KEYS: Final = (
    *("name", "objective", "status", "mip_gap", "members", "shared", "usd_per_hour", "mean_usd_per_hour"),
    *("shared_usd_per_hour", "constraints", "inputs", "budget"),
)


def text(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> str:
    """The JSON text; `plans` in the order of the members, whose digests it states."""
    return json.dumps(document(fleet, plans), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def with_plans(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> str:
    """The same with the whole plans, for who wants one answer: `plans` by name."""
    whole = {plan.name: plan_json.document(plan, workload) for plan, workload in plans}
    return json.dumps({**document(fleet, plans), "plans": whole}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def explanation(fleet: FleetPlan) -> dict[str, object]:
    """What is short, and for whom. `worth_usd_per_hour` of a quota is 0 where it is not short, or not known."""
    keys = ("name", "priority", "served_fraction", "mean_usd_per_hour", "alone_usd_per_hour")
    return {
        "total_usd_per_hour": fleet.usd_per_hour,
        "shared": [{**dataclasses.asdict(each), "total": each.total} for each in fleet.shared],
        **(
            {"places": [{**dataclasses.asdict(each), "total": each.total} for each in fleet.places]}
            if fleet.places
            else {}
        ),
        "workloads": [{key: getattr(member, key) for key in keys} for member in fleet.members],
        "priorities": [dataclasses.asdict(each) for each in fleet.priorities],
        "needed_usd_per_hour": fleet.needed_usd_per_hour,
    }


def document(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> dict[str, object]:
    """The fleet as plain JSON values; `fleet_plan_sha256` is the digest of all the other keys."""
    members = tuple(
        dataclasses.replace(member, plan_sha256=str(plan_json.document(plan, workload)["plan_sha256"]))
        for member, (plan, workload) in zip(fleet.members, plans, strict=True)
    )
    values = {
        "schema_version": FLEET_SCHEMA_VERSION,
        **_fields(dataclasses.replace(fleet, members=members)),
    }
    for name in ("machines", "places", "router_machine"):
        if not values[name]:
            del values[name]
    return {**values, "fleet_plan_sha256": json_sha256(values)}


def _fields(fleet: FleetPlan) -> dict[str, Any]:
    fields = in_order(dataclasses.asdict(fleet), _KEYS)
    return {**fields, "machines": [in_order(machine, MACHINE_KEYS) for machine in fields["machines"]]}
