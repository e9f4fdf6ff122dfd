"""Turns the rows of one catalog into offers: zones folded into regions, on-demand and spot apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Final, Protocol

from sky_melange.domain.offer import Offer, PriceProvenance
from sky_melange.prices.catalog_csv import SkipTally, read_rows
from sky_melange.prices.clouds import ZONES_NOT_PINNABLE
from sky_melange.prices.gcp import is_host, join_hosts
from sky_melange.prices.names import count_error, resolve
from sky_melange.prices.priced_rows import NO_PRICE, PricedRow, priced_rows
from sky_melange.prices.source import CatalogOffers
from sky_melange.resources import shipped_rows
from sky_melange.untrusted import decoded

UNPRINTABLE: Final = "control characters in a name"
FEW_VCPUS: Final = "fewer vCPUs than GPUs: columns may be swapped"
NO_TYPE: Final = "no instance type"
OTHER_PRICE: Final = "repeats a machine at another price; the dearer row is kept"


class ProvenanceOf(Protocol):
    """Says where a row comes from."""

    def __call__(self, snapshot_date: str, detail: str) -> PriceProvenance:
        """From the row's date ("" when unknown) and the way its price came to be ("" when stated)."""


def read_catalog(content: bytes, cloud: str, source: str, provenance_of: ProvenanceOf) -> CatalogOffers:
    """Offers of a whole catalog file. `source` is its name for messages.

    Of the machines without GPU only the small types that a controller or a router runs on become offers.
    Raises InputError when the content is no catalog.
    """
    tally = SkipTally(cloud)
    plain = _overhead_types(cloud)
    gcp = cloud == "gcp"

    def keep_plain(instance_type: str) -> bool:
        return instance_type in plain or (gcp and is_host(instance_type))

    found = read_rows(decoded(content, source, "fetch the catalog again"), source, tally, keep_plain)
    rows: Iterable[PricedRow] = priced_rows(found, cloud, tally)
    if gcp:
        rows = join_hosts(rows, tally)
    offers = sorted(make_offers(rows, cloud, provenance_of, tally), key=lambda offer: offer.sort_key)
    return CatalogOffers(cloud=cloud, offers=tuple(offers), skipped=tally.skipped())


def make_offers(
    rows: Iterable[PricedRow], cloud: str, provenance_of: ProvenanceOf, tally: SkipTally
) -> Iterator[Offer]:
    """One offer for each machine, region and market; one for each zone where the price depends on it."""
    machines: dict[tuple[str, str, str, int], list[PricedRow]] = {}
    for row in rows:
        machines.setdefault((row.instance_type, row.accelerator, row.region, row.accelerators), []).append(row)
    for (instance_type, accelerator, region, count), group in machines.items():
        name, reason = "", ""
        if not instance_type:
            reason = NO_TYPE
        elif not all(part.isprintable() for part in (instance_type, accelerator, region, *(row.zone for row in group))):
            reason = UNPRINTABLE
        elif accelerator:
            resolved = resolve(cloud, accelerator, instance_type)
            name = resolved.accelerator
            reason = resolved.reason or count_error(cloud, name, count)
            if not reason and any(row.vcpus is not None and row.vcpus < count for row in group):
                reason = FEW_VCPUS
        if reason:
            tally.add(reason, f"{region}/{instance_type or accelerator}", len(group))
            continue
        yield from _machine_offers(group, cloud, name, provenance_of, tally)


def _machine_offers(
    group: Sequence[PricedRow], cloud: str, accelerator: str, provenance_of: ProvenanceOf, tally: SkipTally
) -> Iterator[Offer]:
    machine = group[0]
    if all(row.price is None and row.spot_price is None for row in group):
        tally.add(NO_PRICE, f"{machine.region}/{machine.instance_type}", len(group))
        return
    # Zones of one region may differ in these: the smaller machine and the older date promise less.
    vcpus = min((row.vcpus for row in group if row.vcpus is not None), default=None)
    memory_gib = min((row.memory_gib for row in group if row.memory_gib is not None), default=None)
    provenance = provenance_of(min(row.snapshot_date for row in group), machine.detail)
    # A controller or router runs on demand, so spot prices of machines without GPU are not read.
    for use_spot in (False, True) if accelerator else (False,):
        prices = _prices_by_zone(group, use_spot, tally)
        if cloud in ZONES_NOT_PINNABLE and len(prices) > 1:
            provenance = replace(provenance, detail=_cheapest_of(provenance.detail, prices))
            prices = [(None, min(price for _, price in prices))]
        for zone, price in prices:
            yield Offer(
                cloud=cloud,
                region=machine.region,
                zone=zone,
                instance_type=machine.instance_type,
                accelerator=accelerator,
                catalog_accelerator=machine.accelerator,
                accelerators_per_instance=machine.accelerators,
                vcpus=vcpus,
                memory_gib=memory_gib,
                price_usd_per_hour=price,
                use_spot=use_spot,
                provenance=provenance,
            )


def _cheapest_of(detail: str, prices: Sequence[tuple[str | None, float]]) -> str:
    dearest = max(price for _, price in prices)
    zones = f"cheapest of {len(prices)} zones; a launch that lands in another pays up to {dearest:g} USD per hour"
    return f"{detail}; {zones}" if detail else zones


def _prices_by_zone(group: Sequence[PricedRow], use_spot: bool, tally: SkipTally) -> Sequence[tuple[str | None, float]]:
    """(zone, USD per hour); a single (None, price) when the price is the same wherever it is known."""
    known = [(row.zone, row.spot_price if use_spot else row.price) for row in group]
    if len(known) == 1:
        return [(None, price) for _, price in known if price is not None]
    zones: dict[str, list[float]] = {}
    for zone, price in known:
        if price is not None:
            zones.setdefault(zone, []).append(price)
    # Two prices for one machine in one place: the dearer one cannot lead to a bill above the plan.
    prices = {zone: max(found) for zone, found in zones.items()}
    for zone, found in zones.items():
        others = len(found) - found.count(prices[zone])
        if others:
            tally.add(OTHER_PRICE, f"{group[0].region}/{group[0].instance_type}", others)
    if len(set(prices.values())) == 1:
        return [(None, next(iter(prices.values())))]
    return [(zone or None, price) for zone, price in sorted(prices.items())]


@cache
def _overhead_types(cloud: str) -> frozenset[str]:
    """Machine types without GPU that SkyPilot picks for a controller or a router on this cloud, in any region.

    The cheapest of them in a region with enough vCPUs and memory is SkyPilot's own choice there.
    """
    rows = shipped_rows("catalogs", "prices", "overhead_types.csv")
    return frozenset(row["instance_type"] for row in rows if row["cloud"] == cloud)
