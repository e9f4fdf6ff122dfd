"""Price catalogs in SkyPilot's own layout (v8), written from a plan's offers.

SkyPilot reads `catalogs/v8/<cloud>/vms.csv`. A file without its `.md5` beside it counts as edited by the user and is
never refreshed, so these are written without: nothing is downloaded in their place.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.domain.offer import Offer
from sky_melange.skypilot.gcp_split import split_prices
from sky_melange.skypilot.listing import Listing
from sky_melange.skypilot.planned import PlannedGroup

_COLUMNS: Final = (
    "InstanceType",
    "AcceleratorName",
    "AcceleratorCount",
    "vCPUs",
    "MemoryGiB",
    "GpuInfo",
    "Price",
    "SpotPrice",
    "Region",
)
_EXTRA_COLUMNS: Final = {
    "aws": ("AvailabilityZone", "Arch", "LocalDiskType", "NVMeSupported", "LocalDiskSize", "LocalDiskCount"),
    "azure": ("Generation",),
    "gcp": ("AvailabilityZone",),
    "ibm": ("AvailabilityZone",),
    "oci": ("AvailabilityZone",),
    "runpod": ("AvailabilityZone",),
}
_GENERATIONS: Final = {"azure": "V2"}
_DEFAULT_VCPUS: Final = 8.0
_DEFAULT_MEMORY_GIB: Final = 32.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _RowKey:
    """What makes a catalog row; its on-demand and spot prices stand in two columns."""

    instance_type: str
    accelerator: str
    accelerators: int
    region: str
    zone: str


def seed_catalogs(groups: Sequence[PlannedGroup], offers: Sequence[Offer] | None) -> dict[str, str]:
    """Catalog files by path below `catalogs/v8/`, as CSV text.

    They hold the planned machines, cheaper and dearer decoys around each, and those of `offers` that have a planned
    accelerator or none at all (controllers and routers). Where `offers` price a planned machine, theirs is the price
    that counts: a plan whose figure differs is then found out.
    """
    known = [] if offers is None else _relevant(groups, offers)
    sold = {listing.sale for listing in known}
    bought = {group.sale for group in groups}
    missing = [Listing.of_group(group) for group in groups if group.sale not in sold]
    first = [listing for listing in known if listing.sale in bought]
    listings = list(dict.fromkeys([*missing, *first, *_decoys([*missing, *first]), *known]))
    files = {"common/accelerators.csv": _accelerators_csv(listings)}
    by_cloud: defaultdict[str, list[Listing]] = defaultdict(list)
    for listing in _with_sizes(listings):
        by_cloud[listing.cloud].append(listing)
    for cloud, entries in sorted(by_cloud.items()):
        files[f"{cloud}/vms.csv"] = _vms_csv(cloud, entries)
    return files


def _relevant(groups: Sequence[PlannedGroup], offers: Sequence[Offer]) -> list[Listing]:
    names = {group.catalog_accelerator for group in groups}
    clouds = {group.cloud for group in groups}
    accelerators = {offer.accelerator for offer in offers if offer.catalog_accelerator in names} - {""}
    chosen = (o for o in offers if o.accelerator in accelerators or (not o.accelerator and o.cloud in clouds))
    return [Listing.of_offer(offer) for offer in sorted(chosen, key=lambda offer: offer.sort_key)]


def _decoys(planned: Iterable[Listing]) -> list[Listing]:
    """Machines that a file would get if it pinned less than the plan does: the pick must be a real choice."""
    decoys: list[Listing] = []
    for listing in planned:
        cheap, dear = listing.price_usd_per_hour / 2, listing.price_usd_per_hour * 2
        decoys.append(replace(listing, region="decoy-half-price", zone=None, price_usd_per_hour=cheap))
        decoys.append(replace(listing, region="decoy-double-price", zone=None, price_usd_per_hour=dear))
        if listing.cloud != "gcp":  # there SkyPilot itself ties each accelerator to its machine types
            prefix = "Standard_Decoy1" if listing.cloud == "azure" else "decoy-half-price"
            name = f"{prefix}-{listing.accelerators}x-{listing.accelerator}"
            decoys.append(replace(listing, instance_type=name, price_usd_per_hour=cheap))
    return decoys


def _with_sizes(listings: Sequence[Listing]) -> list[Listing]:
    """One size per machine type: SkyPilot refuses a type that has two, and an unknown size counts as another one."""
    sizes: dict[tuple[str, str], tuple[float, float]] = {}
    for listing in listings:
        if listing.vcpus is not None and listing.memory_gib is not None:
            sizes.setdefault((listing.cloud, listing.instance_type), (listing.vcpus, listing.memory_gib))
    default = (_DEFAULT_VCPUS, _DEFAULT_MEMORY_GIB)
    sized = [(listing, sizes.get((listing.cloud, listing.instance_type), default)) for listing in listings]
    return [replace(listing, vcpus=vcpus, memory_gib=memory) for listing, (vcpus, memory) in sized]


def _vms_csv(cloud: str, listings: Sequence[Listing]) -> str:
    rows = split_prices(_by_zone(cloud, listings)) if cloud == "gcp" else _by_zone(cloud, listings)
    prices: defaultdict[_RowKey, dict[bool, float]] = defaultdict(dict)
    sizes: dict[_RowKey, tuple[float | None, float | None]] = {}
    for row in rows:
        key = _RowKey(
            instance_type=row.instance_type,
            accelerator=row.accelerator,
            accelerators=row.accelerators,
            region=row.region,
            zone=row.zone or "",
        )
        prices[key].setdefault(row.use_spot, row.price_usd_per_hour)
        sizes.setdefault(key, (row.vcpus, row.memory_gib))
    columns = (*_COLUMNS, *_EXTRA_COLUMNS.get(cloud, ()))
    lines = [_cells(cloud, key, sizes[key], prices[key]) for key in prices]
    return _csv(columns, [[cells.get(column, "") for column in columns] for cells in lines])


def _cells(
    cloud: str, key: _RowKey, size: tuple[float | None, float | None], prices: dict[bool, float]
) -> dict[str, str]:
    vcpus, memory_gib = size
    return {
        "InstanceType": key.instance_type,
        "AcceleratorName": key.accelerator,
        "AcceleratorCount": str(key.accelerators) if key.accelerator else "",
        "vCPUs": "" if vcpus is None else repr(vcpus),
        "MemoryGiB": "" if memory_gib is None else repr(memory_gib),
        "GpuInfo": key.accelerator,
        "Price": repr(prices[False]) if False in prices else "",
        "SpotPrice": repr(prices[True]) if True in prices else "",
        "Region": key.region,
        "AvailabilityZone": key.zone,
        "Generation": _GENERATIONS.get(cloud, ""),
    }


def _by_zone(cloud: str, listings: Sequence[Listing]) -> list[Listing]:
    """A price for a whole region becomes one row per zone that is known there, as in SkyPilot's files."""
    if "AvailabilityZone" not in _EXTRA_COLUMNS.get(cloud, ()):
        return [replace(listing, zone=None) for listing in listings]
    zones: defaultdict[str, set[str]] = defaultdict(set)
    for listing in listings:
        if listing.zone is not None:
            zones[listing.region].add(listing.zone)
    return [
        replace(listing, zone=zone)
        for listing in listings
        for zone in ([listing.zone] if listing.zone else sorted(zones[listing.region]) or [f"{listing.region}-a"])
    ]


def _accelerators_csv(listings: Sequence[Listing]) -> str:
    clouds: defaultdict[str, set[str]] = defaultdict(set)
    for listing in listings:
        if listing.accelerator:
            clouds[listing.accelerator].add(listing.cloud)
    return _csv(("AcceleratorName", "Clouds"), [[name, str(sorted(clouds[name]))] for name in sorted(clouds)])


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
