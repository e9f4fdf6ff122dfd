"""The price book of this moment: every source asked, merged, aged, judged, and one's own prices put in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from sky_melange.domain.ages import age_hours, iso_utc
from sky_melange.domain.offer import (
    SOURCES_DISAGREE,
    MissingPrices,
    Obtained,
    Offer,
    PriceBook,
    PriceState,
    Quarantined,
)
from sky_melange.domain.workload import Disagreement, PricePolicy
from sky_melange.errors import InputError, Mistake
from sky_melange.extensions import PRICE_SOURCES
from sky_melange.prices.book import make_book
from sky_melange.prices.freshness import missing_clouds, require_fresh, require_prices, with_age_limit
from sky_melange.prices.hosted.source import bases_of
from sky_melange.prices.last_believed import LastBelieved
from sky_melange.prices.opinions import load_opinions
from sky_melange.prices.own import apply_own_prices
from sky_melange.prices.past import Past, embedded_past
from sky_melange.prices.plausibility import Judged, judge
from sky_melange.prices.snapshot import SnapshotSource, require_clouds, snapshot_clouds
from sky_melange.prices.source import CatalogOffers, PriceRequest, PriceSite, SourcePrices, dearest, sale_of

_TOLERANCE_FRACTION: Final = 0.02
"""On-demand prices of one machine that differ by no more are rounded differently."""

_SPOT_TOLERANCE_FRACTION: Final = 0.5
"""Spot prices move between the hours at which two sources looked."""

_RULE: Final = "sources_disagree"


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


_CHOSEN: Final[Mapping[Disagreement, str]] = {
    Disagreement.HIGHEST: "the dearer price is used",
    Disagreement.PREFER: "the price of the source named first is used",
    Disagreement.QUARANTINE: "they are quarantined",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gathered:
    """What the sources said, by name in the order of preference."""

    sources: tuple[tuple[str, SourcePrices], ...]

    @property
    def states(self) -> tuple[PriceState, ...]:
        return tuple(state for _, prices in self.sources for state in prices.states)


def current_book(  # noqa: PLR0913 - one keyword for each circumstance
    policy: PricePolicy,
    *,
    site: PriceSite,
    now: datetime,
    offline: bool = False,
    clouds: Collection[str] | None = None,
    needed: Collection[str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> PriceBook:
    """The prices to plan with, and in `states` where each comes from.

    Fetches first unless `offline`. What cannot be fetched comes from its last good copy; where there is nothing at
    all, from the embedded snapshot. `clouds` limits the book; offers are judged beside all others all the same.
    `needed` are the clouds of which at least one must be fresh enough (None: those of the book).

    Raises:
        PriceSourceError: `policy.max_age_hours` is set, and none of the clouds needed has prices within it; or a cloud
            of `policy.require_clouds` has no prices.
        InputError: an unknown source, a bad address, or mistakes in the file of overrides.
        MissingDataError: a cloud that no price source knows.

    """
    require_clouds(clouds or ())
    needed = clouds if needed is None else needed
    _check_sources(policy.sources)
    request = PriceRequest(site=site, now=now, offline=offline, base_url=policy.base_url, on_progress=on_progress)
    gathered = _gather(policy.sources, request)
    states = with_age_limit(gathered.states, policy.max_age_hours, now)
    require_fresh(states, needed, policy.max_age_hours, now)
    require_prices(states, policy.require_clouds, needed, offline=offline)
    too_old = {(state.source, state.cloud) for state in states if state.too_old}
    merged = merge([(name, _fresh(name, prices, too_old)) for name, prices in gathered.sources], policy.on_disagreement)
    believed = LastBelieved(site.cache_folder, [*policy.sources, *bases_of(request)])
    past, opinions = embedded_past().with_last(believed.of), load_opinions()
    verdict = judge((o for catalog in merged.catalogs for o in catalog.offers), opinions, past, merged.agreed)
    judged = make_book(merged.catalogs, opinions, policy.trust, clouds, past, judged=verdict)
    missing = _missing(gathered, states, merged.catalogs, clouds, past)
    shown = [entry for entry in merged.quarantined if clouds is None or entry.offer.cloud in clouds]
    book = replace(
        judged,
        quarantined=tuple(sorted([*judged.quarantined, *shown], key=lambda entry: entry.offer.sort_key)),
        remarks=(
            *judged.remarks,
            *merged.remarks,
            *(remark for _, prices in gathered.sources for remark in prices.remarks),
            *_note_believed(believed, verdict, _due(gathered, states, merged.catalogs, believed, now), now),
        ),
        states=tuple(state for state in states if clouds is None or not state.cloud or state.cloud in clouds),
        missing=missing,
    )
    return apply_own_prices(_fresh_commitments(book, policy.max_age_hours, now), policy)


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


def _fresh_commitments(book: PriceBook, max_age_hours: float | None, now: datetime) -> PriceBook:
    """Without listed commitments whose prices are older than allowed."""
    if max_age_hours is None:
        return book
    ages = [age_hours(commitment.as_of, now) for commitment in book.commitments]
    fresh = [c for c, age in zip(book.commitments, ages, strict=True) if age is not None and age <= max_age_hours]
    return replace(book, commitments=tuple(fresh))


def _due(
    gathered: _Gathered,
    states: Sequence[PriceState],
    used: Sequence[CatalogOffers],
    believed: LastBelieved,
    now: datetime,
) -> set[str]:
    """Clouds whose prices were confirmed, and are to be noted: once a day, and when their catalog changed."""
    confirmed = {state.cloud for state in states if state.obtained is Obtained.CONFIRMED and not state.too_old}
    changed = {cloud for _, prices in gathered.sources for cloud in prices.changed}
    today = iso_utc(now)[:10]
    in_use = confirmed & {catalog.cloud for catalog in used}
    return {cloud for cloud in in_use if cloud in changed or believed.of(cloud).day != today}


def _note_believed(believed: LastBelieved, verdict: Judged, due: Collection[str], now: datetime) -> Iterator[str]:
    """Keeps what was believed of the clouds that are due; says so where the disk refuses."""
    passed: dict[str, list[Offer]] = {cloud: [] for cloud in sorted(due)}
    refused: dict[str, list[Offer]] = {cloud: [] for cloud in due}
    for judged, where in ((verdict.passed, passed), ((entry.offer for entry in verdict.quarantined), refused)):
        for offer in judged:
            if offer.cloud in due:
                where[offer.cloud].append(offer)
    for cloud, offers in passed.items():
        prices = believed.of(cloud).with_run(offers, refused[cloud], verdict.unconfirmed, now)
        try:
            believed.note(cloud, prices)
        except OSError as error:
            yield f"what is believed of the prices could not be noted: {error.strerror or error}"
            return


def _missing(
    gathered: _Gathered,
    states: Sequence[PriceState],
    used: Sequence[CatalogOffers],
    clouds: Collection[str] | None,
    past: Past,
) -> tuple[MissingPrices, ...]:
    """The clouds without prices, each with what was last known of it: an earlier copy, else the embedded prices."""
    problems = {cloud: why for cloud, why in missing_clouds(states).items() if clouds is None or cloud in clouds}
    known: dict[str, CatalogOffers] = {}
    for _, prices in gathered.sources:
        for catalog in (*prices.catalogs, *prices.last_known):
            known.setdefault(catalog.cloud, catalog)
    for cloud in problems.keys() & set(snapshot_clouds()) - known.keys():
        known.update({catalog.cloud: catalog for catalog in SnapshotSource().read([cloud])})
    earlier = [known[cloud] for cloud in sorted(problems) if cloud in known]
    if not earlier:
        return tuple(MissingPrices(cloud=cloud, problem=why) for cloud, why in sorted(problems.items()))
    offers = make_book([*used, *earlier], load_opinions(), clouds=set(problems), past=past).offers
    return tuple(
        MissingPrices(cloud=cloud, problem=why, last_known=tuple(offer for offer in offers if offer.cloud == cloud))
        for cloud, why in sorted(problems.items())
    )


def _gather(names: Sequence[str], request: PriceRequest) -> _Gathered:
    """Every source's prices; the snapshot where none of them has any."""
    sources = [(name, PRICE_SOURCES[name]().obtain(request)) for name in names]
    if any(prices.catalogs for _, prices in sources):
        return _Gathered(sources=tuple(sources))
    reasons = {state.problem: None for _, prices in sources for state in prices.states}
    problem = _why(list(reasons))
    fallback = SnapshotSource()
    embedded = fallback.obtain(request)
    embedded = replace(embedded, states=tuple(replace(state, problem=problem) for state in embedded.states))
    remarks = tuple(remark for _, prices in sources for remark in prices.remarks)
    return _Gathered(sources=((fallback.name, replace(embedded, remarks=remarks)),))


