"""Why a catalog could not be had, in words that hold no address (it may hold a password), and what follows from it."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from sky_melange.prices.hosted.limits import FetchLimits


class FetchError(Exception):
    """The catalog could not be had from this address; the text says why.

    `again`: the same address may answer if it is asked again, after `retry_after_s` where the server said so.
    `missing`: the server answered that there is no such catalog. `unreachable`: no connection could be made.
    """

    def __init__(
        self,
        reason: str,
        *,
        again: bool = False,
        retry_after_s: float | None = None,
        missing: bool = False,
        unreachable: bool = False,
    ) -> None:
        # Part of it may be what the server said: nothing that a terminal would obey.
        super().__init__("".join(letter if letter.isprintable() else "?" for letter in reason))
        self.again = again
        self.retry_after_s = retry_after_s
        self.missing = missing
        self.unreachable = unreachable


def retry_after_s(text: str) -> float | None:
    """Seconds to wait, from a number of them or an HTTP date; None when the header says neither."""
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, moment.timestamp() - time.time())


def is_unreachable(error: requests.RequestException) -> bool:
    """Whether no connection stood: refused, timed out while connecting, or a name that nobody knows."""
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), ConnectTimeoutError | NewConnectionError)


def in_words(error: requests.RequestException, limits: FetchLimits) -> str:
    """What a requests error means, without addresses: they may hold a password, and the caller names them."""
    text = str(error)
    known: tuple[tuple[type[Exception], str], ...] = (
        (requests.exceptions.ConnectTimeout, f"no connection within {limits.connect_timeout_s:g} s"),
        (requests.exceptions.SSLError, "the server's TLS certificate is not valid"),
        (requests.exceptions.ProxyError, "the proxy refused"),
        (requests.exceptions.TooManyRedirects, f"more than {limits.redirects} redirects"),
        (requests.exceptions.ContentDecodingError, "the answer is no valid gzip stream"),
        (requests.exceptions.ReadTimeout, f"no answer within {limits.read_timeout_s:g} s"),
        (requests.exceptions.ChunkedEncodingError, "the answer broke off"),
    )
    for kind, meaning in known:
        if isinstance(error, kind):
            return meaning
    if "Read timed out" in text:
        return f"the answer stopped for {limits.read_timeout_s:g} s"
    if "NameResolutionError" in text or "Failed to resolve" in text:
        return "the host name is not known"
    if "refused" in text:
        return "connection refused"
    return f"the connection failed ({type(error).__name__})"


def short(error: Exception) -> str:
    """The system's words for an error, else its kind."""
    return type(error).__name__ if not isinstance(error, OSError) else error.strerror or type(error).__name__
