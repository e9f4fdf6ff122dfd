"""The last good copy of each catalog, in the user's cache folder.

CacheControl decides what a copy holds and how it is revalidated; this is where it keeps them. Its own file cache is not
used because it writes without checking that the disk took everything, and a full disk would cost the last good copy.
"""

from __future__ import annotations

import hashlib
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
from sky_melange.prices.kept_files import KeptFiles

_KEPT_FOR: Final = timedelta(days=3650)
_CLOCKS_DIFFER_BY: Final = timedelta(days=1)
_ANY_AGE: Final = {"Cache-Control": "max-age=100000000000"}
_NO_COPY: Final = (HTTPError, ValueError, TypeError, KeyError, AssertionError)
"""What a file that is no copy of ours makes CacheControl raise."""


class CatalogStore(KeptFiles):
    """The copies of catalogs, named by their addresses."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "catalogs-1")

    def path(self, name: str) -> Path:
        """Where the copy of an address is kept."""
        cloud = urlsplit(name).path.split("/")[-2]
        return self.folder / f"{cloud}-{hashlib.sha256(name.encode()).hexdigest()[:24]}.catalog"


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
    def as_of(headers: Mapping[str, str], confirmed: datetime) -> str:
        """When the host last changed what it sent (`Last-Modified`); "" where it does not say.

        Never later than `confirmed`, by our clock: a clock may be some hours off. A date more than a day later says
        nothing.
        """
        moment = http_date(headers.get("Last-Modified", ""))
        if moment is None or moment > confirmed + _CLOCKS_DIFFER_BY:
            return ""
        return iso_utc(min(moment, confirmed))

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
    return RawCopy(content=content, confirmed=confirmed, as_of=KeptCopy.as_of(response.headers, confirmed))


def _dated(now: datetime) -> dict[str, str]:
    """By our own clock: when the data was confirmed is not for the server to say. Copies never expire unasked."""
    return {
        "Date": format_datetime(now.astimezone(UTC), usegmt=True),
        "Expires": format_datetime(now.astimezone(UTC) + _KEPT_FOR, usegmt=True),
    }
