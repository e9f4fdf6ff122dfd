"""What one replica costs at best."""

from __future__ import annotations

from collections.abc import Iterable

from sky_melange.domain.comparison import ReplicaPrice
from sky_melange.domain.offer import Offer
from sky_melange.errors import MissingDataError
from sky_melange.resources import cloud_features


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
