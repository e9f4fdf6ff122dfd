"""One catalog from one address: timed, bounded, and kept only when it is good."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import requests
from cachecontrol.controller import CacheController
from urllib3.exceptions import HTTPError

from sky_melange.prices.hosted.accept import NotAcceptedError, check_size, read_copy
from sky_melange.prices.hosted.bases import catalog_url
from sky_melange.prices.hosted.fetch_error import FetchError, in_words, is_unreachable, retry_after_s, short
from sky_melange.prices.hosted.http import ANY_AGE, REVALIDATE, confirmed_at, let_go, make_session
from sky_melange.prices.hosted.limits import FetchLimits
from sky_melange.prices.hosted.store import CatalogStore, PendingCopy
from sky_melange.prices.source import CatalogOffers

_CHUNK_BYTES: Final = 1 << 16
_BYTES_PER_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCopy:
    """The bytes of a catalog that was confirmed at some time."""

    url: str
    content: bytes
    confirmed: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """The offers of a catalog that was confirmed at some time."""

    confirmed: datetime
    catalog: CatalogOffers


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A catalog confirmed now. `previous` is the copy that it took the place of, None when nothing changed.

    `not_kept`: why it could not be written to the cache, "" when it was.
    """

    copy: Copy
    previous: Copy | None = None
    not_kept: str = ""


@dataclass(slots=True, kw_only=True)
class Fetcher:
    """Fetches catalogs of one run. `noticed` is called with the base when a connection to it stands."""

    store: CatalogStore
    limits: FetchLimits
    now: datetime
    noticed: Callable[[str], None] = field(default=lambda _: None)

    def last_good(self, cloud: str, bases: Sequence[str]) -> Copy | None:
        """The youngest copy in the cache, however old; None when there is none that can be read."""
        found = [raw for base in bases if (raw := self._raw_copy(catalog_url(base, cloud))) is not None]
        for raw in sorted(found, key=lambda raw: raw.confirmed, reverse=True):
            try:
                catalog = read_copy(raw.content, cloud, raw.url, raw.confirmed)
            except NotAcceptedError:
                continue
            return Copy(confirmed=raw.confirmed, catalog=catalog)
        return None

    def _raw_copy(self, url: str) -> RawCopy | None:
        request = requests.Request("GET", url, headers=ANY_AGE).prepare()
        try:
            # The controller is CacheControl's own reader of what it keeps.
            response = CacheController(PendingCopy(self.store, url)).cached_request(request)
            if not response:
                return None
            content = response.read(decode_content=True)
            return RawCopy(url=url, content=content, confirmed=confirmed_at(response.headers))
        except (HTTPError, ValueError, TypeError, KeyError):
            return None

    def fetch(self, cloud: str, base: str) -> Fetched:
        """The catalog as the server has it now. Raises FetchError."""
        url = catalog_url(base, cloud)
        pending = PendingCopy(self.store, url)
        try:
            with make_session(
                pending, self.now, redirects=self.limits.redirects, noticed=lambda: self.noticed(base)
            ) as session:
                timeouts = (self.limits.connect_timeout_s, self.limits.read_timeout_s)
                with session.get(url, headers=REVALIDATE, timeout=timeouts, stream=True) as response:
                    try:
                        _check_answer(response, url)
                        content = self._body(response)
                    finally:
                        let_go(response)
                    final_url = CacheController.cache_url(str(response.url))
        except requests.RequestException as error:
            raise FetchError(in_words(error, self.limits), unreachable=is_unreachable(error)) from error
        except (HTTPError, OSError, ValueError) as error:
            raise FetchError(f"the connection failed: {short(error)}") from error
        return self._judged(cloud, base, content, pending, final_url)

    def _body(self, response: requests.Response) -> bytes:
        """The whole body. A server that drips bytes keeps every read going, so a timer cuts the connection."""
        expired = threading.Event()
        timer = threading.Timer(self.limits.catalog_s, _cut, (response, expired))
        timer.daemon = True
        timer.start()
        try:
            content = self._bounded(response)
        except (requests.RequestException, HTTPError, OSError):
            if not expired.is_set():
                raise
        finally:
            timer.cancel()
        if expired.is_set():
            raise FetchError(f"the answer was not complete after {self.limits.catalog_s:g} s")
        return content

    def _bounded(self, response: requests.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        stated = response.headers.get("Content-Length", "")
        if stated.isdecimal() and int(stated) > self.limits.body_bytes:
            raise self._too_large()
        for chunk in response.iter_content(_CHUNK_BYTES):
            size += len(chunk)
            if size > self.limits.body_bytes:
                raise self._too_large()
            chunks.append(chunk)
        return b"".join(chunks)

    def _too_large(self) -> FetchError:
        return FetchError(f"the answer is larger than {self.limits.body_bytes / _BYTES_PER_MIB:g} MiB")

    def _judged(self, cloud: str, base: str, content: bytes, pending: PendingCopy, final_url: str) -> Fetched:
        """Reads what arrived, holds it against the last good copy, and keeps it."""
        url = catalog_url(base, cloud)
        raw = self._raw_copy(url)
        previous = None if raw is not None and raw.content == content else self.last_good(cloud, (base,))
        try:
            catalog = read_copy(content, cloud, url, self.now)
            if previous is not None:
                check_size(catalog, previous.catalog, last_good_age=self.now - previous.confirmed)
        except NotAcceptedError as error:
            raise FetchError(f"not accepted: {error}") from error
        not_kept = ""
        try:
            if not pending.keep(final_url):
                not_kept = "the server forbids keeping a copy (Cache-Control: no-store)"
        except OSError as error:
            not_kept = f"the cache folder cannot be written: {error.strerror or error}"
        return Fetched(copy=Copy(confirmed=self.now, catalog=catalog), previous=previous, not_kept=not_kept)


def _cut(response: requests.Response, expired: threading.Event) -> None:
    """Ends the connection under a read that would go on for ever."""
    expired.set()
    connection = getattr(response.raw, "connection", None)
    if connection is not None and connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _check_answer(response: requests.Response, url: str) -> None:
    """Raises FetchError for any answer but a catalog or the word that the copy at hand still holds."""
    status = response.status_code
    if url.startswith("https:") and not all(
        str(step.url).startswith("https:") for step in (*response.history, response)
    ):
        raise FetchError("it was redirected from https to http")
    if status == requests.codes.ok:
        return
    reason = f"HTTP {status} {response.reason or ''}".strip()
    if status == requests.codes.too_many or status >= requests.codes.server_error:
        raise FetchError(reason, again=True, retry_after_s=retry_after_s(response.headers.get("Retry-After", "")))
    raise FetchError(reason, missing=status in (requests.codes.not_found, requests.codes.gone))
