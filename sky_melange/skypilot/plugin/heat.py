"""Requests per dollar of each group of a plan, by request size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sky_melange import pipeline
from sky_melange.domain.plan import Plan, ReplicaGroup
from sky_melange.domain.profile import Capacity, Profile, Skipped
from sky_melange.domain.units import requests_per_usd as per_usd
from sky_melange.domain.workload import Workload

MOST_CELLS: Final = 10_000
"""Over all groups; more than anyone looks at, and a few seconds of work."""


def requests_per_usd(plan: Plan, workload: Workload, folder: Path) -> dict[str, Any]:
    """Requests/USD at the planned price; None where a group cannot serve a size, or costs nothing.

    Rows are input buckets, columns output buckets.

    A group without a profile on this server, or a grid of more than MOST_CELLS, has `requests_per_usd` None and a
    `reason`. `folder`: where profile files of the workload would be; there are none.
    """
    grid = workload.traffic.grid
    accelerators = sorted({group.accelerator for group in plan.groups})
    without_files = replace(workload, profiles=replace(workload.profiles, files=()))
    profiles = pipeline.profiles_on(without_files, accelerators, accelerators, folder)
    cells = len(grid.input_edges) * len(grid.output_edges) * len(plan.groups)
    return {
        "input_edges": list(grid.input_edges),
        "output_edges": list(grid.output_edges),
        "groups": [_group(group, workload, profiles, is_small=cells <= MOST_CELLS) for group in plan.groups],
    }


def _group(group: ReplicaGroup, workload: Workload, profiles: Sequence[Profile], *, is_small: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"group": group.name, "accelerator": group.accelerator, "requests_per_usd": None}
    if not is_small:
        return {**described, "reason": f"the plan has more than {MOST_CELLS} cells"}
    profile = next((profile for profile in profiles if profile.launched == group.launched), None)
    if profile is None:
        return {**described, "reason": "this server has no profile of the group's layout and engine settings"}
    (found,) = pipeline.capacities_of(_with_traffic_everywhere(workload), [profile]) or (None,)
    capacities = () if found is None else found.capacities
    columns = len(workload.traffic.grid.output_edges)
    values = [_value(group, capacity) for capacity in capacities]
    rows = [values[start : start + columns] for start in range(0, len(values), columns)]
    return {**described, "requests_per_usd": rows}


def _value(group: ReplicaGroup, capacity: Capacity | Skipped) -> float | None:
    if isinstance(capacity, Skipped) or group.price_usd_per_hour <= 0:
        return None
    return per_usd(capacity.request_rate_rps * group.replicas_per_instance, group.price_usd_per_hour)


def _with_traffic_everywhere(workload: Workload) -> Workload:
    """Some traffic in each bucket, so that each has a capacity."""
    ones = tuple(tuple(1.0 for _ in row) for row in workload.traffic.rates_rps)
    return replace(workload, traffic=replace(workload.traffic, rates_rps=ones))
