"""The price source `skypilot`: the hosted catalogs, else the last good copies."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

from sky_melange.domain.ages import iso_utc
from sky_melange.domain.offer import Obtained, PriceState
from sky_melange.prices.clouds import LAUNCHABLE_CLOUDS
from sky_melange.prices.history import PriceHistory, changes_between
from sky_melange.prices.hosted.bases import DEFAULT_BASES, parse_bases, shown
from sky_melange.prices.hosted.fetch import Fetched, Fetcher
from sky_melange.prices.hosted.session import FetchError, probe
from sky_melange.prices.source import CatalogOffers, PriceRequest, SourcePrices

if TYPE_CHECKING:
    from sky_melange.prices.hosted.fetch import Fetcher


_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one catalog: `fetched`, or the `problem`. `missing`: the servers answered, and have none."""

    cloud: str
    fetched: Fetched | None = None
    problem: str = ""
    missing: bool = False


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
        from sky_melange.prices.hosted.fetch import Fetcher
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


def refresh(
    fetcher: Fetcher, clouds: Sequence[str], bases: Sequence[str], on_progress: Callable[[int, int], None] | None = None
) -> dict[str, Outcome]:
    """The outcome for each cloud. Takes at most `limits.contact_s` without a connection, else `limits.total_s`."""
    limits = fetcher.limits
    start = time.monotonic()
    unreachable = dict.fromkeys(bases, f"no connection within {limits.contact_s:g} s")
    for base, problem in _at_once(lambda base: probe(base, limits), bases, start + limits.contact_s):
        unreachable[base] = problem
        if base == bases[0] and not problem:
            # The others are there for what this one does not have, and need not be waited for.
            unreachable = {base: problem for base, problem in unreachable.items() if base == bases[0] or not problem}
            break
    dead = {base: problem for base, problem in unreachable.items() if problem}
    if len(dead) == len(set(bases)):
        problem = "; ".join(f"{shown(base)}: {dead[base]}" for base in bases)
        return {cloud: Outcome(cloud=cloud, problem=problem) for cloud in clouds}
    found: dict[str, Outcome] = {}
    stopped = threading.Event()
    work = _at_once(lambda cloud: _fetch(fetcher, cloud, bases, dead, stopped), clouds, start + limits.total_s)
    for cloud, outcome in work:
        found[cloud] = outcome
        if on_progress is not None:
            on_progress(len(found), len(clouds))
    stopped.set()
    late = f"not finished after {limits.total_s:g} s"
    return {cloud: found.get(cloud) or Outcome(cloud=cloud, problem=late) for cloud in clouds}


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


def _fetch(
    fetcher: Fetcher, cloud: str, bases: Sequence[str], dead: dict[str, str], stopped: threading.Event
) -> Outcome:
    """The catalog from the first base that gives it."""
    # Texts, not errors: an error that is kept keeps the frames that it came through, with their catalogs.
    problems: list[str] = []
    missing = True
    for base in bases:
        if stopped.is_set():
            break
        try:
            if base in dead:
                raise FetchError(dead[base])
            return Outcome(cloud=cloud, fetched=fetcher.fetch(cloud, base))
        except FetchError as error:
            problems.append(f"{shown(base)}: {error}")
            missing = missing and error.missing
    return Outcome(cloud=cloud, problem="; ".join(problems), missing=missing)


def _at_once(task: Callable[[str], _Result], names: Sequence[str], end: float) -> Iterator[tuple[str, _Result]]:
    """Results as they come, each in a thread of its own, until all are there or time is up.

    The threads are daemons: a name server that never answers must not keep the process from ending. An error that
    nobody foresaw is raised here.
    """
    done: queue.SimpleQueue[tuple[str, _Result | None, BaseException | None]] = queue.SimpleQueue()

    def work(name: str) -> None:
        try:
            done.put((name, task(name), None))
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            done.put((name, None, error))

    for name in dict.fromkeys(names):
        threading.Thread(target=work, args=(name,), daemon=True).start()
    for _ in dict.fromkeys(names):
        try:
            name, result, error = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            return
        if error is not None:
            raise error
        yield name, result  # type: ignore[misc] # a task that raised nothing has a result
