"""A machine at a price, as the seeded catalogs need it: the common part of an offer and of a planned group."""

from __future__ import annotations

from dataclasses import dataclass

from sky_melange.domain.offer import Offer
from sky_melange.skypilot.planned import PlannedGroup, Sale


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One machine type in one place. `accelerator` is the catalog's name of it; "" and 0 for a machine without."""

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    accelerator: str
    accelerators: int
    use_spot: bool
    price_usd_per_hour: float
    vcpus: float | None
    memory_gib: float | None

    @classmethod
    def of_group(cls, group: PlannedGroup) -> Listing:
        """What the plan says it buys."""
        return cls(
            cloud=group.cloud,
            region=group.region,
            zone=group.zone,
            instance_type=group.instance_type,
            accelerator=group.catalog_accelerator,
            accelerators=group.accelerators_per_instance,
            use_spot=group.use_spot,
            price_usd_per_hour=group.price_usd_per_hour,
            vcpus=None,
            memory_gib=None,
        )

    @classmethod
    def of_offer(cls, offer: Offer) -> Listing:
        """What a price book says is sold."""
        return cls(
            cloud=offer.cloud,
            region=offer.region,
            zone=offer.zone,
            instance_type=offer.instance_type,
            accelerator=offer.catalog_accelerator,
            accelerators=offer.accelerators_per_instance,
            use_spot=offer.use_spot,
            price_usd_per_hour=offer.price_usd_per_hour,
            vcpus=offer.vcpus,
            memory_gib=offer.memory_gib,
        )

    @property
    def sale(self) -> Sale:
        """As `PlannedGroup.sale`."""
        return (
            self.cloud,
            self.region,
            self.zone,
            self.instance_type,
            self.accelerator,
            self.accelerators,
            self.use_spot,
        )
