"""The last good copy of each catalog, in the user's cache folder.

CacheControl decides what a copy holds and how it is revalidated; this is where it keeps them. Its own file cache is not
used because it writes without checking that the disk took everything, and a full disk would cost the last good copy.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cachecontrol.cache import BaseCache

_SUFFIX: Final = ".catalog"
_MARK: Final = b"sky-melange catalog 1 "
_LIMIT_BYTES: Final = 256 * 1024 * 1024
"""Larger files were not written by us."""


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


class PendingCopy(BaseCache):
    """What CacheControl sees while one catalog is fetched: the copy at hand, wherever redirects lead.

    It keeps nothing by itself: `keep` writes what arrived once it has been found good, and nothing deletes the copy.
    """

    def __init__(self, store: CatalogStore, url: str) -> None:
        self._store = store
        self._url = url
        self._arrived: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:  # noqa: ARG002
        """The copy at hand."""
        return self._store.read(self._url)

    def set(self, key: str, value: bytes, expires: object = None) -> None:  # noqa: ARG002
        """Holds what arrived from an address until it is kept."""
        self._arrived[key] = bytes(value)

    def delete(self, key: str) -> None:
        """Nothing: a copy goes only when a better one takes its place."""

    def keep(self, final_url: str) -> bool:
        """Writes what arrived from the address that redirects led to; False when it may not be kept (`no-store`)."""
        value = self._arrived.get(final_url)
        if value is None:
            return False
        self._store.write(self._url, value)
        return True
