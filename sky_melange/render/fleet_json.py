"""fleet.json: what the plans of a fleet share, beside the folders of the plans. Schema version 1."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from sky_melange.domain.digest import json_sha256
from sky_melange.domain.fleet import FLEET_SCHEMA_VERSION, FleetPlan
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.render import plan_json


def text(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> str:
    """The JSON text; `plans` in the order of the members, whose digests it states."""
    return json.dumps(document(fleet, plans), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def with_plans(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> str:
    """The same with the whole plans, for who wants one answer: `plans` by name."""
    whole = {plan.name: plan_json.document(plan, workload) for plan, workload in plans}
    return json.dumps({**document(fleet, plans), "plans": whole}, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(fleet: FleetPlan, plans: Sequence[tuple[Plan, Workload]]) -> dict[str, object]:
    """The fleet as plain JSON values; `fleet_plan_sha256` is the digest of all the other keys."""
    members = tuple(
        dataclasses.replace(member, plan_sha256=str(plan_json.document(plan, workload)["plan_sha256"]))
        for member, (plan, workload) in zip(fleet.members, plans, strict=True)
    )
    values = {
        "schema_version": FLEET_SCHEMA_VERSION,
        **dataclasses.asdict(dataclasses.replace(fleet, members=members)),
    }
    for key in ("machines", "places"):
        if not values[key]:
            del values[key]
    return {**values, "fleet_plan_sha256": json_sha256(values)}
