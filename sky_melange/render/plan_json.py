"""plan.json, the one artifact between computing and everything that is made from a plan. Schema version 2."""

from __future__ import annotations

import dataclasses
import json
from typing import Final

from sky_melange.domain.digest import in_order, json_sha256
from sky_melange.domain.explanation import Explanation
from sky_melange.domain.hours import Schedule
from sky_melange.domain.plan import (
    PLAN_SCHEMA_VERSION,
    Alternative,
    Commitments,
    Contingency,
    MissingCloud,
    Overhead,
    Plan,
    ReplicaGroup,
    Route,
)
from sky_melange.domain.unit_costs import served_models, unit_costs
from sky_melange.domain.workload import Workload

FILE_NAME: Final = "plan.json"
MACHINE_KEYS: Final = (
    *("name", "cloud", "region", "zone", "instance_type", "accelerator", "catalog_accelerator"),
    *("accelerators_per_instance", "use_spot"),
)
_GROUP_KEYS: Final = (
    *(*MACHINE_KEYS, "instances", "replicas_per_instance", "tensor_parallel", "price_usd_per_hour", "price"),
    *("utilization", "max_concurrency", "engine_version", "engine_args", "profile", "file"),
    *("on_demand_price_usd_per_hour", "interruption", "reserved_instances", "max_utilization", "engine", "layout"),
    *("runs_apart", "disk_gb", "committed", "part"),
)
_SIMULATED_KEYS: Final = (
    *("target", "attainment", "attainment_error", "refused_fraction", "requests", "arrivals", "seed", "plans"),
    *("ttft_s", "tpot_s", "slower_fraction", "slower_attainment", "slower_usd_per_hour"),
)


def render(plan: Plan, workload: Workload) -> dict[str, str]:
    """File name -> JSON text."""
    return {FILE_NAME: text(plan, workload)}


