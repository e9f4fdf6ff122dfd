"""Several sources on the same offers: the first that has a cloud decides what is sold there, later ones comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from sky_melange.domain.offer import SOURCES_DISAGREE, Offer, Quarantined
from sky_melange.domain.workload import Disagreement
from sky_melange.prices.source import CatalogOffers, dearest, sale_of

TOLERANCE_FRACTION: Final = 0.02
"""On-demand prices of one machine that differ by no more are rounded differently."""

SPOT_TOLERANCE_FRACTION: Final = 0.5
"""Spot prices move between the hours at which two sources looked."""

RULE: Final = "sources_disagree"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """One catalog a cloud, what was put aside because sources disagree, and what to say about it.

    `agreed` names offers that a second source confirms.
    """

    catalogs: tuple[CatalogOffers, ...]
    quarantined: tuple[Quarantined, ...] = ()
    remarks: tuple[str, ...] = ()
    agreed: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Tally:
    compared: int = 0
    off: int = 0
    furthest_fraction: float = 0.0
    quarantined: list[Quarantined] = field(default_factory=list)
    agreed: set[str] = field(default_factory=set)


def merge(sources: Sequence[tuple[str, Sequence[CatalogOffers]]], on_disagreement: Disagreement) -> Merged:
    """Merges (source name, its catalogs), the preferred source first."""
    merged: dict[str, tuple[str, CatalogOffers]] = {}
    quarantined: list[Quarantined] = []
    remarks: list[str] = []
    agreed: set[str] = set()
    for name, catalogs in sources:
        for catalog in catalogs:
            if catalog.cloud not in merged:
                merged[catalog.cloud] = (name, catalog)
                continue
            first_name, first = merged[catalog.cloud]
            tally = _Tally()
            offers = _commented(first, catalog, name, on_disagreement, tally)
            merged[catalog.cloud] = (first_name, replace(first, offers=offers))
            quarantined += tally.quarantined
            agreed |= tally.agreed
            remarks.append(_remark(catalog.cloud, first_name, name, tally, on_disagreement))
    return Merged(
        catalogs=tuple(catalog for _, (_, catalog) in sorted(merged.items())),
        quarantined=tuple(quarantined),
        remarks=tuple(remarks),
        agreed=frozenset(agreed),
    )


def _commented(
    first: CatalogOffers, second: CatalogOffers, name: str, on_disagreement: Disagreement, tally: _Tally
) -> tuple[Offer, ...]:
    theirs = dearest(second.offers)
    kept = []
    for offer in first.offers:
        price = theirs.get(sale_of(offer)) if offer.accelerator else None
        if price is None:
            kept.append(offer)
            continue
        tally.compared += 1
        if _agree(offer, price):
            tally.agreed.add(offer.name)
            kept.append(offer)
            continue
        tally.off += 1
        own = offer.price_usd_per_hour
        tally.furthest_fraction = max(tally.furthest_fraction, abs(price - own) / max(min(price, own), 1e-9))
        said = f"{SOURCES_DISAGREE}{offer.provenance.source} says {own:.4f}, {name} {price:.4f} USD per hour"
        if on_disagreement is Disagreement.QUARANTINE:
            tally.quarantined.append(Quarantined(offer=offer, rule=RULE, reason=said))
        else:
            dearer = max(own, price) if on_disagreement is Disagreement.HIGHEST else own
            kept.append(_repriced(offer, dearer, f"{said}; {_CHOSEN[on_disagreement]}"))
    return tuple(kept)


_CHOSEN: Final[Mapping[Disagreement, str]] = {
    Disagreement.HIGHEST: "the dearer price is used",
    Disagreement.PREFER: "the price of the source named first is used",
    Disagreement.QUARANTINE: "they are quarantined",
}


def _repriced(offer: Offer, price_usd_per_hour: float, said: str) -> Offer:
    provenance = replace(offer.provenance, detail=f"{offer.provenance.detail}; {said}")
    return replace(offer, price_usd_per_hour=price_usd_per_hour, provenance=provenance)


def _agree(offer: Offer, price_usd_per_hour: float) -> bool:
    tolerance = SPOT_TOLERANCE_FRACTION if offer.use_spot else TOLERANCE_FRACTION
    low, high = sorted((offer.price_usd_per_hour, price_usd_per_hour))
    return high <= low * (1 + tolerance)


def _remark(cloud: str, first: str, second: str, tally: _Tally, on_disagreement: Disagreement) -> str:
    if not tally.compared:
        return f"{cloud}: no offer of {second} is one of {first}, so none was compared"
    if not tally.off:
        return f"{cloud}: {first} and {second} agree on {tally.compared} offers"
    return (
        f"{cloud}: {tally.off} of {tally.compared} offers differ between {first} and {second}, by up to "
        f"{tally.furthest_fraction:.0%}; {_CHOSEN[on_disagreement]} (prices.on_disagreement: {on_disagreement})"
    )
