"""What a spot group may cost beside its spot price, and how often it is taken back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from sky_melange.domain.machine import InterruptionBand, Machine
from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import ReplicaGroup

Bands = Mapping[tuple[str, str, str], InterruptionBand]
"""By (cloud, region, instance type)."""


def with_fallback(groups: Sequence[ReplicaGroup], offers: Iterable[Offer], bands: Bands) -> tuple[ReplicaGroup, ...]:
    """The groups, the spot ones with the price of the same machine on demand and their interruption band.

    Spot prices may differ by zone where on-demand prices do not; a machine without a zone stands for all of them.
    """
    bought = {group.machine_type for group in groups if group.use_spot}
    if not bought:
        return tuple(groups)
    on_demand: dict[Machine, float] = {}
    for offer in offers:
        if not offer.use_spot and offer.machine_type in bought:
            for zone in {offer.zone, None}:
                key = replace(offer.machine, zone=zone)
                on_demand[key] = max(on_demand.get(key, 0.0), offer.price_usd_per_hour)
    return tuple(_with_fallback(group, on_demand, bands) if group.use_spot else group for group in groups)


def _with_fallback(group: ReplicaGroup, on_demand: Mapping[Machine, float], bands: Bands) -> ReplicaGroup:
    stand_in = group.machine.on_demand
    price = on_demand.get(stand_in, on_demand.get(replace(stand_in, zone=None)))
    band = bands.get((group.cloud, group.region, group.instance_type))
    return replace(group, on_demand_price_usd_per_hour=price, interruption=band)


def unknown_surges(groups: Iterable[ReplicaGroup], *, falls_back: bool) -> tuple[str, ...]:
    """The spot groups for which on-demand machines stand in at a price that is not known."""
    return tuple(g.name for g in groups if falls_back and g.use_spot and g.on_demand_price_usd_per_hour is None)


def spot_warnings(groups: Iterable[ReplicaGroup], *, falls_back: bool) -> Iterator[str]:
    """One sentence for each spot group; `falls_back`: on-demand machines stand in while spot is not up."""
    for group in groups:
        if not group.use_spot:
            continue
        band = group.interruption
        often = "How often it is taken back is not known"
        if band is not None:
            share = f"{band.least_fraction:.0%} to {band.most_fraction:.0%}"
            often = f"{share} of such machines were taken back within a month ({group.cloud}, {band.fetched_at})"
        meanwhile = "nothing stands in meanwhile, and its share of the traffic has no server"
        if falls_back and group.on_demand_price_usd_per_hour is None:
            meanwhile = "on-demand machines stand in meanwhile, at a price that is not known and not in the worst case"
        elif falls_back:
            meanwhile = (
                f"on-demand machines stand in meanwhile, for up to USD {group.surge_usd_per_hour:.4f} per hour more"
            )
        yield f"{group.name} is spot. {often}; {meanwhile}."
