"""What a launch costs beside its replicas: the controller that all SkyServe services share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sky_melange.domain.cloud import CloudFeatures
from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import Overhead, ReplicaGroup

CONTROLLER_VCPUS: Final = 4
CONTROLLER_MEMORY_GIB: Final = 8.0
"""SkyPilot's default for a SkyServe controller: `cpus: 4+, memory: 8+`."""

_SERVICES_BY_MEMORY_GIB: Final = ((2, 8.0), (6, 16.0), (13, 32.0))
"""Services that one controller of a memory size may run, by SkyPilot 0.14.1's own formula."""

PURPOSE: Final = "SkyServe controller"


def controller(
    groups: Sequence[ReplicaGroup], offers: Iterable[Offer], clouds: Mapping[str, CloudFeatures]
) -> Overhead:
    """The controller as SkyPilot would size and place it for these services, the first group launched first.

    SkyPilot takes the cheapest machine with enough processors and memory in the cloud and region of the first
    service; where that cloud cannot host a controller, in any cloud that the user has enabled, which is not known
    here: the cheapest among the plan's clouds is assumed then, and the note says so.
    """
    memory_gib = _memory_gib(len(groups))
    note = _advice(len(groups), memory_gib)
    first = groups[0]
    large_enough = [offer for offer in offers if _is_large_enough(offer, memory_gib)]
    if clouds[first.cloud].host_controllers:
        fitting = [o for o in large_enough if (o.cloud, o.region) == (first.cloud, first.region)]
        assumed = ""
    else:
        hosts = {group.cloud for group in groups if clouds[group.cloud].host_controllers}
        hosts = hosts or {cloud for cloud, features in clouds.items() if features.host_controllers}
        fitting = [o for o in large_enough if o.cloud in hosts and o.accelerators_per_instance == 0]
        assumed = f"{first.cloud} cannot host a controller: SkyPilot takes the cheapest of the clouds you have enabled"
    notes = "; ".join(filter(None, (assumed, note)))
    if not fitting:
        return Overhead(
            purpose=PURPOSE,
            cloud=first.cloud,
            region=first.region,
            instance_type="",
            price_usd_per_hour=None,
            price=None,
            note="; ".join(filter(None, ("no price of such a machine is known", notes))),
        )
    chosen = min(fitting, key=_cheapest)
    notes = "; ".join(filter(None, (notes, _idle_gpus(chosen))))
    return Overhead(
        purpose=PURPOSE,
        cloud=chosen.cloud,
        region=chosen.region,
        instance_type=chosen.instance_type,
        price_usd_per_hour=chosen.price_usd_per_hour,
        price=chosen.provenance,
        note=notes,
    )


def places_with_idle_gpus(offers: Iterable[Offer], clouds: Mapping[str, CloudFeatures]) -> frozenset[tuple[str, str]]:
    """(cloud, region) where a controller would rent a GPU, since nothing that is large enough comes without one."""
    cheapest: dict[tuple[str, str], Offer] = {}
    for offer in offers:
        place = (offer.cloud, offer.region)
        if clouds[offer.cloud].host_controllers and _is_large_enough(offer, CONTROLLER_MEMORY_GIB):
            cheapest[place] = min(cheapest.get(place, offer), offer, key=_cheapest)
    return frozenset(place for place, offer in cheapest.items() if offer.accelerators_per_instance)


def _cheapest(offer: Offer) -> tuple[float, tuple[object, ...]]:
    return (offer.price_usd_per_hour, offer.sort_key)


def _idle_gpus(offer: Offer) -> str:
    """Some clouds sell nothing without a GPU, and SkyPilot then rents one for its controller."""
    if not offer.accelerators_per_instance:
        return ""
    return (
        f"the cheapest machine that is large enough in {offer.cloud} {offer.region} has "
        f"{offer.accelerators_per_instance} × {offer.accelerator}, which a controller leaves idle; "
        "`serve.controller.resources: {infra: CLOUD}` in SkyPilot's config places it elsewhere"
    )


def _advice(services: int, memory_gib: float) -> str:
    if math.isinf(memory_gib):
        most = _SERVICES_BY_MEMORY_GIB[-1][0]
        return f"{services} services are more than one controller runs ({most}); set constraints.max_groups"
    if memory_gib > CONTROLLER_MEMORY_GIB:
        resources = f"{{cpus: {CONTROLLER_VCPUS}+, memory: {memory_gib:g}+}}"
        return f"{services} services need `serve.controller.resources: {resources}` in SkyPilot's config"
    return ""


def _memory_gib(services: int) -> float:
    for limit, memory_gib in _SERVICES_BY_MEMORY_GIB:
        if services <= limit:
            return memory_gib
    return math.inf


def _is_large_enough(offer: Offer, memory_gib: float) -> bool:
    return (
        not offer.use_spot
        and offer.vcpus is not None
        and offer.memory_gib is not None
        and offer.vcpus >= CONTROLLER_VCPUS
        and offer.memory_gib >= memory_gib
    )