def _why(reasons: Sequence[str]) -> str:
    """Why there is nothing better than the snapshot: the first reason stands for all."""
    if not reasons:
        return "No price source is configured"
    return f"No fresher prices are at hand: {reasons[0]}"


def _fresh(name: str, prices: SourcePrices, too_old: Collection[tuple[str, str]]) -> tuple[CatalogOffers, ...]:
    return tuple(catalog for catalog in prices.catalogs if (name, catalog.cloud) not in too_old)


def _check_sources(names: Sequence[str]) -> None:
    known = ", ".join(PRICE_SOURCES)
    mistakes = [
        Mistake(source="prices.sources", message=f"there is no source {name!r}; there are: {known}")
        for name in names
        if name not in PRICE_SOURCES
    ]
    if not names:
        mistakes = [Mistake(source="prices.sources", message=f"must not be empty; there are: {known}")]
    if mistakes:
        raise InputError(mistakes)


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
            tally.quarantined.append(Quarantined(offer=offer, rule=_RULE, reason=said))
        else:
            dearer = max(own, price) if on_disagreement is Disagreement.HIGHEST else own
            kept.append(_repriced(offer, dearer, f"{said}; {_CHOSEN[on_disagreement]}"))
    return tuple(kept)


def _repriced(offer: Offer, price_usd_per_hour: float, said: str) -> Offer:
    provenance = replace(offer.provenance, detail=f"{offer.provenance.detail}; {said}")
    return replace(offer, price_usd_per_hour=price_usd_per_hour, provenance=provenance)


def _agree(offer: Offer, price_usd_per_hour: float) -> bool:
    tolerance = _SPOT_TOLERANCE_FRACTION if offer.use_spot else _TOLERANCE_FRACTION
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
