"""The price book of this moment: every source asked, merged, aged, judged, and one's own prices put in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sky_melange.domain.offer import MissingPrices, PriceBook, PriceState
from sky_melange.domain.workload import PricePolicy
from sky_melange.errors import InputError, Mistake
from sky_melange.prices.book import make_book
from sky_melange.prices.freshness import missing_clouds, require_fresh, require_prices, with_age_limit
from sky_melange.prices.hosted.source import SkypilotSource
from sky_melange.prices.merge import merge
from sky_melange.prices.opinions import load_opinions
from sky_melange.prices.own import apply_own_prices
from sky_melange.prices.past import embedded_past
from sky_melange.prices.snapshot import SnapshotSource, require_clouds, snapshot_clouds
from sky_melange.prices.source import CatalogOffers, PriceRequest, PriceSite, PriceSource, SourcePrices


def _gpuhunt() -> PriceSource:
    from sky_melange.prices.gpuhunt.source import GpuhuntSource

    return GpuhuntSource()


PRICE_SOURCES: Final[Mapping[str, Callable[[], PriceSource]]] = {
    "skypilot": SkypilotSource,
    "gpuhunt": _gpuhunt,
    "snapshot": SnapshotSource,
}
"""Every source by name."""


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
    previous = [catalog for _, prices in gathered.sources for catalog in prices.previous]
    past = embedded_past().with_last_good(previous)
    judged = make_book(merged.catalogs, load_opinions(), policy.trust, clouds, past, merged.agreed)
    missing = _missing(gathered, states, merged.catalogs, clouds)
    shown = [entry for entry in merged.quarantined if clouds is None or entry.offer.cloud in clouds]
    book = replace(
        judged,
        quarantined=tuple(sorted([*judged.quarantined, *shown], key=lambda entry: entry.offer.sort_key)),
        remarks=(
            *judged.remarks,
            *merged.remarks,
            *(remark for _, prices in gathered.sources for remark in prices.remarks),
        ),
        states=tuple(state for state in states if clouds is None or not state.cloud or state.cloud in clouds),
        missing=missing,
    )
    return apply_own_prices(book, policy)


def _missing(
    gathered: _Gathered, states: Sequence[PriceState], used: Sequence[CatalogOffers], clouds: Collection[str] | None
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
    offers = make_book([*used, *earlier], load_opinions(), clouds=set(problems), past=embedded_past()).offers
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
