"""Price catalogs in SkyPilot's own layout (v8), written from a plan's offers.

SkyPilot reads `catalogs/v8/<cloud>/vms.csv`. A file without its `.md5` beside it counts as edited by the user and is
never refreshed, so these are written without: nothing is downloaded in their place.

Google's catalog prices host and accelerator in separate rows; a plan knows only their sum.

Any split with the right sums serves: SkyPilot adds the two rows of a zone. A row is shared (one `L4` row for every
`g2` host of a zone, one `n1` host row for several accelerators), so the split must agree across machines.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from sky_melange.domain.machine import Machine
from sky_melange.domain.offer import Offer
from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.domain.plan import ReplicaGroup

_ON_DEMAND_FACTOR = 2.0
"""SkyPilot drops a host without an on-demand price even where spot is asked for, so one is made up: dearer."""

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


def offer_of(group: ReplicaGroup) -> Offer:
    """What the plan says it buys, of unknown size."""
    return Offer(
        cloud=group.cloud,
        region=group.region,
        zone=group.zone,
        instance_type=group.instance_type,
        accelerator=group.accelerator,
        catalog_accelerator=group.catalog_accelerator,
        accelerators_per_instance=group.accelerators_per_instance,
        use_spot=group.use_spot,
        price_usd_per_hour=group.price_usd_per_hour,
        vcpus=None,
        memory_gib=None,
        provenance=group.price,
    )


def seed_catalogs(planned: Sequence[Offer], offers: Sequence[Offer] | None) -> dict[str, str]:
    """Catalog files by path below `catalogs/v8/`, as CSV text.

    They hold the planned machines, cheaper and dearer decoys around each, and those of `offers` that have a planned
    accelerator or none at all (controllers and routers). Where `offers` price a planned machine, theirs is the price
    that counts: a plan whose figure differs is then found out. There are none of GPUs that one has: those have names
    alone.
    """
    own = [offer for offer in planned if offer.cloud in OWN_CLOUDS]
    planned = [offer for offer in planned if offer.cloud not in OWN_CLOUDS]
    known = [] if offers is None else _relevant(planned, offers)
    sold = {offer.machine for offer in known}
    bought = {offer.machine for offer in planned}
    missing = [offer for offer in planned if offer.machine not in sold]
    first = [offer for offer in known if offer.machine in bought]
    by_cloud: defaultdict[str, list[Offer]] = defaultdict(list)
    entries = [*missing, *first, *_decoys([*missing, *first]), *known]
    for offer in _with_sizes(entries):
        by_cloud[offer.cloud].append(offer)
    files = {"common/accelerators.csv": _accelerators_csv([*entries, *own])}
    for cloud, sold_there in sorted(by_cloud.items()):
        files[f"{cloud}/vms.csv"] = _vms_csv(cloud, sold_there)
    return files


def split_prices(offers: Sequence[Offer]) -> list[Offer]:
    """Host rows (no accelerator) and accelerator rows (no instance type) of offers that each name a zone.

    Listings come in order of importance: one that fits no split with those before it is left out.
    """
    rows: list[Offer] = [offer for offer in offers if not offer.catalog_accelerator]
    with_accelerators = [offer for offer in offers if offer.catalog_accelerator]
    rows += _split([offer for offer in with_accelerators if not offer.use_spot])
    rows += _split([offer for offer in with_accelerators if offer.use_spot])
    return rows + _made_up_on_demand(rows)


def _relevant(planned: Sequence[Offer], offers: Sequence[Offer]) -> list[Offer]:
    names = {offer.catalog_accelerator for offer in planned}
    clouds = {offer.cloud for offer in planned}
    accelerators = {offer.accelerator for offer in offers if offer.catalog_accelerator in names} - {""}
    chosen = (o for o in offers if o.accelerator in accelerators or (not o.accelerator and o.cloud in clouds))
    return sorted(chosen, key=lambda offer: offer.sort_key)


def _decoys(planned: Iterable[Offer]) -> list[Offer]:
    """Machines that a file would get if it pinned less than the plan does: the pick must be a real choice."""
    decoys: list[Offer] = []
    for offer in planned:
        cheap, dear = offer.price_usd_per_hour / 2, offer.price_usd_per_hour * 2
        decoys.append(replace(offer, region="decoy-half-price", zone=None, price_usd_per_hour=cheap))
        decoys.append(replace(offer, region="decoy-double-price", zone=None, price_usd_per_hour=dear))
        if offer.cloud != "gcp":  # there SkyPilot itself ties each accelerator to its machine types
            prefix = "Standard_Decoy1" if offer.cloud == "azure" else "decoy-half-price"
            name = f"{prefix}-{offer.accelerators_per_instance}x-{offer.catalog_accelerator}"
            decoys.append(replace(offer, instance_type=name, price_usd_per_hour=cheap))
    return decoys


def _with_sizes(offers: Sequence[Offer]) -> list[Offer]:
    """One size per machine type: SkyPilot refuses a type that has two, and an unknown size counts as another one."""
    sizes: dict[tuple[str, str], tuple[float, float]] = {}
    for offer in offers:
        if offer.vcpus is not None and offer.memory_gib is not None:
            sizes.setdefault((offer.cloud, offer.instance_type), (offer.vcpus, offer.memory_gib))
    default = (_DEFAULT_VCPUS, _DEFAULT_MEMORY_GIB)
    sized = [(offer, sizes.get((offer.cloud, offer.instance_type), default)) for offer in offers]
    return [replace(offer, vcpus=vcpus, memory_gib=memory) for offer, (vcpus, memory) in sized]


def _vms_csv(cloud: str, offers: Sequence[Offer]) -> str:
    rows = split_prices(_by_zone(cloud, offers)) if cloud == "gcp" else _by_zone(cloud, offers)
    prices: defaultdict[Machine, dict[bool, float]] = defaultdict(dict)
    sizes: dict[Machine, tuple[float | None, float | None]] = {}
    for row in rows:
        key = row.machine.on_demand  # a row has its prices on demand and spot in two columns
        prices[key].setdefault(row.use_spot, row.price_usd_per_hour)
        sizes.setdefault(key, (row.vcpus, row.memory_gib))
    columns = (*_COLUMNS, *_EXTRA_COLUMNS.get(cloud, ()))
    lines = [_cells(key, sizes[key], prices[key]) for key in prices]
    return _csv(columns, [[cells.get(column, "") for column in columns] for cells in lines])


def _cells(machine: Machine, size: tuple[float | None, float | None], prices: dict[bool, float]) -> dict[str, str]:
    vcpus, memory_gib = size
    return {
        "InstanceType": machine.instance_type,
        "AcceleratorName": machine.accelerator,
        "AcceleratorCount": str(machine.count) if machine.accelerator else "",
        "vCPUs": "" if vcpus is None else repr(vcpus),
        "MemoryGiB": "" if memory_gib is None else repr(memory_gib),
        "GpuInfo": machine.accelerator,
        "Price": repr(prices[False]) if False in prices else "",
        "SpotPrice": repr(prices[True]) if True in prices else "",
        "Region": machine.region,
        "AvailabilityZone": machine.zone or "",
        "Generation": _GENERATIONS.get(machine.cloud, ""),
    }


def _by_zone(cloud: str, offers: Sequence[Offer]) -> list[Offer]:
    """A price for a whole region becomes one row per zone that is known there, as in SkyPilot's files."""
    if "AvailabilityZone" not in _EXTRA_COLUMNS.get(cloud, ()):
        return [replace(offer, zone=None) for offer in offers]
    zones: defaultdict[str, set[str]] = defaultdict(set)
    for offer in offers:
        if offer.zone is not None:
            zones[offer.region].add(offer.zone)
    return [
        replace(offer, zone=zone)
        for offer in offers
        for zone in ([offer.zone] if offer.zone else sorted(zones[offer.region]) or [f"{offer.region}-a"])
    ]


def _accelerators_csv(offers: Sequence[Offer]) -> str:
    clouds: defaultdict[str, set[str]] = defaultdict(set)
    for offer in offers:
        if offer.catalog_accelerator:
            clouds[offer.catalog_accelerator].add(offer.cloud)
    return _csv(("AcceleratorName", "Clouds"), [[name, str(sorted(clouds[name]))] for name in sorted(clouds)])


def _csv(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


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
