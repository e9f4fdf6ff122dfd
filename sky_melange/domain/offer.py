"""What a cloud sells, and where we know its price from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sky_melange.domain.machine import OnPart, WithGpus
from sky_melange.domain.own_gpus import OWN_GPUS
from sky_melange.domain.price_record import Commitment, CommittedPrice

OWN_PRICES: Final = "overrides"
"""The source of prices from the user's own file (`prices.overrides`)."""

SOURCES_DISAGREE: Final = "sources disagree: "
"""Begins the part of a provenance's detail that says what another source asks for the same machine."""

IN_DOUBT: Final = "in doubt: "
"""Begins the part of a provenance's detail that says what speaks against a price that is used all the same."""

DISCOUNTED: Final = " off the listed "
"""Part of a provenance's detail where the price is the listed one less a discount (`prices.discounts`)."""

NEW: Final = "new here: "
"""Follows IN_DOUBT where nothing speaks against the price but that it is lower than all of its kind before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceProvenance:
    """Where a price comes from, and how old it is; ISO 8601, UTC, "" when not known.

    `fetched_at`: when the data was last confirmed. `as_of`: when whoever publishes it last changed it. Of embedded and
    other dated data both are its date.
    """

    source: str
    detail: str
    fetched_at: str
    as_of: str = ""

    @property
    def data_date(self) -> str:
        """What the age of the price is counted from: `as_of`, else `fetched_at`."""
        return self.as_of or self.fetched_at

    @property
    def is_own(self) -> bool:
        """Stated by the user: SkyPilot's catalogs do not know the price, and may not know the machine."""
        return self.source in {OWN_PRICES, OWN_GPUS}

    @property
    def is_of_own_gpus(self) -> bool:
        """Stated in the workload, for GPUs that the user has: it is as old as the workload."""
        return self.source == OWN_GPUS

    @property
    def is_listed(self) -> bool:
        """What the cloud asks of anybody: not the user's own price, and no discount on it."""
        return not self.is_own and DISCOUNTED not in self.detail

    def dated(self) -> PriceProvenance:
        """The same by the day: a plan holds no time of a run, so that the same inputs give the same bytes."""
        return replace(self, fetched_at=self.fetched_at[:10], as_of=self.as_of[:10])


@dataclass(frozen=True, kw_only=True)
class Priced:
    """At a price whose source is known."""

    __slots__ = ()
    price_usd_per_hour: float
    price: PriceProvenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer(OnPart, WithGpus):
    """One instance type that a cloud sells in one region.

    `price_usd_per_hour` is for the whole instance with all its accelerators. `accelerator` is the canonical name
    (the key of gpus.csv), `catalog_accelerator` the name that SkyPilot's catalog of this cloud uses and that a
    launch file must therefore use. `zone` is set only when the price depends on it. For a machine without
    accelerators (a controller, a router) both names are "" and the count is 0. `reserved_instances` is set for
    capacity that is paid for already: how many instances of it there are. `committed`: the price is that of a term;
    None: it is paid by the hour. `part`: price, vCPUs and memory are those of some GPUs of it.
    """

    vcpus: float | None
    memory_gib: float | None
    price_usd_per_hour: float
    provenance: PriceProvenance
    reserved_instances: int | None = None
    committed: CommittedPrice | None = None

    @property
    def name(self) -> str:
        """`cloud/region[/zone]/instance type[:spot|:reserved]`, unique in a price book; how a workload names an offer.

        At the price of a term it ends in `:commit_1y` or `:commit_3y`, which no price book has. GCP attaches
        accelerators of choice to n1 hosts, so there they belong to the name: `n1-highmem-8+T4:2`.
        """
        machine = self.instance_type
        if self.cloud == "gcp" and machine.startswith("n1-") and self.accelerators_per_instance:
            machine += f"+{self.catalog_accelerator}:{self.accelerators_per_instance}"
        parts = [self.cloud, self.region, *([self.zone] if self.zone else []), machine]
        market = ":reserved" if self.reserved_instances is not None else ":spot" if self.use_spot else ""
        if self.committed is not None:
            market = f":{self.committed.kind}"
        if self.part is not None:
            market = f":{self.accelerators_per_instance}_of_{self.part.accelerators}"
        return "/".join(parts) + market

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


def doubted(offer: Offer, reason: str) -> Offer:
    """The offer with what speaks against its price, which a plan that uses it reports."""
    detail = "; ".join(part for part in (offer.provenance.detail, f"{IN_DOUBT}{reason}") if part)
    return replace(offer, provenance=replace(offer.provenance, detail=detail))


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


class Obtained(StrEnum):
    """How the prices of a cloud were come by."""

    CONFIRMED = "confirmed"
    """The source was reached in this run and sent the catalog, or said that the copy at hand still holds."""
    CACHED = "cached"
    """The last good copy, from an earlier run."""
    SNAPSHOT = "snapshot"
    """Embedded in this release."""
    FILE = "file"
    """A file of the user's."""
    ABSENT = "absent"
    """Nothing: the cloud is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceState:
    """Where one source's prices of one cloud come from in this run. `cloud` is "" for a source of no one cloud.

    `fetched_at`: when the data was last confirmed, `as_of`: when it last changed (see PriceProvenance). `problem`: why
    it was not confirmed in this run, or is left out; "" when all is well. `too_old`: beyond `prices.max_age_hours`, so
    its offers are left out. `not_kept`: why the next run will not have these prices, "" when it will.
    """

    source: str
    cloud: str
    obtained: Obtained
    fetched_at: str
    problem: str = ""
    too_old: bool = False
    not_kept: str = ""
    as_of: str = ""

    @property
    def data_date(self) -> str:
        """What the age of the prices is counted from: `as_of`, else `fetched_at`."""
        return self.as_of or self.fetched_at


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingPrices:
    """A cloud whose catalog could not be obtained: no price of it is used.

    `last_known`: its offers as they were last seen, with their dates; to tell what the cloud could change, never to
    plan with. Empty when nothing is known. `problem` says why there is no catalog.
    """

    cloud: str
    problem: str
    last_known: tuple[Offer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceBook:
    """All that is known of prices: what may be used, what may not and why. Offers are in `Offer.sort_key` order.

    `notes` say what trust by name let through and what catalogs have lost, and concern every plan; `remarks` are about
    the catalogs as such. `unconfirmed` names offers that no list, second source, neighbour or history speaks for.
    `states` say where the prices come from in this run, by source and cloud. `missing` has the clouds without prices.
    `listed` are offers whose price an override replaced: machines beside the replicas are priced at these.
    `commitments`: prices of on-demand machines for a term, at most one for each machine of a region and kind.
    """

    offers: tuple[Offer, ...]
    quarantined: tuple[Quarantined, ...]
    skipped: tuple[SkippedRows, ...]
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    states: tuple[PriceState, ...] = ()
    unconfirmed: frozenset[str] = frozenset()
    listed: tuple[Offer, ...] = ()
    missing: tuple[MissingPrices, ...] = ()
    commitments: tuple[Commitment, ...] = ()
