"""Offers of the GPUs that one has: priced as stated, and as many as there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from sky_melange.domain.offer import Offer, PriceBook, PriceProvenance
from sky_melange.domain.own_gpus import OWN_GPUS, OwnGpus, pod_type

_BESIDE: Final = ((2, 4), (4, 8), (4, 16), (4, 32))
"""(vCPUs, GiB) of pods for a router, and for SkyServe's controller with more and more services."""


def with_own_gpus(book: PriceBook, own: Iterable[OwnGpus]) -> PriceBook:
    """The book with the offers of GPUs that one has, once."""
    known = {offer.name for offer in book.offers}
    added = [offer for offer in own_offers(own) if offer.name not in known]
    if not added:
        return book
    return replace(book, offers=tuple(sorted([*book.offers, *added], key=lambda offer: offer.sort_key)))


def own_offers(own: Iterable[OwnGpus]) -> Iterator[Offer]:
    """A pod of each size on each kind of node, and pods for the machines beside the replicas.

    `reserved_instances` of a pod is how many there would be if all were alike; `OwnGpus.gpus` bounds them together.
    """
    beside: dict[str, Offer] = {}
    for gpus in own:
        detail = f"own, as stated: USD {gpus.usd_per_gpu_hour:g} per GPU and hour, {gpus}"
        stated = PriceProvenance(source=OWN_GPUS, detail=detail, fetched_at="")
        for size in gpus.sizes:
            vcpus, memory_gib = gpus.share_of(size)
            yield Offer(
                cloud=gpus.cloud,
                region=gpus.place,
                zone=None,
                instance_type=gpus.pod(size),
                accelerator=gpus.accelerator,
                catalog_accelerator=gpus.accelerator,
                accelerators_per_instance=size,
                vcpus=vcpus,
                memory_gib=memory_gib,
                price_usd_per_hour=gpus.usd_per_gpu_hour * size,
                use_spot=False,
                provenance=stated,
                reserved_instances=gpus.gpus // size,
            )
        for vcpus, memory_gib in _BESIDE:
            if vcpus <= (gpus.vcpus or vcpus) and memory_gib <= (gpus.memory_gib or memory_gib):
                pod = _pod_beside(gpus, vcpus, memory_gib)
                beside.setdefault(pod.name, pod)
    yield from beside.values()


def _pod_beside(gpus: OwnGpus, vcpus: int, memory_gib: int) -> Offer:
    detail = f"own: a pod without GPU on {gpus.infra}, at no cost of its own"
    return Offer(
        cloud=gpus.cloud,
        region=gpus.place,
        zone=None,
        instance_type=pod_type(vcpus, memory_gib),
        accelerator="",
        catalog_accelerator="",
        accelerators_per_instance=0,
        vcpus=vcpus,
        memory_gib=memory_gib,
        price_usd_per_hour=0.0,
        use_spot=False,
        provenance=PriceProvenance(source=OWN_GPUS, detail=detail, fetched_at=""),
    )
