"""The price source `skypilot`: the hosted catalogs, else the last good copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sky_melange.domain.ages import iso_utc
from sky_melange.domain.offer import Obtained, PriceState
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS
from sky_melange.prices.history import PriceHistory, changes_between
from sky_melange.prices.hosted.bases import DEFAULT_BASES, parse_bases
from sky_melange.prices.source import CatalogOffers, PriceRequest, SourcePrices

if TYPE_CHECKING:
    from sky_melange.prices.hosted.fetch import Fetcher, Outcome

NAME: Final = "skypilot"
OFFLINE: Final = "offline: not asked"


class SkypilotSource:
    """SkyPilot's hosted catalogs, version 8, of every cloud that it launches on."""

    @property
    def name(self) -> str:
        """`skypilot`."""
        return NAME

    def obtain(self, request: PriceRequest) -> SourcePrices:
        """See PriceSource. A cloud whose catalog cannot be fetched is served from its last good copy.

        Where the servers answer that there is no such catalog the cloud is left out: an old copy of a catalog that was
        taken down is no price.
        """
        bases = bases_of(request)
        if request.offline and not (request.site.cache_folder / "catalogs-1").is_dir():
            # Most runs without a network have no copies either: spare them the import of the HTTP libraries.
            return _left_out(LAUNCHABLE_CLOUDS, OFFLINE)
        from sky_melange.prices.hosted.fetch import Fetcher, Outcome, refresh
        from sky_melange.prices.hosted.store import CatalogStore

        fetcher = Fetcher(store=CatalogStore(request.site.cache_folder), limits=request.site.limits, now=request.now)
        if request.offline:
            outcomes = {cloud: Outcome(cloud=cloud, problem=OFFLINE) for cloud in LAUNCHABLE_CLOUDS}
        else:
            outcomes = refresh(fetcher, LAUNCHABLE_CLOUDS, bases, request.on_progress)
        found = [_resolve(outcomes[cloud], fetcher, bases) for cloud in LAUNCHABLE_CLOUDS]
        return SourcePrices(
            catalogs=tuple(catalog for catalog, _ in found if catalog is not None),
            states=tuple(state for _, state in found),
            remarks=tuple(_remember(outcomes.values(), request)),
            changed=frozenset(o.cloud for o in outcomes.values() if o.fetched is not None and o.fetched.is_new),
            last_known=tuple(
                copy.catalog
                for outcome in outcomes.values()
                if outcome.missing and (copy := fetcher.last_good(outcome.cloud, bases)) is not None
            ),
        )


def bases_of(request: PriceRequest) -> tuple[str, ...]:
    """Where to ask: what the machine says, else the workload, else SkyPilot's addresses. Raises InputError."""
    if request.site.bases:
        return request.site.bases
    if request.base_url is not None:
        return parse_bases(request.base_url, source="prices.base_url")
    return DEFAULT_BASES


def _resolve(outcome: Outcome, fetcher: Fetcher, bases: Sequence[str]) -> tuple[CatalogOffers | None, PriceState]:
    """The catalog fetched, else its last good copy, else nothing."""
    not_kept = ""
    if outcome.fetched is not None:
        copy, not_kept = outcome.fetched.copy, outcome.fetched.not_kept
        obtained = Obtained.CONFIRMED
    else:
        last_good = None if outcome.missing else fetcher.last_good(outcome.cloud, bases)
        if last_good is None:
            return None, _state(outcome.cloud, Obtained.ABSENT, "", outcome.problem)
        copy, obtained = last_good, Obtained.CACHED
    state = _state(outcome.cloud, obtained, iso_utc(copy.confirmed), outcome.problem)
    return copy.catalog, replace(state, not_kept=not_kept, as_of=copy.as_of)


def _state(cloud: str, obtained: Obtained, fetched_at: str, problem: str) -> PriceState:
    return PriceState(source=NAME, cloud=cloud, obtained=obtained, fetched_at=fetched_at, problem=problem)


def _left_out(clouds: Iterable[str], problem: str) -> SourcePrices:
    return SourcePrices(catalogs=(), states=tuple(_state(cloud, Obtained.ABSENT, "", problem) for cloud in clouds))


def _remember(outcomes: Iterable[Outcome], request: PriceRequest) -> list[str]:
    """Notes what changed since the last refresh; says so where the disk refuses."""
    changes = [
        change
        for outcome in outcomes
        if outcome.fetched is not None and outcome.fetched.previous is not None
        for change in changes_between(
            outcome.fetched.previous.catalog,
            outcome.fetched.copy.catalog,
            previous_at=iso_utc(outcome.fetched.previous.confirmed),
            seen_at=iso_utc(request.now),
        )
    ]
    try:
        PriceHistory(request.site.cache_folder).add(changes)
    except OSError as error:
        return [f"the price changes could not be noted: {error.strerror or error}"]
    return []
