"""Google Cloud prices hosts and accelerators apart: the price of a GPU machine is their sum in the same zone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from sky_melange.prices.catalog_csv import SkipTally
from sky_melange.prices.priced_rows import PricedRow

FIXED_HOSTS: Final[Mapping[str, Mapping[int, tuple[str, ...]]]] = {
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

ATTACHABLE_VCPUS: Final[Mapping[str, Mapping[int, int]]] = {
    "K80": {1: 4, 2: 8, 4: 16, 8: 32},
    "P4": {1: 8, 2: 16, 4: 32},
    "P100": {1: 8, 2: 16, 4: 32},
    "T4": {1: 4, 2: 8, 4: 48},
    "V100": {1: 8, 2: 16, 4: 32, 8: 64},
}
"""Accelerators attached to an n1 host: accelerator -> count -> least vCPUs that SkyPilot 0.14.1 asks of the host."""

ATTACHABLE_FAMILIES: Final = ("n1-standard-", "n1-highmem-", "n1-highcpu-")
"""Families of hosts that accelerators are attached to. n1-...-tpu machines are not among them."""

GIB_PER_VCPU: Final = 4.0
"""SkyPilot asks 4 GiB of host memory for each of those vCPUs."""

SSD_FAMILIES: Final = ("a2-ultragpu-", "a3-", "a4-")
WITHOUT_SSD: Final = "accelerators + host, without the local SSD that comes with them (just under 1 % on the bill)"
"""The catalog, and so SkyPilot, leaves out the SSD that these machine families are billed with."""

NO_HOST: Final = "no host machine for this accelerator and count"
NO_HOST_IN_ZONE: Final = "the host machine is not on sale in the accelerator's zone"


def is_host(instance_type: str) -> bool:
    """Whether an accelerator can sit in this machine type."""
    return instance_type in _FIXED_HOST_TYPES or instance_type.startswith(ATTACHABLE_FAMILIES)


def join_hosts(rows: Iterable[PricedRow], tally: SkipTally) -> Iterator[PricedRow]:
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
    yield from (host for host in hosts if host.accelerator or not is_host(host.instance_type))
    for row in accelerators:
        types = host_types(row.accelerator, row.accelerators, attached)
        found = [by_zone[row.zone, name] for name in types if (row.zone, name) in by_zone]
        if not found:
            tally.add(NO_HOST_IN_ZONE if types else NO_HOST, f"{row.zone}/{row.accelerator}:{row.accelerators}")
        for host in found:
            yield _summed(row, host)


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
            if (host.vcpus or 0.0) >= vcpus and (host.memory_gib or 0.0) >= vcpus * GIB_PER_VCPU:
                return (host.instance_type,)
        return ()


def host_types(accelerator: str, count: int, attachable: AttachableHosts) -> Sequence[str]:
    """Machine types that hold `count` of this accelerator; empty when Google sells no such combination."""
    fixed = FIXED_HOSTS.get(accelerator)
    if fixed is not None:
        return fixed.get(count, ())
    vcpus = ATTACHABLE_VCPUS.get(accelerator, {}).get(count)
    return () if vcpus is None else attachable.choose(vcpus)


def _summed(row: PricedRow, host: PricedRow) -> PricedRow:
    return row._replace(
        instance_type=host.instance_type,
        vcpus=host.vcpus,
        memory_gib=host.memory_gib,
        price=_sum(row.price, host.price),
        spot_price=_sum(row.spot_price, host.spot_price),
        # The older of the two, and unknown ("") is the oldest.
        snapshot_date=min(row.snapshot_date, host.snapshot_date),
        detail=WITHOUT_SSD if host.instance_type.startswith(SSD_FAMILIES) else "accelerators + host",
    )


def _sum(one: float | None, other: float | None) -> float | None:
    # Rounded far below a cent so that the binary sum 4.20076 + 1.17855 reads as written.
    return None if one is None or other is None else round(one + other, 9)


_FIXED_HOST_TYPES: Final = frozenset(
    name for counts in FIXED_HOSTS.values() for types in counts.values() for name in types
)
