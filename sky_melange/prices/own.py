"""One's own prices: negotiated ones, discounts, and capacity that is paid for already.

They are put in after the market prices have been judged: a negotiated price far below the market is no fault.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sky_melange.domain.offer import DISCOUNTED, OWN_PRICES, Obtained, Offer, PriceBook, PriceProvenance, PriceState
from sky_melange.domain.own_gpus import OWN_GPUS, OwnGpus, pod_type
from sky_melange.domain.price_record import Commitment, PriceKind
from sky_melange.domain.spelling import accelerator_name, cloud_name, same_letters
from sky_melange.domain.workload import Discount, PricePolicy
from sky_melange.errors import InputError, Mistake
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS
from sky_melange.prices.names import known_accelerators, resolve
from sky_melange.prices.overrides import MACHINE, DescribedMachine, Override, Spell, read_overrides

_BESIDE: Final = ((2, 4), (4, 8), (4, 16), (4, 32))
"""(vCPUs, GiB) of pods for a router, and for SkyServe's controller with more and more services."""


def apply_own_prices(book: PriceBook, policy: PricePolicy) -> PriceBook:
    """The book with discounts, then overrides (which state final prices). Raises InputError for a faulty file."""
    offers = [discounted(offer, policy.discounts) for offer in book.offers]
    unused = [d for d in policy.discounts if not any(_covers(d, offer) for offer in book.offers)]
    notes = [f"prices.discounts: {_discount_text(d)} covers no offer" for d in unused]
    if policy.overrides is None:
        return replace(book, offers=tuple(offers), notes=(*book.notes, *notes))
    aside = [entry.offer for entry in book.quarantined]
    overrides = read_overrides(policy.overrides, spell=_speller((*offers, *aside)), notes=notes)
    own: list[Offer] = []
    terms: list[Commitment] = []
    replaced: set[str] = set()
    mistakes: list[Mistake] = []
    known = {offer.cloud for offer in (*offers, *aside)}
    for override in overrides:
        fitting = [offer for offer in (*offers, *aside) if _fits(override, offer)]
        if not fitting and override.described is not None:
            fitting = _described(override, override.described, (*offers, *aside), policy.overrides, mistakes)
        elif not fitting and override.cloud in set(LAUNCHABLE_CLOUDS) - known:
            notes.append(f"{override.place}: no catalog of {override.cloud} is available; the line has no effect")
        elif not fitting:
            message = _unknown(override, (*offers, *aside))
            mistakes.append(Mistake(source=str(policy.overrides), line=override.line, message=message))
        if override.term is not None:
            # Of two lines the one of a region is put in last, and counts.
            made_terms = list(_agreed(override, override.term, fitting))
            terms = [*terms, *made_terms] if override.region else [*made_terms, *terms]
            continue
        made = [_overridden(offer, override) for offer in fitting]
        own += made
        if override.reserved_instances is None:
            replaced |= {offer.name for offer in fitting}
    if mistakes:
        raise InputError(mistakes)
    kept = [offer for offer in offers if offer.name not in replaced]
    state = PriceState(source=OWN_PRICES, cloud="", obtained=Obtained.FILE, fetched_at="")
    return replace(
        book,
        offers=tuple(sorted([*kept, *own], key=lambda offer: offer.sort_key)),
        listed=tuple(offer for offer in offers if offer.name in replaced),
        quarantined=tuple(entry for entry in book.quarantined if entry.offer.name not in replaced),
        notes=(*book.notes, *notes),
        states=(*book.states, state),
        commitments=_with_own_terms(book.commitments, terms),
    )


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


def _speller(offers: Sequence[Offer]) -> Spell:
    """Names as they are sold: of a cloud, and of its regions, machines and accelerators."""
    names: dict[tuple[str, str], set[str]] = {}
    for offer in offers:
        names.setdefault((offer.cloud, "region"), set()).add(offer.region)
        names.setdefault((offer.cloud, "instance_type"), set()).add(offer.instance_type)
        names.setdefault((offer.cloud, "accelerator"), set()).update((offer.accelerator, offer.catalog_accelerator))

    def spell(column: str, text: str, cloud: str) -> str:
        if column == "cloud":
            return cloud_name(text, {*LAUNCHABLE_CLOUDS, *(sold_at for sold_at, _ in names)}) or text
        known = names.get((cloud, column), set())
        if column == "accelerator":
            # A machine that no catalog has may hold any accelerator.
            return text if text in known else accelerator_name(text, known_accelerators()) or text
        return same_letters(text, known) or text

    return spell


def _agreed(override: Override, term: PriceKind, offers: Iterable[Offer]) -> Iterator[Commitment]:
    """The commitments of a line, one for each machine of a region that it fits; zones share one."""
    machines: dict[object, Commitment] = {}
    for offer in offers:
        agreed = Commitment(
            cloud=offer.cloud,
            region=offer.region,
            instance_type=offer.instance_type,
            accelerator=offer.accelerator,
            accelerators_per_instance=offer.accelerators_per_instance,
            kind=term,
            price_usd_per_hour=override.price_usd_per_hour,
            on_demand_usd_per_hour=offer.price_usd_per_hour,
            as_of=override.as_of,
            source=OWN_PRICES,
        )
        machines.setdefault(agreed.covered, agreed)
    yield from machines.values()


