"""One's own prices: negotiated ones, discounts, and capacity that is paid for already.

They are put in after the market prices have been judged: a negotiated price far below the market is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from sky_melange.domain.offer import Obtained, Offer, PriceBook, PriceProvenance, PriceState
from sky_melange.domain.workload import Discount, PricePolicy
from sky_melange.prices.overrides import Override, read_overrides

NAME = "overrides"


def apply_own_prices(book: PriceBook, policy: PricePolicy) -> PriceBook:
    """The book with discounts, then overrides (which state final prices). Raises InputError for a faulty file."""
    offers = [discounted(offer, policy.discounts) for offer in book.offers]
    unused = [d for d in policy.discounts if not any(_covers(d, offer) for offer in book.offers)]
    notes = [f"prices.discounts: {_discount_text(d)} covers no offer" for d in unused]
    if policy.overrides is None:
        return replace(book, offers=tuple(offers), notes=(*book.notes, *notes))
    overrides = read_overrides(policy.overrides)
    aside = [entry.offer for entry in book.quarantined]
    own: list[Offer] = []
    replaced: set[str] = set()
    for override in overrides:
        fitting = [offer for offer in (*offers, *aside) if _fits(override, offer)]
        if not fitting:
            notes.append(f"{override.place}: {override.label} is no offer of today's catalogs; the line has no effect")
        made = [_overridden(offer, override) for offer in fitting]
        own += made
        if override.reserved_instances is None:
            replaced |= {offer.name for offer in fitting}
    kept = [offer for offer in offers if offer.name not in replaced]
    state = PriceState(source=NAME, cloud="", obtained=Obtained.FILE, fetched_at="")
    return replace(
        book,
        offers=tuple(sorted([*kept, *own], key=lambda offer: offer.sort_key)),
        quarantined=tuple(entry for entry in book.quarantined if entry.offer.name not in replaced),
        notes=(*book.notes, *notes),
        states=(*book.states, state),
    )


def discounted(offer: Offer, discounts: Sequence[Discount]) -> Offer:
    """The offer at the price after the largest discount that covers it; discounts do not add up."""
    best = max((d.fraction for d in discounts if _covers(d, offer)), default=0.0)
    if best == 0.0:
        return offer
    detail = f"{offer.provenance.detail}; {best:.4g} off the listed {offer.price_usd_per_hour:g} USD per hour"
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
        override.cloud == offer.cloud
        and override.instance_type == offer.instance_type
        and override.use_spot == offer.use_spot
        and override.region in ("", offer.region)
        and override.accelerator in ("", offer.accelerator, offer.catalog_accelerator)
    )


def _overridden(offer: Offer, override: Override) -> Offer:
    reserved = override.reserved_instances
    what = "" if reserved is None else f"; {reserved} reserved"
    detail = f"{override.place}{what}" + (f"; {override.note}" if override.note else "")
    return replace(
        offer,
        price_usd_per_hour=override.price_usd_per_hour,
        reserved_instances=reserved,
        provenance=PriceProvenance(source=NAME, detail=detail, fetched_at=override.as_of, as_of=override.as_of),
    )
