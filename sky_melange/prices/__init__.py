"""Price sources and the price book.

Adding a source is one module with a class that satisfies `PriceSource`, and one line in `PRICE_SOURCES`
(`sky_melange/extensions.py`). `current_book` is the way in for whoever spends money on the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sky_melange.domain.offer import PriceBook
from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.prices.book import make_book
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS, USUAL_CLOUDS
from sky_melange.prices.current import current_book
from sky_melange.prices.freshness import warnings_of
from sky_melange.prices.gpus import known_accelerators, load_gpus
from sky_melange.prices.history import PriceHistory
from sky_melange.prices.hosted.bases import parse_bases
from sky_melange.prices.opinions import load_opinions
from sky_melange.prices.own import discounted
from sky_melange.prices.past import embedded_past
from sky_melange.prices.replica_price import cheapest_replica
from sky_melange.prices.snapshot import SnapshotSource, embedded_regions, require_clouds, snapshot_clouds
from sky_melange.prices.source import CatalogOffers, FetchLimits, PriceSite, PriceSource

__all__ = [
    "CatalogOffers",
    "FetchLimits",
    "PriceHistory",
    "PriceSite",
    "PriceSource",
    "cheapest_replica",
    "current_book",
    "discounted",
    "embedded_regions",
    "known_accelerators",
    "launchable_clouds",
    "load_gpus",
    "load_snapshot",
    "parse_bases",
    "plannable_clouds",
    "snapshot_clouds",
    "usual_clouds",
    "warnings_of",
]


def launchable_clouds() -> tuple[str, ...]:
    """Clouds that SkyPilot can launch on and whose prices come from catalogs, sorted."""
    return LAUNCHABLE_CLOUDS


def usual_clouds() -> tuple[str, ...]:
    """Those that are compared where a workload names none and nothing better is known."""
    return USUAL_CLOUDS


def plannable_clouds() -> tuple[str, ...]:
    """All that a plan may be on: with Kubernetes and SSH node pools of one's own."""
    return (*LAUNCHABLE_CLOUDS, *OWN_CLOUDS)


def load_snapshot(trust: Sequence[str] = (), clouds: Collection[str] | None = None) -> PriceBook:
    """The embedded prices, judged. No network, no clock.

    `trust` names quarantined offers to use all the same (`Offer.name`, or a prefix of it that ends at a `/`).
    `clouds` limits the book; every cloud is read all the same, since an offer is judged beside the other clouds'.
    Raises MissingDataError for a cloud without embedded prices.
    """
    require_clouds(clouds or ())
    return make_book(SnapshotSource().read(), load_opinions(), trust, clouds, embedded_past())
