"""The last good copy of each catalog, in the user's cache folder.

CacheControl decides what a copy holds and how it is revalidated; this is where it keeps them. Its own file cache is not
used because it writes without checking that the disk took everything, and a full disk would cost the last good copy.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import requests
from cachecontrol.cache import BaseCache
from cachecontrol.controller import CacheController
from urllib3 import HTTPResponse
from urllib3.exceptions import HTTPError

from sky_melange.domain.ages import iso_utc
from sky_melange.prices.hosted.session import http_date

_SUFFIX: Final = ".catalog"
_MARK: Final = b"sky-melange catalog 1 "
_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Larger files were not written by us."""

_KEPT_FOR: Final = timedelta(days=3650)
_ANY_AGE: Final = {"Cache-Control": "max-age=100000000000"}
_NO_COPY: Final = (HTTPError, ValueError, TypeError, KeyError, AssertionError)
"""What a file that is no copy of ours makes CacheControl raise."""


class CatalogStore:
    """One file for each address. A file appears whole or not at all, and is read only if its checksum holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "catalogs-1"

    def read(self, url: str) -> bytes | None:
        """What was kept for an address; None when there is nothing, or nothing that can be trusted."""
        try:
            with self._path(url).open("rb") as file:
                content = file.read(_LIMIT_BYTES + 1)
        except (OSError, ValueError):
            return None
        head, _, value = content.partition(b"\n")
        if head != _MARK + hashlib.sha256(value).hexdigest().encode():
            return None
        return value

    def write(self, url: str, value: bytes) -> None:
        """Keeps a value in place of what was there. Raises OSError when the disk refuses; nothing has changed then."""
        path = self._path(url)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        head = _MARK + hashlib.sha256(value).hexdigest().encode() + b"\n"
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(head)
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _path(self, url: str) -> Path:
        cloud = urlsplit(url).path.split("/")[-2]
        return self._folder / f"{cloud}-{hashlib.sha256(url.encode()).hexdigest()[:24]}{_SUFFIX}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCopy:
    """The bytes of a catalog: when they were confirmed, and when the host last changed them ("" where it did not say).

    `as_of` is ISO 8601, UTC.
    """

    content: bytes
    confirmed: datetime
    as_of: str


class KeptCopy(BaseCache):
    """The copy of one catalog. CacheControl says what to ask with, what a 304 renews, and what may be kept.

    What arrives takes the place of the copy only with `write`, when it has been found good; nothing deletes the copy.
    """

    def __init__(self, store: CatalogStore, url: str) -> None:
        self._store = store
        self._url = url
        self._arrived: bytes | None = None
        self._request = requests.Request("GET", url, headers=_ANY_AGE).prepare()
        self._controller = CacheController(self)

    def validators(self) -> dict[str, str]:
        """The headers that ask whether the copy still holds; none where there is no copy."""
        try:
            return dict(self._controller.conditional_headers(self._request))
        except _NO_COPY:
            return {}

    def read(self) -> RawCopy | None:
        """The copy; None when there is none, or none that can be trusted."""
        try:
            response = self._controller.cached_request(self._request)
            return _raw(response) if response else None
        except _NO_COPY:
            return None

    def confirm(self, now: datetime) -> RawCopy | None:
        """The copy, confirmed now, to be written; None when there is none."""
        answer = HTTPResponse(status=requests.codes.not_modified, headers=_dated(now))
        try:
            response = self._controller.update_cached_response(self._request, answer)
            return None if response is answer else _raw(response)
        except _NO_COPY:
            return None

    def replace(self, content: bytes, headers: Mapping[str, str], now: datetime) -> bool:
        """Holds what arrived, unpacked, to be written; False when it may not be kept (`no-store`)."""
        said = {name: headers[name] for name in ("ETag", "Last-Modified", "Cache-Control") if headers.get(name)}
        answer = HTTPResponse(body=b"", status=requests.codes.ok, headers={**said, **_dated(now)})
        self._controller.cache_response(self._request, answer, body=content)
        return self._arrived is not None

    def write(self) -> None:
        """Keeps what arrived. Raises OSError when the disk refuses; the copy is then what it was."""
        if self._arrived is not None:
            self._store.write(self._url, self._arrived)
            self._arrived = None

    @staticmethod
    def as_of(headers: Mapping[str, str]) -> str:
        """When the host last changed what it sends (`Last-Modified`); "" where it does not say."""
        moment = http_date(headers.get("Last-Modified", ""))
        return "" if moment is None else iso_utc(moment)

    def get(self, key: str) -> bytes | None:  # noqa: ARG002
        """For CacheControl: the copy at hand, wherever redirects lead."""
        return self._store.read(self._url)

    def set(self, key: str, value: bytes, expires: object = None) -> None:  # noqa: ARG002
        """For CacheControl: holds what arrived."""
        self._arrived = bytes(value)

    def delete(self, key: str) -> None:
        """For CacheControl: nothing."""


def _raw(response: HTTPResponse) -> RawCopy:
    content = response.read(decode_content=True)
    confirmed = http_date(response.headers.get("date", ""))
    if confirmed is None:
        raise ValueError("no date")
    return RawCopy(content=content, confirmed=confirmed, as_of=KeptCopy.as_of(response.headers))


def _dated(now: datetime) -> dict[str, str]:
    """By our own clock: when the data was confirmed is not for the server to say. Copies never expire unasked."""
    return {
        "Date": format_datetime(now.astimezone(UTC), usegmt=True),
        "Expires": format_datetime(now.astimezone(UTC) + _KEPT_FOR, usegmt=True),
    }
