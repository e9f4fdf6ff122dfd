"""HTTP for catalogs: a session that retries within limits, bounded bodies, and errors in words."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3 import Retry
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError, ReadTimeoutError

from sky_melange import __version__
from sky_melange.prices.source import FetchLimits

_AGAIN: Final = (429, 500, 502, 503, 504)
_CHUNK_BYTES: Final = 1 << 16
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class FetchError(Exception):
    """A catalog could not be obtained from an address; the text says why, without addresses: they may hold a password.

    `missing`: the server answered that there is no such catalog.
    """

    def __init__(self, reason: str, *, missing: bool = False) -> None:
        # Part of it may be what the server said: nothing that a terminal would obey.
        super().__init__("".join(letter if letter.isprintable() else "?" for letter in reason))
        self.missing = missing


class _Retry(Retry):
    """urllib3's, for servers that may be hostile: no longer wait than `retry_after_max`, and no error body is read."""

    def get_retry_after(self, response: Any) -> float | None:
        """Seconds, or a date, which is taken by the server's own clock where it tells it. None for nonsense."""
        text = response.headers.get("Retry-After", "").strip()
        if text.isdecimal():
            return float(text)
        moment = http_date(text)
        now = http_date(response.headers.get("Date", "")) or datetime.now(UTC)
        return None if moment is None else max(0.0, (moment - now).total_seconds())

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: Any = None,
        error: Exception | None = None,
        _pool: Any = None,
        _stacktrace: Any = None,
    ) -> Any:
        """What is left after one more try; for an answer that is not to be read, its connection is closed."""
        if response is not None:
            response.close()
            if (self.get_retry_after(response) or 0.0) > self.retry_after_max:
                raise MaxRetryError(_pool, url or "", None)
        return super().increment(method, url, response, error, _pool, _stacktrace)


def make_session(limits: FetchLimits) -> requests.Session:
    """A session of one thread."""
    session = requests.Session()
    session.max_redirects = limits.redirects
    session.headers.update({"User-Agent": f"sky-melange/{__version__}", "Accept-Encoding": "gzip"})
    session.hooks["response"].append(_drop_body)
    retries = _Retry(
        total=limits.tries - 1,
        other=0,
        status_forcelist=_AGAIN,
        backoff_factor=limits.backoff_s,
        retry_after_max=limits.longest_wait_s,  # type: ignore[arg-type] # a number of seconds
        raise_on_status=False,
    )
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    return session


def _drop_body(response: requests.Response, **_: Any) -> None:
    """Redirects and errors are understood without their bodies, which may have no end."""
    if response.status_code != requests.codes.ok:
        response.raw.close()


def get(session: requests.Session, url: str, headers: dict[str, str], limits: FetchLimits) -> requests.Response:
    """The answer, its body unread: 200 or 304. Raises FetchError for any other."""
    try:
        timeout = (limits.connect_timeout_s, limits.read_timeout_s)
        response = session.get(url, headers=headers, timeout=timeout, stream=True)
    except requests.RequestException as error:
        raise FetchError(_in_words(error, limits)) from error
    except (HTTPError, OSError, ValueError) as error:
        raise FetchError(f"the connection failed: {_short(error)}") from error
    check_answer(response, url, is_conditional=any(name.startswith("If-") for name in headers))
    return response


def check_answer(response: requests.Response, url: str, *, is_conditional: bool = False) -> None:
    """Raises FetchError unless it is a catalog, or says that the copy at hand still holds."""
    steps = (*response.history, response)
    if url.startswith("https:") and not all(str(step.url).startswith("https:") for step in steps):
        raise FetchError("it was redirected from https to http")
    status = response.status_code
    if status == requests.codes.ok or (is_conditional and status == requests.codes.not_modified):
        return
    missing = status in (requests.codes.not_found, requests.codes.gone)
    raise FetchError(f"HTTP {status} {response.reason or ''}".strip(), missing=missing)


def chunks(response: requests.Response, limits: FetchLimits) -> Iterator[bytes]:
    """The body, unpacked, in pieces as they arrive. Raises FetchError when it is too large, too late or broken off."""
    end = time.monotonic() + limits.catalog_s
    too_large = f"the answer is larger than {limits.body_bytes / (1 << 20):g} MiB"
    stated = response.headers.get("Content-Length", "")
    if stated.isdecimal() and int(stated) > limits.body_bytes:
        raise FetchError(too_large)
    size = 0
    try:
        while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
            size += len(chunk)
            if size > limits.body_bytes:
                raise FetchError(too_large)
            # A server that drips bytes keeps every read going.
            if time.monotonic() > end:
                raise FetchError(f"the answer was not complete after {limits.catalog_s:g} s")
            yield chunk
    except ReadTimeoutError as error:
        raise FetchError(f"the answer stopped for {limits.read_timeout_s:g} s") from error
    except (HTTPError, OSError, ValueError) as error:
        is_packed = "Decod" in type(error).__name__ or "decod" in str(error)
        raise FetchError("the answer is not a valid gzip stream" if is_packed else "the answer broke off") from error
    finally:
        response.close()


def has_length(response: requests.Response) -> bool:
    """Whether the answer says where it ends: one that does not may have been cut off anywhere."""
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    return chunked or response.headers.get("Content-Length", "").isdecimal()


def probe(base: str, limits: FetchLimits) -> str:
    """Opens a connection to the server of a base, or to the proxy before it; "" or why it cannot be reached."""
    url = select_proxy(base, get_environ_proxies(base)) or base
    parts = urlsplit(url if "://" in url else f"http://{url}")
    place = (parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 80))
    end = time.monotonic() + limits.contact_s
    while (left_s := end - time.monotonic()) > 0:
        try:
            socket.create_connection(place, timeout=min(left_s, limits.connect_timeout_s)).close()
        except TimeoutError:
            continue
        except socket.gaierror:
            return "the host name is not known"
        except ConnectionRefusedError:
            return "connection refused"
        except (OSError, ValueError) as error:
            return f"the connection failed: {_short(error)}"
        return ""
    return f"no connection within {limits.contact_s:g} s"


def http_date(text: str) -> datetime | None:
    """The moment that a header states, aware; None where it states none."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _in_words(error: requests.RequestException, limits: FetchLimits) -> str:
    cause = error.args[0] if error.args else None
    cause = getattr(cause, "reason", None) or cause
    text = str(error)
    known: tuple[tuple[bool, str], ...] = (
        (isinstance(error, requests.exceptions.SSLError), "the server's TLS certificate is not valid"),
        (isinstance(error, requests.exceptions.ProxyError), "the proxy refused"),
        (isinstance(error, requests.exceptions.TooManyRedirects), f"more than {limits.redirects} redirects"),
        (isinstance(cause, ConnectTimeoutError), f"no connection within {limits.connect_timeout_s:g} s"),
        (isinstance(cause, ReadTimeoutError), f"no answer within {limits.read_timeout_s:g} s"),
        ("NameResolutionError" in text or "Failed to resolve" in text, "the host name is not known"),
        (isinstance(cause, NewConnectionError) and "refused" in text, "connection refused"),
    )
    return next((words for holds, words in known if holds), f"the connection failed ({type(error).__name__})")


def _short(error: Exception) -> str:
    """The system's words for an error, else its kind."""
    return getattr(error, "strerror", None) or type(error).__name__
