"""Google's catalog prices host and accelerator in separate rows; a plan knows only their sum.

Any split with the right sums serves: SkyPilot adds the two rows of a zone. A row is shared (one `L4` row for every
`g2` host of a zone, one `n1` host row for several accelerators), so the split must agree across machines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sky_melange.skypilot.listing import Listing

_ON_DEMAND_FACTOR = 2.0
"""SkyPilot drops a host without an on-demand price even where spot is asked for, so one is made up: dearer."""


def split_prices(listings: Sequence[Listing]) -> list[Listing]:
    """Host rows (no accelerator) and accelerator rows (no instance type) of listings that each name a zone.

    Listings come in order of importance: one that fits no split with those before it is left out.
    """
    rows: list[Listing] = [listing for listing in listings if not listing.accelerator]
    with_accelerators = [listing for listing in listings if listing.accelerator]
    rows += _split([listing for listing in with_accelerators if not listing.use_spot])
    rows += _split([listing for listing in with_accelerators if listing.use_spot])
    return rows + _made_up_on_demand(rows)


def _split(listings: Sequence[Listing]) -> list[Listing]:
    prices: dict[tuple[str, ...], float] = {}
    rows: list[Listing] = []
    for listing in _cheap_first_within_accelerator(listings):
        place = (listing.region, listing.zone or "")
        host = (*place, "host", listing.instance_type)
        accelerator = (*place, "accelerator", listing.accelerator, str(listing.accelerators))
        host_price, accelerator_price = _parts(listing.price_usd_per_hour, prices.get(host), prices.get(accelerator))
        if host_price <= 0 or accelerator_price <= 0:
            continue
        if not math.isclose(host_price + accelerator_price, listing.price_usd_per_hour, abs_tol=1e-9):
            continue
        prices[host], prices[accelerator] = host_price, accelerator_price
        rows.append(replace(listing, accelerator="", accelerators=0, price_usd_per_hour=host_price))
        rows.append(
            replace(listing, instance_type="", vcpus=None, memory_gib=None, price_usd_per_hour=accelerator_price)
        )
    return rows


def _parts(price: float, host: float | None, accelerator: float | None) -> tuple[float, float]:
    if host is not None and accelerator is not None:
        return host, accelerator
    if host is not None:
        return host, price - host
    if accelerator is not None:
        return price - accelerator, accelerator
    return price / 2, price / 2


def _cheap_first_within_accelerator(listings: Sequence[Listing]) -> Iterable[Listing]:
    """By rising price: half of the cheapest never exceeds what a dearer machine on the same row costs."""
    return sorted(listings, key=lambda listing: listing.price_usd_per_hour)


def _made_up_on_demand(rows: Sequence[Listing]) -> list[Listing]:
    def key(row: Listing) -> tuple[str, str, int, str, str]:
        return (row.instance_type, row.accelerator, row.accelerators, row.region, row.zone or "")

    sold = {key(row) for row in rows if not row.use_spot}
    return [
        replace(row, use_spot=False, price_usd_per_hour=row.price_usd_per_hour * _ON_DEMAND_FACTOR)
        for row in rows
        if row.use_spot and key(row) not in sold
    ]
