"""Sessions for fetching catalogs, on top of requests and CacheControl."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final

import requests
from cachecontrol import CacheControlAdapter
from cachecontrol.cache import BaseCache
from cachecontrol.filewrapper import CallbackFileWrapper
from cachecontrol.heuristics import BaseHeuristic
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from sky_melange import __version__

KEPT_FOR: Final = timedelta(days=3650)
"""Copies never expire: each use asks the server whether they still hold, or says how old they are."""

REVALIDATE: Final = {
    "Cache-Control": "max-age=0",
    "User-Agent": f"sky-melange/{__version__}",
    "Accept-Encoding": "gzip",
}
ANY_AGE: Final = {"Cache-Control": "max-age=100000000000", "Accept-Encoding": "gzip"}

_connecting = threading.local()
"""`noticed`: what to call when this thread's connection stands."""


class ConfirmedNow(BaseHeuristic):
    """Dates every answer by our own clock: when the data was confirmed is not for the server to say."""

    def __init__(self, now: datetime) -> None:
        self._headers = {"date": _http_date(now), "expires": _http_date(now + KEPT_FOR)}

    def update_headers(self, response: HTTPResponse) -> dict[str, str]:  # noqa: ARG002
        """The headers to keep in place of the server's."""
        return self._headers

    def warning(self, response: HTTPResponse) -> str | None:  # noqa: ARG002
        """No Warning header: nothing here is served from the cache unasked."""
        return None


def confirmed_at(headers: Mapping[str, str]) -> datetime:
    """The date that `ConfirmedNow` wrote. Raises ValueError when there is none."""
    try:
        return parsedate_to_datetime(headers["date"])
    except (KeyError, TypeError) as error:
        raise ValueError("no date") from error


def make_session(cache: BaseCache, now: datetime, *, redirects: int, noticed: Callable[[], None]) -> requests.Session:
    """A session of one thread. `noticed` is called when a connection stands, before anything is sent."""
    _connecting.noticed = noticed
    session = requests.Session()
    session.max_redirects = redirects
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(cache=cache, heuristic=ConfirmedNow(now)))
    return session


def let_go(response: requests.Response) -> None:
    """Closes the temporary file in which CacheControl gathers a body, when the body was not read to its end.

    It offers no other way to do so, and what was gathered is not kept (see `PendingCopy`).
    """
    gathered = getattr(response.raw, "_fp", None)
    if isinstance(gathered, CallbackFileWrapper):
        gathered._close()


class _Adapter(CacheControlAdapter):
    def build_response(  # type: ignore[override]
        self, request: requests.PreparedRequest, response: HTTPResponse, *arguments: Any, **options: Any
    ) -> requests.Response:
        """Only catalogs, and the word that a copy still holds, concern the cache."""
        if response.status in (requests.codes.ok, requests.codes.not_modified):
            return super().build_response(request, response, *arguments, **options)
        return HTTPAdapter.build_response(self, request, response)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _notice() -> None:
    noticed: Callable[[], None] | None = getattr(_connecting, "noticed", None)
    if noticed is not None:
        noticed()


class _Connection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _notice()


class _SecureConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _notice()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS: Final = {"http": _Pool, "https": _SecurePool}


def _http_date(moment: datetime) -> str:
    return format_datetime(moment, usegmt=True)
