"""The small machines that a launch needs beside its replicas, as SkyPilot itself would choose them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache
from typing import Final

from sky_melange.domain.offer import Offer
from sky_melange.resources import data_path

CONTROLLER_VCPUS: Final = 4.0
CONTROLLER_MEMORY_GIB: Final = 8.0
"""What SkyPilot 0.14.1 asks for a SkyServe controller: `cpus: 4+, memory: 8+`."""

ROUTER_VCPUS: Final = 2.0
ROUTER_MEMORY_GIB: Final = 0.0
"""What a router VM is asked for: `cpus: 2+`. SkyPilot's own memory ratios are in the types of overhead_types.csv."""


@cache
def overhead_types(cloud: str) -> frozenset[str]:
    """Machine types without GPU that SkyPilot picks for a controller or a router on this cloud, in any region."""
    path = data_path("catalogs", "prices", "overhead_types.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return frozenset(row["instance_type"] for row in csv.DictReader(file) if row["cloud"] == cloud)


def controller_offer(offers: Iterable[Offer], cloud: str, region: str | None = None) -> Offer | None:
    """The cheapest machine for a SkyServe controller in a cloud (and region); None when no price is known.

    Clouds in CLOUDS_WITHOUT_CONTROLLERS cannot host one whatever this returns. On clouds without plain machines
    SkyPilot takes the cheapest GPU machine, and so does this.
    """
    return _cheapest(offers, (cloud, region), CONTROLLER_VCPUS, CONTROLLER_MEMORY_GIB)


def router_offer(offers: Iterable[Offer], cloud: str, region: str | None = None) -> Offer | None:
    """The cheapest machine for a router VM in a cloud (and region); None when no price is known."""
    return _cheapest(offers, (cloud, region), ROUTER_VCPUS, ROUTER_MEMORY_GIB)


def _cheapest(offers: Iterable[Offer], place: tuple[str, str | None], vcpus: float, memory_gib: float) -> Offer | None:
    cloud, region = place
    found = [
        offer
        for offer in offers
        if offer.cloud == cloud
        and region in (None, offer.region)
        and not offer.use_spot
        and (offer.vcpus or 0.0) >= vcpus
        and (offer.memory_gib or 0.0) >= memory_gib
    ]
    return min(found, key=lambda offer: (offer.price_usd_per_hour, offer.sort_key), default=None)
