"""What every source of prices is asked, and what it hands over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias

from sky_melange.domain.offer import Offer, PriceState, SkippedRows


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogOffers:
    """The offers of one cloud as one source tells them, before any judgement, and the rows that are none."""

    cloud: str
    offers: tuple[Offer, ...]
    skipped: tuple[SkippedRows, ...]


Sale: TypeAlias = tuple[str, str, str, int, bool]
"""(region, instance type, canonical accelerator, count, spot): a machine of a cloud, in words that sources share."""


def sale_of(offer: Offer) -> Sale:
    """Of whichever zone."""
    return offer.region, offer.instance_type, offer.accelerator, offer.accelerators_per_instance, offer.use_spot


def dearest(offers: Iterable[Offer]) -> dict[Sale, float]:
    """The price of each GPU machine, USD per hour; of zones at different prices the dearest counts."""
    prices: dict[Sale, float] = {}
    for offer in offers:
        if offer.accelerator:
            sale = sale_of(offer)
            prices[sale] = max(prices.get(sale, 0.0), offer.price_usd_per_hour)
    return prices


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePrices:
    """One source's catalogs, in order of cloud name, and where each comes from in this run (clouds left out too).

    `changed`: clouds whose catalog is another one than in the last run.
    `last_known`: earlier catalogs of clouds that have none now; never used as prices.
    """

    catalogs: tuple[CatalogOffers, ...]
    states: tuple[PriceState, ...]
    remarks: tuple[str, ...] = ()
    changed: frozenset[str] = frozenset()
    last_known: tuple[CatalogOffers, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """The connect timeout holds for each attempt, the read timeout for each pause in an answer.

    `contact_s`: an address that accepts no connection by then is not asked. `catalog_s` holds for one answer, `total_s`
    for all catalogs together. Connections, broken connections, 429 and 5xx are tried up to `tries` times; a server that
    asks for a longer wait than `longest_wait_s` is left for the mirror. `body_bytes` bounds one catalog, unpacked, and
    with it the memory of a refresh: three times the largest known.
    """

    connect_timeout_s: float = 3.0
    read_timeout_s: float = 8.0
    catalog_s: float = 25.0
    contact_s: float = 2.2
    total_s: float = 40.0
    body_bytes: int = 16 << 20
    redirects: int = 5
    tries: int = 3
    backoff_s: float = 0.3
    longest_wait_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSite:
    """The machine's part of the question: where copies are kept, and where catalogs come from.

    `bases` in order of preference; empty: what the workload says, else SkyPilot's own addresses.
    """

    cache_folder: Path
    bases: tuple[str, ...] = ()
    limits: FetchLimits = field(default_factory=FetchLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRequest:
    """What a source needs to know. `now` is aware; `offline`: no connection may be opened.

    `base_url` is the workload's wish. `on_progress` takes (catalogs finished, catalogs in all), in the caller's thread.
    """

    site: PriceSite
    now: datetime
    offline: bool = False
    base_url: str | None = None
    on_progress: Callable[[int, int], None] | None = None


class PriceSource(Protocol):
    """A source of prices. Registered in `extensions.PRICE_SOURCES`."""

    @property
    def name(self) -> str:
        """Short name, the `source` in the provenance of its offers."""

    def obtain(self, request: PriceRequest) -> SourcePrices:
        """All that it has now; a cloud that cannot be had is a state with its problem, never an exception.

        Raises InputError for a setting of the user's that cannot be followed.
        """
