"""Price sources and the price book.

Adding a source is one module with a class that satisfies `PriceSource`, and one line in `PRICE_SOURCES`
(`sky_melange/extensions.py`). `current_book` is the way in for whoever spends money on the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sky_melange.domain.comparison import ReplicaPrice
from sky_melange.domain.offer import Offer, PriceBook
from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.errors import MissingDataError
from sky_melange.prices.book import make_book
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS, USUAL_CLOUDS
from sky_melange.prices.current import current_book
from sky_melange.prices.freshness import warnings_of
from sky_melange.prices.history import PriceHistory
from sky_melange.prices.names import known_accelerators, load_gpus
from sky_melange.prices.opinions import load_opinions
from sky_melange.prices.own import discounted
from sky_melange.prices.past import embedded_past
from sky_melange.prices.snapshot import SnapshotSource, embedded_regions, require_clouds, snapshot_clouds
from sky_melange.prices.source import FetchLimits, PriceSite
from sky_melange.resources import cloud_features

__all__ = [
    "FetchLimits",
    "PriceHistory",
    "PriceSite",
    "cheapest_replica",
    "current_book",
    "discounted",
    "embedded_regions",
    "known_accelerators",
    "launchable_clouds",
    "load_gpus",
    "load_snapshot",
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


def cheapest_replica(offers: Iterable[Offer], accelerator: str, tensor_parallel: int) -> ReplicaPrice:
    """The least on-demand price of a replica, where SkyPilot can serve from and no GPU of the instance stays idle.

    Raises MissingDataError with the sizes on offer when none holds a whole number of replicas.
    """
    clouds = cloud_features()
    on_demand = [
        offer
        for offer in offers
        if offer.accelerator == accelerator
        and not offer.use_spot
        and offer.cloud in clouds
        and clouds[offer.cloud].open_ports
    ]
    priced = [
        ReplicaPrice(offer=offer, replicas_per_instance=offer.accelerators_per_instance // tensor_parallel)
        for offer in on_demand
        if offer.accelerators_per_instance > 0 and offer.accelerators_per_instance % tensor_parallel == 0
    ]
    if priced:
        return min(priced, key=lambda price: (price.usd_per_hour, price.offer.sort_key))
    sizes = sorted({offer.accelerators_per_instance for offer in on_demand})
    there = f"there are instances of {', '.join(map(str, sizes))}" if sizes else "it is not on offer"
    raise MissingDataError(
        f"no on-demand price of {tensor_parallel} × {accelerator} among the embedded prices: {there}"
    )