def _with_own_terms(listed: Iterable[Commitment], own: Iterable[Commitment]) -> tuple[Commitment, ...]:
    """The listed commitments with those agreed upon in their place; a line for one region counts before one for all."""
    found = {(*commitment.covered, commitment.kind): commitment for commitment in (*listed, *own)}
    return tuple(found[key] for key in sorted(found))


def discounted(offer: Offer, discounts: Sequence[Discount]) -> Offer:
    """The offer at the price after the largest discount that covers it; discounts do not add up."""
    best = max((d.fraction for d in discounts if _covers(d, offer)), default=0.0)
    if best == 0.0:
        return offer
    detail = f"{offer.provenance.detail}; {best:.4g}{DISCOUNTED}{offer.price_usd_per_hour:g} USD per hour"
    return replace(
        offer,
        price_usd_per_hour=offer.price_usd_per_hour * (1 - best),
        provenance=replace(offer.provenance, detail=detail),
    )


def _covers(discount: Discount, offer: Offer) -> bool:
    wanted = ((discount.cloud, offer.cloud), (discount.instance_type, offer.instance_type))
    return (
        (discount.spot or not offer.use_spot)
        and all(name is None or name == found for name, found in wanted)
        and (discount.accelerator is None or discount.accelerator in (offer.accelerator, offer.catalog_accelerator))
    )


def _discount_text(discount: Discount) -> str:
    return ", ".join(_names(discount)) or "a discount on everything"


def _names(discount: Discount) -> Iterator[str]:
    for key in ("cloud", "accelerator", "instance_type"):
        value = getattr(discount, key)
        if value is not None:
            yield f"{key} {value}"


def _fits(override: Override, offer: Offer) -> bool:
    return (
        offer.accelerators_per_instance > 0
        and override.cloud == offer.cloud
        and override.instance_type == offer.instance_type
        and override.use_spot == offer.use_spot
        and override.region in ("", offer.region)
        and override.accelerator in ("", offer.accelerator, offer.catalog_accelerator)
    )


def _described(
    override: Override, machine: DescribedMachine, offers: Sequence[Offer], path: Path, mistakes: list[Mistake]
) -> list[Offer]:
    """The machine that a line describes in full, and no catalog has."""
    resolved = resolve(override.cloud, override.accelerator, override.instance_type)
    same = [o for o in offers if (o.cloud, o.instance_type) == (override.cloud, override.instance_type)]
    described = (resolved.accelerator, machine.accelerators)
    if same and all((o.accelerator, o.accelerators_per_instance) != described for o in same):
        known = same[0]
        has = f"{known.accelerators_per_instance} × {known.accelerator}" if known.accelerator else "no GPU"
        message = f"{override.instance_type} is a machine with {has} in today's catalogs, not {machine.accelerators} × "
        mistakes.append(Mistake(source=str(path), line=override.line, message=message + override.accelerator))
    if override.cloud not in LAUNCHABLE_CLOUDS:
        message = f"SkyPilot launches on no cloud {override.cloud[:60]!r}; it launches on {_listed(LAUNCHABLE_CLOUDS)}"
        mistakes.append(Mistake(source=str(path), line=override.line, message=message))
    if resolved.reason:
        message = f"accelerator {override.accelerator[:60]!r} is not known: {resolved.reason}"
        mistakes.append(Mistake(source=str(path), line=override.line, message=message))
    return [
        Offer(
            cloud=override.cloud,
            region=override.region,
            zone=None,
            instance_type=override.instance_type,
            accelerator=resolved.accelerator,
            catalog_accelerator=override.accelerator,
            accelerators_per_instance=machine.accelerators,
            vcpus=machine.vcpus,
            memory_gib=machine.memory_gib,
            price_usd_per_hour=override.price_usd_per_hour,
            use_spot=override.use_spot,
            provenance=PriceProvenance(
                source=OWN_PRICES, detail=override.place, fetched_at=override.as_of, as_of=override.as_of
            ),
        )
    ]


def _unknown(override: Override, offers: Iterable[Offer]) -> str:
    """What to write instead of a line that names nothing."""
    there = [offer for offer in offers if offer.cloud == override.cloud]
    same = [offer for offer in there if offer.instance_type == override.instance_type]
    says = f"{override.label} is not an offer with GPUs in today's catalogs"
    if any(offer.accelerators_per_instance == 0 for offer in same):
        return f"{says}: controllers and routers are priced at list prices; remove the line"
    if not there:
        return f"{says}: no cloud is called {override.cloud[:60]!r}; there are {_listed({o.cloud for o in offers})}"
    if same:
        regions = _listed({offer.region for offer in same})
        return f"{says} (region, accelerator or spot differ); it is sold in {regions}"
    near = difflib.get_close_matches(override.instance_type, sorted({o.instance_type for o in there}), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{says}{hint or ';'} a machine that no catalog has needs {', '.join(MACHINE)}"


def _listed(names: Collection[str]) -> str:
    shown = sorted(names)
    return ", ".join(shown[:12]) + (" …" if len(shown) > 12 else "")


def _overridden(offer: Offer, override: Override) -> Offer:
    reserved = override.reserved_instances
    what = "" if reserved is None else f"; {reserved} reserved"
    detail = f"{override.place}{what}" + (f"; {override.note}" if override.note else "")
    return replace(
        offer,
        price_usd_per_hour=override.price_usd_per_hour,
        reserved_instances=reserved,
        provenance=PriceProvenance(source=OWN_PRICES, detail=detail, fetched_at=override.as_of, as_of=override.as_of),
    )


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
