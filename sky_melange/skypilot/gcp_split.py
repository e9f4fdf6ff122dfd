"""Google's catalog prices host and accelerator in separate rows; a plan knows only their sum.

Any split with the right sums serves: SkyPilot adds the two rows of a zone. A row is shared (one `L4` row for every
`g2` host of a zone, one `n1` host row for several accelerators), so the split must agree across machines.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sky_melange.domain.offer import Offer

_ON_DEMAND_FACTOR = 2.0
"""SkyPilot drops a host without an on-demand price even where spot is asked for, so one is made up: dearer."""


def split_prices(offers: Sequence[Offer]) -> list[Offer]:
    """Host rows (no accelerator) and accelerator rows (no instance type) of offers that each name a zone.

    Listings come in order of importance: one that fits no split with those before it is left out.
    """
    rows: list[Offer] = [offer for offer in offers if not offer.catalog_accelerator]
    with_accelerators = [offer for offer in offers if offer.catalog_accelerator]
    rows += _split([offer for offer in with_accelerators if not offer.use_spot])
    rows += _split([offer for offer in with_accelerators if offer.use_spot])
    return rows + _made_up_on_demand(rows)


def _split(offers: Sequence[Offer]) -> list[Offer]:
    prices: dict[tuple[str, ...], float] = {}
    rows: list[Offer] = []
    for offer in _cheap_first_within_accelerator(offers):
        place = (offer.region, offer.zone or "")
        host = (*place, "host", offer.instance_type)
        accelerator = (*place, "accelerator", offer.catalog_accelerator, str(offer.accelerators_per_instance))
        host_price, accelerator_price = _parts(offer.price_usd_per_hour, prices.get(host), prices.get(accelerator))
        if host_price <= 0 or accelerator_price <= 0:
            continue
        if not math.isclose(host_price + accelerator_price, offer.price_usd_per_hour, abs_tol=1e-9):
            continue
        prices[host], prices[accelerator] = host_price, accelerator_price
        rows.append(replace(offer, catalog_accelerator="", accelerators_per_instance=0, price_usd_per_hour=host_price))
        rows.append(replace(offer, instance_type="", vcpus=None, memory_gib=None, price_usd_per_hour=accelerator_price))
    return rows


def _parts(price: float, host: float | None, accelerator: float | None) -> tuple[float, float]:
    if host is not None and accelerator is not None:
        return host, accelerator
    if host is not None:
        return host, price - host
    if accelerator is not None:
        return price - accelerator, accelerator
    return price / 2, price / 2


def _cheap_first_within_accelerator(offers: Sequence[Offer]) -> Iterable[Offer]:
    """By rising price: half of the cheapest never exceeds what a dearer machine on the same row costs."""
    return sorted(offers, key=lambda offer: offer.price_usd_per_hour)


def _made_up_on_demand(rows: Sequence[Offer]) -> list[Offer]:
    sold = {row.machine for row in rows if not row.use_spot}
    return [
        replace(row, use_spot=False, price_usd_per_hour=row.price_usd_per_hour * _ON_DEMAND_FACTOR)
        for row in rows
        if row.use_spot and row.machine.on_demand not in sold
    ]
