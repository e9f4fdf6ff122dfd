"""One catalog from one address: timed, bounded, conditional, and kept only when it is good."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import requests

from sky_melange.prices.hosted.accept import NotAcceptedError, check_size, check_whole, read_copy
from sky_melange.prices.hosted.bases import catalog_url
from sky_melange.prices.hosted.session import FetchError, chunks, get, has_length, make_session
from sky_melange.prices.hosted.store import CatalogStore, KeptCopy, RawCopy
from sky_melange.prices.source import CatalogOffers, FetchLimits

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
                check_whole(content, copy.catalog, last_good, age=age, is_known_whole=is_known_whole)
            if previous is not None:
                check_size(copy.catalog, previous.catalog, last_good_age=self.now - previous.confirmed)
        except NotAcceptedError as error:
            raise FetchError(f"not accepted: {error}") from error
        may_keep = kept.replace(content, response.headers, self.now)
        not_kept = _keep(kept) if may_keep else "the server forbids keeping a copy (Cache-Control: no-store)"
        return Fetched(copy=copy, is_new=is_new, previous=previous, not_kept=not_kept)


def _keep(kept: KeptCopy) -> str:
    """Why the copy could not be written; "" when it was."""
    try:
        kept.write()
    except OSError as error:
        return f"the cache folder cannot be written: {error.strerror or error}"
    return ""
