"""Grams of CO2e per hour of a plan's GPUs: board power × the yearly mean intensity of their country's electricity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sky_melange.domain.plan import Emissions, GroupEmissions, Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Of a country, by its ISO 3166 code."""

    country: str
    grams_co2e_per_kwh: float
    year: int


def emissions(plan: Plan, *, board_watts: Mapping[str, float], grid_of: Callable[[str, str], Grid | None]) -> Emissions:
    """`board_watts` of one GPU by accelerator; `grid_of(cloud, region)`."""
    facts = {}
    for group in plan.groups:
        watts, grid = board_watts.get(group.accelerator), grid_of(group.cloud, group.region)
        facts[group.name] = GroupEmissions(
            group=group.name,
            board_watts=None if watts is None else watts * group.accelerators_per_instance,
            country=None if grid is None else grid.country,
            grams_co2e_per_kwh=None if grid is None else grid.grams_co2e_per_kwh,
            year=None if grid is None else grid.year,
            grams_co2e_per_hour=None,
        )
    return summed(plan, facts)


def summed(plan: Plan, facts: Mapping[str, GroupEmissions]) -> Emissions:
    """Grams of each group of the plan by its own power and grid, and of all; groups without facts are left out."""
    groups = []
    for index, group in enumerate(plan.groups):
        if (own := facts.get(group.name)) is not None:
            is_known = own.board_watts is not None and own.grams_co2e_per_kwh is not None
            each = (own.board_watts or 0.0) / 1000 * (own.grams_co2e_per_kwh or 0.0)
            grams = each * _instances(plan, index) if is_known else None
            groups.append(replace(own, grams_co2e_per_hour=grams))
    known = [one.grams_co2e_per_hour for one in groups if one.grams_co2e_per_hour is not None]
    whole = math.fsum(known) if len(known) == len(plan.groups) else None
    return Emissions(grams_co2e_per_hour=whole, groups=tuple(groups))


def _instances(plan: Plan, index: int) -> float:
    """That run, on average, and start: a machine draws power while it loads weights."""
    if plan.schedule is None:
        return plan.groups[index].instances
    return plan.schedule.mean_usd_per_hour([float(place == index) for place in range(len(plan.groups))], 0.0)
