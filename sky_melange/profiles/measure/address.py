"""The address of a server, as people give it."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from sky_melange.errors import Mistake

_SUFFIXES: Final = ("/v1/completions", "/v1/chat/completions", "/v1")
_LONGEST_QUOTE: Final = 80


def base_url(url: str) -> str | Mistake:
    """The URL without a trailing `/v1` or route, or what is wrong with it."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        return _mistake(f"is no URL: {error}")
    if parts.username or parts.password:
        return _mistake("may not hold a password; name the environment variable that has the key: --api-key-env NAME")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return _mistake(f"want a URL such as http://127.0.0.1:8000, found {url[:_LONGEST_QUOTE]!r}")
    if parts.query or parts.fragment:
        return _mistake("may not hold a query or a fragment")
    path = parts.path.rstrip("/")
    for suffix in _SUFFIXES:
        path = path.removesuffix(suffix)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _mistake(message: str) -> Mistake:
    return Mistake(source="--endpoint", message=message)
