"""Merges what the sources say into one price book: judged, with the offers that a user trusts by name let through."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final

from sky_melange.domain.offer import Offer, PriceBook, Quarantined
from sky_melange.prices.opinions import Opinions
from sky_melange.prices.past import Past
from sky_melange.prices.plausibility import Judged, judge
from sky_melange.prices.records import judged_commitments, load_commitments
from sky_melange.prices.source import CatalogOffers

LOSS_FRACTION: Final = 0.2
"""A catalog that lost so much at once was cut off, or changed more than catalogs do from one refresh to the next."""

LACK_FRACTION: Final = 1 / 3
"""A catalog that lacks such a share of the kinds of machine that this release knows is reported, also where no earlier
copy tells. Two years apart the large clouds' catalogs lack at most a fifth; mirrors may hold a part on purpose.
"""


def make_book(  # noqa: PLR0913 - one keyword for each circumstance
    catalogs: Iterable[CatalogOffers],
    opinions: Opinions,
    trust: Sequence[str] = (),
    clouds: Collection[str] | None = None,
    past: Past | None = None,
    agreed: Collection[str] = (),
    *,
    judged: Judged | None = None,
) -> PriceBook:
    """The price book of some clouds (all when None). The other catalogs serve only to compare with.

    `trust` names quarantined offers (`Offer.name`, or a prefix of it that ends at a `/`) to use all the same, at the
    price of the catalog. `past` and `agreed` are what the judgement knows beside the catalogs: see `judge`. `judged`:
    its answer, where it was asked already.
    """
    catalogs = tuple(catalogs)
    past = past or Past()
    judged = judged or judge((offer for catalog in catalogs for offer in catalog.offers), opinions, past, agreed)
    failed = [entry for entry in judged.quarantined if clouds is None or entry.offer.cloud in clouds]
    trusted = [entry for entry in failed if is_trusted(entry.offer, trust)]
    # A corrected offer passes under the name of the one that it stands in for.
    replaced = {entry.offer.name for entry in trusted}
    passed = [
        offer
        for offer in judged.passed
        if (clouds is None or offer.cloud in clouds) and (not replaced or offer.name not in replaced)
    ]
    quarantined = [entry for entry in failed if not is_trusted(entry.offer, trust)]
    commitments, doubts = judged_commitments(c for c in load_commitments() if clouds is None or c.cloud in clouds)
    skipped = [rows for catalog in catalogs if clouds is None or catalog.cloud in clouds for rows in catalog.skipped]
    return PriceBook(
        offers=tuple(sorted([*passed, *(entry.offer for entry in trusted)], key=lambda offer: offer.sort_key)),
        quarantined=tuple(sorted(quarantined, key=lambda entry: entry.offer.sort_key)),
        skipped=tuple(sorted(skipped, key=lambda rows: (rows.cloud, rows.reason))),
        notes=(
            *_trust_notes(trusted, trust),
            *_loss_notes((c for c in catalogs if clouds is None or c.cloud in clouds), past),
        ),
        remarks=(*_date_notes(passed), *doubts),
        unconfirmed=judged.unconfirmed,
        commitments=commitments,
    )


def is_trusted(offer: Offer, trust: Sequence[str]) -> bool:
    """Whether a name in `trust` is the offer's own, or a prefix of it that ends at a `/`."""
    return any(offer.name == name or offer.name.startswith(name.rstrip("/") + "/") for name in trust if name)


def _trust_notes(trusted: Sequence[Quarantined], trust: Sequence[str]) -> list[str]:
    ordered = sorted(trusted, key=lambda entry: entry.offer.sort_key)
    notes = [f"{entry.offer.name}: used because it is trusted by name, although {entry.reason}" for entry in ordered]
    for name in trust:
        if not any(is_trusted(entry.offer, [name]) for entry in trusted):
            notes.append(f"trust: {name} names no quarantined offer")
    return notes


def _loss_notes(catalogs: Iterable[CatalogOffers], past: Past) -> Iterator[str]:
    """Catalogs that lost many prices, or all machines with some GPU: what is missing may have been the cheapest."""
    for catalog in catalogs:
        had, gone, accelerators = past.lost(catalog)
        if accelerators or gone >= LOSS_FRACTION * had > 0:
            among = f", among them all of {', '.join(accelerators)}" if accelerators else ""
            yield (
                f"Prices of {catalog.cloud}: {gone} of {had} on-demand prices of the last good copy are no longer in "
                f"the catalog{among}."
            )
        known, lacking = past.lacking(catalog)
        if lacking >= LACK_FRACTION * known > 0:
            yield (
                f"Prices of {catalog.cloud}: the catalog lacks {lacking} of the {known} kinds of GPU machine that this "
                "release knows: it may be a part of it."
            )


def _date_notes(offers: Sequence[Offer]) -> list[str]:
    """Clouds with prices of unknown age: an empty date must not read as a fresh one."""
    undated = sorted({offer.cloud for offer in offers if not offer.provenance.data_date})
    return [f"date not known of prices of {', '.join(undated)}"] if undated else []
