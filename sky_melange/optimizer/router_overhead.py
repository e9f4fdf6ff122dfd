"""What the router's machine costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sky_melange.domain.cloud import CloudFeatures
from sky_melange.domain.front_door import ROUTER_PURPOSE
from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import Overhead, ReplicaGroup

ROUTER_VCPUS: Final = 2
ROUTER_MEMORY_GIB: Final = 4.0


def router_machine(
    groups: Sequence[ReplicaGroup], offers: Iterable[Offer], clouds: Mapping[str, CloudFeatures]
) -> Overhead:
    """The cheapest on-demand machine with 2 processors and 4 GiB, as near to the replicas as there is one.

    Tried in turn: the regions of the groups, from the one with the most replicas; any region of their clouds; any
    cloud. The cloud must be able to open a port. Where none has such a machine, its price is unknown and SkyPilot
    chooses when it is launched.
    """
    fitting = [offer for offer in offers if _fits(offer, clouds)]
    by_size = sorted(groups, key=lambda group: (-group.replicas, group.name))
    near = [[o for o in fitting if (o.cloud, o.region) == (group.cloud, group.region)] for group in by_size]
    same_cloud = [offer for offer in fitting if offer.cloud in {group.cloud for group in groups}]
    for place, offered in enumerate((*near, same_cloud, fitting)):
        if offered:
            chosen = min(offered, key=lambda offer: (offer.price_usd_per_hour, offer.sort_key))
            note = "" if place < len(near) else "not in a region of the replicas: their distance adds to each request"
            return Overhead(
                purpose=ROUTER_PURPOSE,
                cloud=chosen.cloud,
                region=chosen.region,
                instance_type=chosen.instance_type,
                price_usd_per_hour=chosen.price_usd_per_hour,
                price=chosen.provenance,
                note=note,
            )
    return Overhead(
        purpose=ROUTER_PURPOSE,
        cloud="",
        region="",
        instance_type="",
        price_usd_per_hour=None,
        price=None,
        note="no price of such a machine is known: SkyPilot takes the cheapest of your clouds",
    )


def _fits(offer: Offer, clouds: Mapping[str, CloudFeatures]) -> bool:
    return (
        not offer.use_spot
        and offer.accelerators_per_instance == 0
        and offer.vcpus is not None
        and offer.memory_gib is not None
        and offer.vcpus >= ROUTER_VCPUS
        and offer.memory_gib >= ROUTER_MEMORY_GIB
        and offer.cloud in clouds
        and clouds[offer.cloud].open_ports
    )
