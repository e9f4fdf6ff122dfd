"""One catalog from one address: timed, bounded, conditional, and kept only when it is good."""

from __future__ import annotations

import csv
import hashlib
import io
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias, TypeVar

import requests

from sky_melange.domain.ages import iso_utc
from sky_melange.domain.offer import PriceProvenance
from sky_melange.errors import InputError
from sky_melange.prices.catalog_csv import PLAIN_MACHINE
from sky_melange.prices.hosted.bases import catalog_url, shown
from sky_melange.prices.hosted.session import FetchError, chunks, get, has_length, make_session, probe
from sky_melange.prices.hosted.store import CatalogStore, KeptCopy, RawCopy
from sky_melange.prices.offers import read_catalog
from sky_melange.prices.past import embedded_past
from sky_melange.prices.source import CatalogOffers, FetchLimits

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one catalog: `fetched`, or the `problem`. `missing`: the servers answered, and have none."""

    cloud: str
    fetched: Fetched | None = None
    problem: str = ""
    missing: bool = False


_SHRUNKEN_FRACTION: Final = 1 / 3
"""A catalog with fewer than this share of the GPU machines of the last good copy was cut off, or a failed job made it.

The largest real loss between two versions at hand is Verda's, from 42 to 19.
"""

_SHRUNKEN_FOR: Final = timedelta(days=7)
"""For how long the larger copy is believed instead. After that the smaller catalog is the truth."""

_MOST_ROWS: Final = 200_000
MOST_OFFERS: Final = 12_000
"""Several times what the largest cloud has: more is no price list, and would take the memory of the machine."""

_TAIL_FRACTION: Final = 0.05
"""So many of the rows at the end of the last good copy may be gone at once. Machines leave from anywhere in a catalog;
a transfer that breaks off loses the end of it, and nothing else."""

_LEAST_TAIL: Final = 10
"""Fewer rows leave the end of a small catalog together by chance, as the last three of Mithril's eight did."""

_NAME: Final = "skypilot"

_Place: TypeAlias = tuple[str, ...]


class NotAcceptedError(Exception):
    """The content is no catalog that may be used; the text says why."""


_LARGE_BYTES: Final = 1 << 20
_LARGE_AT_ONCE: Final = 2
"""So many answers beyond _LARGE_BYTES are in memory at one time; of real catalogs two or three are that large."""

