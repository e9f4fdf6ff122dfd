"""The machines that a launch needs beside its replicas: SkyServe's controller, and a router where there is a choice."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sky_melange.domain.candidate import Candidate
from sky_melange.domain.front_door import ROUTER_PURPOSE, needs_router
from sky_melange.domain.machine import CloudFeatures
from sky_melange.domain.offer import Offer
from sky_melange.domain.plan import CONTROLLER_PURPOSE, Overhead, ReplicaGroup
from sky_melange.domain.router import RouterKind
from sky_melange.domain.workload import CandidateFilter, ControllerPlace, LaunchMode, Workload
from sky_melange.optimizer.charges import Charges, RouterCharge

CONTROLLER_VCPUS: Final = 4
CONTROLLER_SIZES: Final = ((2, 8.0), (6, 16.0), (13, 32.0))
"""(services, memory in GiB): how many services a controller of a memory size runs, by SkyPilot 0.14.1's own formula."""

ROUTER_VCPUS: Final = 2
ROUTER_MEMORY_GIB: Final = 4.0

Place = tuple[str, str]
"""(cloud, region)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverheadMachines:
    """What a workload's launch may need beside its replicas, whatever they are.

    `controllers`: by the number of services, rising, the cheapest machine that runs them; None: no price of one is
    known. Empty where there is no controller. `routers` by place, and the cheapest of all; None: no price is known.
    """

    workload: Workload
    controllers: tuple[tuple[int, Offer | None], ...]
    routers: Mapping[Place, Offer]
    cheapest_router: Offer | None

    def charges(self, candidates: Sequence[Candidate]) -> Charges:
        """The same in the numbers of a problem. What has no price is not charged; `beside` says that it has none."""
        serves = self.workload.launch.mode is LaunchMode.SERVE
        priced = [(services, offer.price_usd_per_hour) for services, offer in self.controllers if offer is not None]
        steps = pairwise(priced)
        cheapest = self.cheapest_router
        near = (self.routers.get((c.offer.cloud, c.offer.region)) for c in candidates)
        return Charges(
            base_usd_per_hour=priced[0][1] if priced else 0.0,
            steps=tuple((services, dearer - price) for (services, price), (_, dearer) in steps if dearer > price),
            most_groups=(priced or self.controllers)[-1][0] if self.controllers else None,
            instances_are_endpoints=not serves,
            router=None
            if cheapest is None or self.workload.router.of_fleet
            else RouterCharge(
                near_usd_per_hour=tuple(None if offer is None else offer.price_usd_per_hour for offer in near),
                elsewhere_usd_per_hour=cheapest.price_usd_per_hour,
            ),
        )

    def beside(self, groups: Sequence[ReplicaGroup]) -> tuple[Overhead, ...]:
        """The machines that a plan of these groups needs."""
        found = []
        if self.controllers:
            fitting = (offer for services, offer in self.controllers if services >= len(groups))
            found.append(_controller(next(fitting, None), self.workload.candidates))
        if needs_router(groups, self.workload):
            found.append(self.router(groups))
        return tuple(found)

    def router(self, groups: Sequence[ReplicaGroup]) -> Overhead:
        """The cheapest machine in a region of the replicas; only where none of these has one, the cheapest of all."""
        near = [self.routers[place] for g in groups if (place := (g.cloud, g.region)) in self.routers]
        if near:
            return _overhead(ROUTER_PURPOSE, min(near, key=_cheapest), "")
        if self.cheapest_router is not None:
            note = "not in a region of the replicas: their distance adds to each request"
            if self.cheapest_router.accelerators_per_instance:
                note = f"no machine without GPU is sold here: {_idle(self.cheapest_router)}; {note}"
            return _overhead(ROUTER_PURPOSE, self.cheapest_router, note)
        return _unpriced(
            ROUTER_PURPOSE, "no price of such a machine is known: SkyPilot takes the cheapest of your clouds"
        )


def overhead_machines(
    workload: Workload, offers: Iterable[Offer], clouds: Mapping[str, CloudFeatures]
) -> OverheadMachines:
    """Of the machines in the clouds and regions that the plan may use, whatever the replicas turn out to be.

    Machines without GPU at list price (less discounts); reserved capacity and negotiated prices are for replicas.
    """
    allowed = [offer for offer in offers if is_overhead_offer(offer) and _is_allowed(offer, workload.candidates)]
    controllers: tuple[tuple[int, Offer | None], ...] = ()
    if workload.launch.mode is LaunchMode.SERVE and workload.launch.controller is ControllerPlace.MACHINE:
        hosts = [offer for offer in allowed if offer.cloud in clouds and clouds[offer.cloud].host_controllers]
        controllers = tuple(
            (services, _least_dear(hosts, CONTROLLER_VCPUS, memory)) for services, memory in CONTROLLER_SIZES
        )
    routers: dict[Place, Offer] = {}
    cheapest_router = None
    if workload.router.kind is not RouterKind.NONE:
        reachable = [offer for offer in allowed if offer.cloud in clouds and clouds[offer.cloud].open_ports]
        for offer in reachable:
            if not offer.accelerators_per_instance and _fits(offer, ROUTER_VCPUS, ROUTER_MEMORY_GIB):
                place = (offer.cloud, offer.region)
                routers[place] = min(routers.get(place, offer), offer, key=_cheapest)
        cheapest_router = _least_dear(reachable, ROUTER_VCPUS, ROUTER_MEMORY_GIB)
    return OverheadMachines(
        workload=workload, controllers=controllers, routers=routers, cheapest_router=cheapest_router
    )


def is_overhead_offer(offer: Offer) -> bool:
    """Whether a controller or a router may run on it: on demand, and neither reserved nor at a negotiated price."""
    if offer.use_spot or offer.reserved_instances is not None:
        return False
    return not offer.provenance.is_own or offer.provenance.is_of_own_gpus


def _is_allowed(offer: Offer, wanted: CandidateFilter) -> bool:
    if not wanted.has_cloud(offer.cloud, offer.region):
        return False
    return offer.region in wanted.regions.get(offer.cloud, (offer.region,))


def _least_dear(offers: Collection[Offer], vcpus: float, memory_gib: float) -> Offer | None:
    """The cheapest machine without GPU; where none is sold, the cheapest with one, which then idles."""
    fitting = [offer for offer in offers if _fits(offer, vcpus, memory_gib)]
    plain = [offer for offer in fitting if not offer.accelerators_per_instance]
    return min(plain or fitting, key=_cheapest, default=None)


def _fits(offer: Offer, vcpus: float, memory_gib: float) -> bool:
    return (
        offer.vcpus is not None
        and offer.memory_gib is not None
        and offer.vcpus >= vcpus
        and offer.memory_gib >= memory_gib
    )


def _cheapest(offer: Offer) -> tuple[float, tuple[object, ...]]:
    return (offer.price_usd_per_hour, offer.sort_key)


def _controller(offer: Offer | None, wanted: CandidateFilter) -> Overhead:
    if offer is None:
        where = "any cloud" if wanted.clouds is None else f"candidates.clouds ({', '.join(wanted.clouds)})"
        return _unpriced(
            CONTROLLER_PURPOSE,
            f"{where} has no machine with a known price that can host it: SkyPilot takes the cheapest of the clouds "
            "you have enabled, and its cost is not in the total. Add a cloud that can host it, or set "
            "launch.controller: consolidated where SkyServe runs in the API server",
        )
    note = ""
    if offer.accelerators_per_instance:
        note = (
            f"no cloud of this plan that can host it sells a machine without GPU: {_idle(offer)}; add a cloud under "
            "candidates.clouds, or set launch.controller: consolidated where SkyServe runs in the API server"
        )
    return _overhead(CONTROLLER_PURPOSE, offer, note)


def _idle(offer: Offer) -> str:
    return f"it rents {offer.accelerators_per_instance} × {offer.accelerator}, which idles"


def _overhead(purpose: str, offer: Offer, note: str) -> Overhead:
    return Overhead(
        purpose=purpose,
        cloud=offer.cloud,
        region=offer.region,
        instance_type=offer.instance_type,
        price_usd_per_hour=offer.price_usd_per_hour,
        price=offer.provenance.dated(),
        note=note,
    )


def _unpriced(purpose: str, note: str) -> Overhead:
    return Overhead(
        purpose=purpose, cloud="", region="", instance_type="", price_usd_per_hour=None, price=None, note=note
    )