def text(plan: Plan, workload: Workload) -> str:
    """The JSON text; the same plan gives the same bytes."""
    return json.dumps(document(plan, workload), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(plan: Plan, workload: Workload) -> dict[str, object]:
    """The plan as plain JSON values, in the documented order of keys.

    `workload` is what was planned for, in base units: the plan can be verified, rendered and compared by itself.
    `plan_sha256` is the digest of all the other keys.
    """
    values = _values(plan, workload)
    return {**values, "plan_sha256": json_sha256(values)}


def _values(plan: Plan, workload: Workload) -> dict[str, object]:
    units = unit_costs(plan.mean_usd_per_hour, workload.traffic)
    served = served_models(workload.model, units)
    return {
        "schema_version": PLAN_SCHEMA_VERSION,
        "name": plan.name,
        "model": {
            "id": workload.model.id,
            "dtype": workload.model.dtype,
            "max_model_len": workload.model.max_model_len,
        },
        "launch_mode": workload.launch.mode.value,
        "status": plan.status,
        "mip_gap": plan.mip_gap,
        "prices": {"missing_clouds": [_missing(cloud) for cloud in plan.missing_clouds]},
        "cost": dataclasses.asdict(plan.cost),
        "unit_costs": dataclasses.asdict(units),
        **({"adapters": [dataclasses.asdict(each) for each in served]} if served else {}),
        "groups": [_group(group) for group in plan.groups],
        "overhead": [_overhead(machine) for machine in plan.overhead],
        "size_aware_total_usd_per_hour": plan.size_aware_total_usd_per_hour,
        "switching": None if plan.switching is None else dataclasses.asdict(plan.switching),
        "routing": {"policy": plan.policy.value, "buckets": [_route(route) for route in plan.routing]},
        "contingencies": [_contingency(contingency) for contingency in plan.contingencies],
        "alternatives": [_alternative(alternative) for alternative in plan.alternatives],
        "assumptions": list(plan.assumptions),
        "warnings": list(plan.warnings),
        "simulated": None if plan.simulated is None else in_order(dataclasses.asdict(plan.simulated), _SIMULATED_KEYS),
        **({} if plan.schedule is None else {"schedule": _schedule(plan.schedule)}),
        **({} if plan.hosted_api is None else {"hosted_api": dataclasses.asdict(plan.hosted_api)}),
        **({} if plan.emissions is None else {"emissions": dataclasses.asdict(plan.emissions)}),
        **({} if plan.served_fraction == 1 else {"served_fraction": plan.served_fraction}),
        **({"fleet_losses": plan.fleet_losses} if plan.fleet_losses else {}),
        **({} if plan.commitments is None else {"commitments": _commitments(plan.commitments)}),
        "inputs": {
            "workload_file": plan.inputs.workload_file,
            "workload_sha256": plan.inputs.workload,
            "prices_sha256": plan.inputs.prices,
            "profiles_sha256": plan.inputs.profiles,
        },
        "workload": _workload(workload),
        **({} if plan.explanation is None else {"explanation": explanation_document(plan.explanation)}),
    }


def _workload(workload: Workload) -> dict[str, object]:
    """In base units. Of a file of overrides only the name: where it lies is no part of the plan."""
    fields = dataclasses.asdict(workload)
    if workload.prices.overrides is not None:
        fields["prices"]["overrides"] = workload.prices.overrides.name
    if workload.constraints.keep is not None:
        kept = fields["constraints"]["keep"]
        kept["groups"] = tuple(in_order(group, MACHINE_KEYS) for group in kept["groups"])
    if not workload.candidates.purchase:
        del fields["candidates"]["purchase"]
    if workload.traffic.hours is not None and not workload.traffic.hours.sizes:
        del fields["traffic"]["hours"]["sizes"]
    if not workload.router.of_fleet:
        del fields["router"]["of_fleet"]
    return fields


def _group(group: ReplicaGroup) -> dict[str, object]:
    fields = in_order(dataclasses.asdict(group), _GROUP_KEYS)
    fields["engine_args"] = dict(group.engine_args)
    fields["profile"]["notes"] = list(group.profile.notes)
    fields["cost_usd_per_hour"] = group.cost_usd_per_hour
    if group.part is None:
        del fields["part"]
    if group.committed is None:
        del fields["committed"]
    else:
        fields["committed"] |= {
            "break_even_hours_per_week": group.committed.break_even_hours(group.price_usd_per_hour),
            "owed_usd": group.committed.owed_usd,
        }
    return fields


def _schedule(schedule: Schedule) -> dict[str, object]:
    fields = dataclasses.asdict(schedule)
    if schedule.raised_usd_per_hour is None:
        del fields["raised_usd_per_hour"]
    for period in fields["periods"]:
        if period["sizes"] is None:
            del period["sizes"]
    return fields


def _commitments(commitments: Commitments) -> dict[str, object]:
    fields = dataclasses.asdict(commitments)
    fields["scenarios"] = [
        {
            **dataclasses.asdict(scenario),
            "spot_factors": dict(scenario.spot_factors),
            "regret_usd_per_hour": scenario.regret_usd_per_hour,
        }
        for scenario in commitments.scenarios
    ]
    return fields


def _overhead(machine: Overhead) -> dict[str, object]:
    fields = dataclasses.asdict(machine)
    if not machine.cluster:
        del fields["cluster"]
    return in_order(fields, ("purpose",))


def _missing(cloud: MissingCloud) -> dict[str, object]:
    fields = dataclasses.asdict(cloud)
    if cloud.last_known is not None:
        fields["last_known"] = in_order(fields["last_known"], MACHINE_KEYS)
    return fields


def _route(route: Route) -> dict[str, object]:
    return {**dataclasses.asdict(route), "shares": dict(route.shares)}


def _contingency(contingency: Contingency) -> dict[str, object]:
    fields = dataclasses.asdict(contingency)
    return {**fields, "lost": dict(contingency.lost), "shares": [dict(shares) for shares in contingency.shares]}


def explanation_document(explanation: Explanation) -> dict[str, object]:
    """An explanation as plain JSON values, as it stands in plan.json under `explanation`."""
    fields = dataclasses.asdict(explanation)
    if explanation.clock is not None and explanation.clock.sizes is None:
        del fields["clock"]["sizes"]
    for entry in (*fields["offers"], *fields["accelerators"]):
        if entry["without"] is not None:
            entry["without"]["instances"] = dict(entry["without"]["instances"])
    return fields


def _alternative(alternative: Alternative) -> dict[str, object]:
    return dataclasses.asdict(alternative)