_MD5: Final = re.compile(rb"\s*([0-9a-fA-F]{32})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The offers of a catalog that was confirmed at some time."""

    confirmed: datetime
    as_of: str
    catalog: CatalogOffers


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A catalog confirmed now. `is_new`: it differs from the copy of the last run, `previous`, or there was none.

    `not_kept`: why it could not be written to the cache, "" when it was.
    """

    copy: Copy
    is_new: bool = False
    previous: Copy | None = None
    not_kept: str = ""


@dataclass(slots=True, kw_only=True)
class Fetcher:
    """Fetches catalogs of one run, any number at once: what takes memory (large answers, reading) is done in turns."""

    store: CatalogStore
    limits: FetchLimits
    now: datetime
    _large: threading.BoundedSemaphore = field(default_factory=lambda: threading.BoundedSemaphore(_LARGE_AT_ONCE))
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def last_good(self, cloud: str, bases: Sequence[str]) -> Copy | None:
        """The youngest copy in the cache, however old; None when there is none that can be read."""
        urls = [catalog_url(base, cloud) for base in bases]
        found = [(raw, url) for url in urls if (raw := KeptCopy(self.store, url).read()) is not None]
        for raw, url in sorted(found, key=lambda entry: entry[0].confirmed, reverse=True):
            try:
                return self._copy(cloud, url, raw)
            except NotAcceptedError:
                continue
        return None

    def fetch(self, cloud: str, base: str) -> Fetched:
        """The catalog as the server has it now. Raises FetchError."""
        url = catalog_url(base, cloud)
        kept = KeptCopy(self.store, url)
        with self._turn:
            validators = kept.validators()
        headers = {"Cache-Control": "max-age=0", **validators}
        with make_session(self.limits) as session, get(session, url, headers, self.limits) as response:
            if response.status_code == requests.codes.not_modified:
                with self._turn:
                    return self._confirmed(cloud, url, kept)
            held = threading.Event()
            try:
                parts = self._body(response, held)
                digest = b"" if has_length(response) else self._published_digest(session, str(response.url))
                with self._turn:
                    content = b"".join(parts)
                    parts.clear()
                    return self._judged(cloud, url, kept, content, response, digest)
            finally:
                if held.is_set():
                    self._large.release()

    def _copy(self, cloud: str, url: str, raw: RawCopy) -> Copy:
        catalog = read_copy(raw.content, cloud, url, raw.confirmed, raw.as_of)
        return Copy(confirmed=raw.confirmed, as_of=raw.as_of, catalog=catalog)

    def _body(self, response: requests.Response, held: threading.Event) -> list[bytes]:
        """The whole body, in pieces; `held` is set when it took one of the places for large ones."""
        parts: list[bytes] = []
        size = 0
        end = time.monotonic() + self.limits.catalog_s
        for chunk in chunks(response, self.limits):
            parts.append(chunk)
            size += len(chunk)
            if size > _LARGE_BYTES and not held.is_set():
                if not self._large.acquire(timeout=max(0.0, end - time.monotonic())):
                    raise FetchError("too many large answers at once")
                held.set()
        return parts

    def _published_digest(self, session: requests.Session, url: str) -> bytes:
        """The MD5 that the host publishes beside a catalog, in hexadecimal; empty where there is none."""
        try:
            with get(session, f"{url}.md5", {}, self.limits) as response:
                found = _MD5.match(next(chunks(response, self.limits), b""))
        except FetchError:
            return b""
        return b"" if found is None else found.group(1).lower()

    def _confirmed(self, cloud: str, url: str, kept: KeptCopy) -> Fetched:
        """The copy at hand still holds, the server says."""
        raw = kept.confirm(self.now)
        if raw is None:
            raise FetchError("HTTP 304, but there is no copy that could still hold")
        try:
            return Fetched(copy=self._copy(cloud, url, raw), not_kept=_keep(kept))
        except NotAcceptedError as error:
            raise FetchError(f"not accepted: {error}") from error

    def _judged(
        self, cloud: str, url: str, kept: KeptCopy, content: bytes, response: requests.Response, digest: bytes
    ) -> Fetched:
        """Reads what arrived, holds it against the last good copy, and keeps it."""
        before = kept.read()
        is_new = before is None or before.content != content
        if not is_new:
            before = None
        raw = RawCopy(content=content, confirmed=self.now, as_of=kept.as_of(response.headers, self.now))
        try:
            copy = self._copy(cloud, url, raw)
            previous = None if before is None else self._copy(cloud, url, before)
            if digest and hashlib.md5(content, usedforsecurity=False).hexdigest().encode() != digest:
                raise NotAcceptedError("it is not what the .md5 beside it says, so it was cut off or is half-written")
            if is_new:
                is_known_whole = bool(digest) or has_length(response)
                age = None if before is None else self.now - before.confirmed
                last_good = None if before is None else before.content
                _check_whole(content, copy.catalog, last_good, age=age, is_known_whole=is_known_whole)
            if previous is not None:
                _check_size(copy.catalog, previous.catalog, last_good_age=self.now - previous.confirmed)
        except NotAcceptedError as error:
            raise FetchError(f"not accepted: {error}") from error
        may_keep = kept.replace(content, response.headers, self.now)
        not_kept = _keep(kept) if may_keep else "the server forbids keeping a copy (Cache-Control: no-store)"
        return Fetched(copy=copy, is_new=is_new, previous=previous, not_kept=not_kept)


def read_copy(content: bytes, cloud: str, url: str, confirmed: datetime, as_of: str = "") -> CatalogOffers:
    """Offers of a catalog, with when it was last confirmed and changed. Raises NotAcceptedError when it is none."""
    rows = content.count(b"\n")
    if rows > _MOST_ROWS:
        raise NotAcceptedError(f"the catalog has {rows:,} rows, more than {_MOST_ROWS:,}")
    place = shown(url)
    fetched_at = iso_utc(confirmed)
    made: dict[str, PriceProvenance] = {}

    def provenance_of(snapshot_date: str, detail: str) -> PriceProvenance:  # noqa: ARG001
        if detail not in made:
            text = f"{place}; {detail}" if detail else place
            made[detail] = PriceProvenance(source=_NAME, detail=text, fetched_at=fetched_at, as_of=as_of)
        return made[detail]

    try:
        catalog = read_catalog(content, cloud, f"{cloud}/vms.csv", provenance_of)
    except InputError as error:
        raise NotAcceptedError(str(error)) from error
    if len(catalog.offers) > MOST_OFFERS:
        raise NotAcceptedError(f"the catalog has {len(catalog.offers):,} offers, more than {MOST_OFFERS:,}")
    if not _count_gpu_machines(catalog):
        raise NotAcceptedError(f"the catalog holds no GPU offer: {_what_it_holds(catalog)}")
    other = embedded_past().other_cloud(catalog)
    if other is not None:
        raise NotAcceptedError(f"the address of {cloud} serves the catalog of {other}")
    return catalog


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


def _keep(kept: KeptCopy) -> str:
    """Why the copy could not be written; "" when it was."""
    try:
        kept.write()
    except OSError as error:
        return f"the cache folder cannot be written: {error.strerror or error}"
    return ""


def _check_size(fresh: CatalogOffers, last_good: CatalogOffers, *, last_good_age: timedelta) -> None:
    """Raises NotAcceptedError when a catalog has lost most of its GPU machines since the last good copy."""
    now_there, before = _count_gpu_machines(fresh), _count_gpu_machines(last_good)
    if now_there < _SHRUNKEN_FRACTION * before and last_good_age < _SHRUNKEN_FOR:
        raise NotAcceptedError(f"the catalog shrank from {before} to {now_there} GPU machine types")


def _check_whole(
    content: bytes, catalog: CatalogOffers, last_good: bytes | None, *, age: timedelta | None, is_known_whole: bool
) -> None:
    """Raises NotAcceptedError for a catalog that was cut off.

    `last_good` and `age` are of the last good copy, None where there is none. `is_known_whole`: all that the host meant
    to send arrived, which does not rule out that its own file is half-written.
    """
    if not content.endswith(b"\n"):
        header, last = content[: content.find(b"\n")], content[content.rfind(b"\n") + 1 :]
        fields, wanted = (len(next(csv.reader([line.decode(errors="replace")]))) for line in (last, header))
        if fields < wanted or not is_known_whole or (last_good is not None and last_good.endswith(b"\n")):
            raise NotAcceptedError("the catalog was cut off: its last row has no end")
    if last_good is not None and (age is None or age < _SHRUNKEN_FOR):
        lost = _lost_tail(_places(content), _places(last_good))
        if lost:
            raise NotAcceptedError(f"the catalog was cut off: the last {lost} rows of the last good copy are missing")
    elif last_good is None and not is_known_whole:
        known, lacking = embedded_past().lacking(catalog)
        if not known or lacking > _TAIL_FRACTION * known:
            raise NotAcceptedError(
                "it was sent without its length or a .md5, and nothing tells whether it is whole "
                f"({known - lacking} of the {known} GPU machines known before)"
            )


def _lost_tail(now: list[_Place], before: list[_Place]) -> int:
    """Rows at the end of `before` of which none is left, where `now` ends before them; 0 where nothing was cut off."""
    there = set(now)
    lost = 0
    for place in reversed(before):
        if place in there:
            break
        lost += 1
    kept = before[: len(before) - lost]
    is_prefix = sum(place in there for place in kept) >= (1 - _TAIL_FRACTION) * len(kept)
    return lost if lost > max(_LEAST_TAIL, _TAIL_FRACTION * len(before)) and is_prefix else 0


def _places(content: bytes) -> list[_Place]:
    """(instance type, accelerator, region, zone) of each row, in the order of the file; [] where it is no CSV."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig", errors="replace"), newline=""))
        names = ("InstanceType", "AcceleratorName", "Region", "AvailabilityZone")
        return [tuple(str(row.get(name) or "") for name in names) for row in reader]
    except csv.Error:
        return []


def _count_gpu_machines(catalog: CatalogOffers) -> int:
    """Kinds of machine with accelerators, wherever they are sold."""
    return len({offer.machine_type for offer in catalog.offers if offer.accelerator})


def _what_it_holds(catalog: CatalogOffers) -> str:
    most = sorted(catalog.skipped, key=lambda rows: (-rows.rows, rows.reason))
    reasons = [rows.reason for rows in most if rows.reason != PLAIN_MACHINE][:3]
    return "; ".join(reasons) or ("only machines without GPU" if catalog.offers or most else "only a header")


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
