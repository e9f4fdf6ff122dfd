"""What a cloud sells, and where we know its price from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceProvenance:
    """Where a price comes from. `fetched_at` is the date or time (ISO 8601) of the data itself."""

    source: str
    detail: str
    fetched_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One instance type that a cloud sells in one region.

    `price_usd_per_hour` is for the whole instance with all its accelerators. `accelerator` is the canonical name
    (the key of gpus.csv), `catalog_accelerator` the name that SkyPilot's catalog of this cloud uses and that a
    launch file must therefore use. `zone` is set only when the price depends on it. For a machine without
    accelerators (a controller, a router) both names are "" and the count is 0.
    """

    cloud: str
    region: str
    zone: str | None
    instance_type: str
    accelerator: str
    catalog_accelerator: str
    accelerators_per_instance: int
    vcpus: float | None
    memory_gib: float | None
    price_usd_per_hour: float
    use_spot: bool
    provenance: PriceProvenance

    @property
    def name(self) -> str:
        """`cloud/region[/zone]/instance type[:spot]`, unique in a price book; how a workload names an offer.

        GCP attaches accelerators of choice to n1 hosts, so there they belong to the name: `n1-highmem-8+T4:2`.
        """
        machine = self.instance_type
        if self.cloud == "gcp" and machine.startswith("n1-") and self.accelerators_per_instance:
            machine += f"+{self.catalog_accelerator}:{self.accelerators_per_instance}"
        parts = [self.cloud, self.region, *([self.zone] if self.zone else []), machine]
        return "/".join(parts) + (":spot" if self.use_spot else "")

    @property
    def sort_key(self) -> tuple[str, str, str, str, str, int, bool, float]:
        """A total order that does not depend on the order of rows in a catalog."""
        return (
            self.cloud,
            self.region,
            self.zone or "",
            self.instance_type,
            self.catalog_accelerator,
            self.accelerators_per_instance,
            self.use_spot,
            self.price_usd_per_hour,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An offer that failed a plausibility rule: never used unless trusted by name, never silently dropped."""

    offer: Offer
    rule: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedRows:
    """Catalog rows that are no offer at all, counted by reason (no price, fractional GPU, TPU, ...).

    `example` is one of them, as `region/instance type`.
    """

    cloud: str
    reason: str
    rows: int
    example: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """All that is known of prices: what may be used, what may not and why. Offers are in `Offer.sort_key` order.

    `notes` say what trust by name let through, and concern every plan; `remarks` are about the catalogs as such.
    """

    offers: tuple[Offer, ...]
    quarantined: tuple[Quarantined, ...]
    skipped: tuple[SkippedRows, ...]
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
