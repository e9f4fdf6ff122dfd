"""Price sources and the price book.

Adding a source is one module with a class that satisfies `PriceSource`, and one line in `PRICE_SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from sky_melange.domain.offer import PriceBook
from sky_melange.prices.book import make_book
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS
from sky_melange.prices.gpus import known_accelerators, load_gpus
from sky_melange.prices.opinions import load_opinions
from sky_melange.prices.snapshot import SnapshotSource, require_clouds, snapshot_clouds
from sky_melange.prices.source import CatalogOffers, PriceSource

__all__ = [
    "PRICE_SOURCES",
    "CatalogOffers",
    "PriceSource",
    "known_accelerators",
    "launchable_clouds",
    "load_gpus",
    "load_snapshot",
    "snapshot_clouds",
]

PRICE_SOURCES: Final[Mapping[str, Callable[[], PriceSource]]] = {
    "snapshot": SnapshotSource,
}
"""Every source by name."""


def launchable_clouds() -> tuple[str, ...]:
    """Clouds that SkyPilot can launch on and whose prices come from catalogs, sorted."""
    return LAUNCHABLE_CLOUDS


def load_snapshot(trust: Sequence[str] = (), clouds: Collection[str] | None = None) -> PriceBook:
    """The embedded prices, judged. No network, no clock.

    `trust` names quarantined offers to use all the same (`Offer.name`, or a prefix of it that ends at a `/`).
    `clouds` limits the book; every cloud is read all the same, since an offer is judged beside the other clouds'.
    Raises MissingDataError for a cloud without embedded prices.
    """
    require_clouds(clouds or ())
    return make_book(SnapshotSource().read(), load_opinions(), trust, clouds)
