"""Turns the rows of one catalog into offers: zones folded into regions, on-demand and spot apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Final, Protocol

from sky_melange.domain.offer import Offer, PriceProvenance
from sky_melange.prices.catalog_csv import NO_PRICE, PricedRow, SkipTally, priced_rows, read_rows
from sky_melange.prices.clouds import ZONES_NOT_PINNABLE
from sky_melange.prices.names import count_error, resolve
from sky_melange.prices.source import CatalogOffers
from sky_melange.resources import shipped_rows
from sky_melange.untrusted import decoded

_FIXED_HOSTS: Final[Mapping[str, Mapping[int, tuple[str, ...]]]] = {
    "A100": {
        1: ("a2-highgpu-1g",),
        2: ("a2-highgpu-2g",),
        4: ("a2-highgpu-4g",),
        8: ("a2-highgpu-8g",),
        16: ("a2-megagpu-16g",),
    },
    "A100-80GB": {1: ("a2-ultragpu-1g",), 2: ("a2-ultragpu-2g",), 4: ("a2-ultragpu-4g",), 8: ("a2-ultragpu-8g",)},
    "L4": {
        1: ("g2-standard-4", "g2-standard-8", "g2-standard-12", "g2-standard-16", "g2-standard-32"),
        2: ("g2-standard-24",),
        4: ("g2-standard-48",),
        8: ("g2-standard-96",),
    },
    "H100": {1: ("a3-highgpu-1g",), 2: ("a3-highgpu-2g",), 4: ("a3-highgpu-4g",), 8: ("a3-highgpu-8g",)},
    "H100-MEGA": {8: ("a3-megagpu-8g",)},
    "H200": {8: ("a3-ultragpu-8g",)},
    "B200": {8: ("a4-highgpu-8g",)},
    "RTXPRO6000": {1: ("g4-standard-48",), 2: ("g4-standard-96",), 4: ("g4-standard-192",), 8: ("g4-standard-384",)},
}
"""Machine types that come with their accelerators: accelerator -> count -> types."""

_ATTACHABLE_VCPUS: Final[Mapping[str, Mapping[int, int]]] = {
    "K80": {1: 4, 2: 8, 4: 16, 8: 32},
    "P4": {1: 8, 2: 16, 4: 32},
    "P100": {1: 8, 2: 16, 4: 32},
    "T4": {1: 4, 2: 8, 4: 48},
    "V100": {1: 8, 2: 16, 4: 32, 8: 64},
}
"""Accelerators attached to an n1 host: accelerator -> count -> least vCPUs that SkyPilot 0.14.1 asks of the host."""

ATTACHABLE_FAMILIES: Final = ("n1-standard-", "n1-highmem-", "n1-highcpu-")
"""Families of hosts that accelerators are attached to. n1-...-tpu machines are not among them."""

_GIB_PER_VCPU: Final = 4.0
"""SkyPilot asks 4 GiB of host memory for each of those vCPUs."""

_SSD_FAMILIES: Final = ("a2-ultragpu-", "a3-", "a4-")
_WITHOUT_SSD: Final = "accelerators + host, without the local SSD that comes with them (just under 1 % on the bill)"
"""The catalog, and so SkyPilot, leaves out the SSD that these machine families are billed with."""

_NO_HOST: Final = "no host machine for this accelerator and count"
_NO_HOST_IN_ZONE: Final = "the host machine is not on sale in the accelerator's zone"


class AttachableHosts:
    """Which n1 machine SkyPilot puts attachable accelerators on: the cheapest anywhere that is large enough."""

    def __init__(self, hosts: Iterable[PricedRow]) -> None:
        cheapest: dict[str, PricedRow] = {}
        for host in hosts:
            if host.instance_type.startswith(ATTACHABLE_FAMILIES) and host.price is not None:
                known = cheapest.get(host.instance_type)
                if known is None or (known.price or 0.0) > host.price:
                    cheapest[host.instance_type] = host
        self._by_price = sorted(cheapest.values(), key=lambda host: (host.price, host.instance_type))

    def choose(self, vcpus: int) -> tuple[str, ...]:
        """The machine type with at least `vcpus` and 4 GiB for each of them; empty when there is none."""
        for host in self._by_price:
            if (host.vcpus or 0.0) >= vcpus and (host.memory_gib or 0.0) >= vcpus * _GIB_PER_VCPU:
                return (host.instance_type,)
        return ()


_FIXED_HOST_TYPES: Final = frozenset(
    name for counts in _FIXED_HOSTS.values() for types in counts.values() for name in types
)

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
        return instance_type in plain or (gcp and _is_host(instance_type))

    found = read_rows(decoded(content, source, "fetch the catalog again"), source, tally, keep_plain)
    rows: Iterable[PricedRow] = priced_rows(found, cloud, tally)
    if gcp:
        rows = _join_hosts(rows, tally)
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


def host_types(accelerator: str, count: int, attachable: AttachableHosts) -> Sequence[str]:
    """Machine types that hold `count` of this accelerator; empty when Google sells no such combination."""
    fixed = _FIXED_HOSTS.get(accelerator)
    if fixed is not None:
        return fixed.get(count, ())
    vcpus = _ATTACHABLE_VCPUS.get(accelerator, {}).get(count)
    return () if vcpus is None else attachable.choose(vcpus)


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


def _is_host(instance_type: str) -> bool:
    """Whether an accelerator can sit in this machine type."""
    return instance_type in _FIXED_HOST_TYPES or instance_type.startswith(ATTACHABLE_FAMILIES)


def _join_hosts(rows: Iterable[PricedRow], tally: SkipTally) -> Iterator[PricedRow]:
    """GPU machines with the summed price of host and accelerators; machines without GPU pass through.

    A sum is None where either part has no such price. Accelerators without a host in their zone go to `tally`.
    """
    accelerators: list[PricedRow] = []
    hosts: list[PricedRow] = []
    for row in rows:
        if row.accelerator and not row.instance_type:
            accelerators.append(row)
        else:
            hosts.append(row)
    by_zone = {(host.zone, host.instance_type): host for host in hosts}
    attached = AttachableHosts(hosts)
    yield from (host for host in hosts if host.accelerator or not _is_host(host.instance_type))
    for row in accelerators:
        types = host_types(row.accelerator, row.accelerators, attached)
        found = [by_zone[row.zone, name] for name in types if (row.zone, name) in by_zone]
        if not found:
            tally.add(_NO_HOST_IN_ZONE if types else _NO_HOST, f"{row.zone}/{row.accelerator}:{row.accelerators}")
        for host in found:
            yield _summed(row, host)


def _summed(row: PricedRow, host: PricedRow) -> PricedRow:
    return row._replace(
        instance_type=host.instance_type,
        vcpus=host.vcpus,
        memory_gib=host.memory_gib,
        price=_sum(row.price, host.price),
        spot_price=_sum(row.spot_price, host.spot_price),
        # The older of the two, and unknown ("") is the oldest.
        snapshot_date=min(row.snapshot_date, host.snapshot_date),
        detail=_WITHOUT_SSD if host.instance_type.startswith(_SSD_FAMILIES) else "accelerators + host",
    )


def _sum(one: float | None, other: float | None) -> float | None:
    # Rounded far below a cent so that the binary sum 4.20076 + 1.17855 reads as written.
    return None if one is None or other is None else round(one + other, 9)
