"""Where the hosted catalogs are. A base is the URL of a folder that holds `<cloud>/vms.csv`."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urlsplit

from sky_melange.errors import InputError, Mistake

DEFAULT_BASES: Final = (
    "https://raw.githubusercontent.com/skypilot-org/skypilot-catalog/master/catalogs/v8",
    "https://skypilot-catalog.s3.us-east-1.amazonaws.com/catalogs/v8",
)
"""The addresses of SkyPilot 0.14.1 (`sky.skylet.constants`), for catalogs of its version 8."""


def parse_bases(text: str, *, source: str) -> tuple[str, ...]:
    """Bases in the order of preference, from text that separates them by blanks.

    `source` is where the text stands, for messages. Raises InputError naming what is no http(s) address of a folder.
    """
    bases = tuple(word.rstrip("/") for word in text.split())
    mistakes = [Mistake(source=source, message=fault) for base in bases if (fault := _fault(base))]
    if not bases:
        mistakes = [Mistake(source=source, message="is empty; write the URL of a folder that holds <cloud>/vms.csv")]
    if mistakes:
        raise InputError(mistakes)
    return bases


def catalog_url(base: str, cloud: str) -> str:
    """The address of one cloud's catalog."""
    return f"{base}/{cloud}/vms.csv"


def shown(url: str) -> str:
    """The address without user, password, query or fragment: what may stand in messages and files."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def _fault(base: str) -> str:
    example = "write for example https://mirror.example.com/catalogs/v8"
    try:
        parts = urlsplit(base)
        named = _is_named(parts)
    except ValueError:
        return f"is no URL; {example}"
    if parts.scheme not in ("http", "https"):
        return f"must begin with https:// or http://, found {parts.scheme or 'no scheme'!r}; {example}"
    if not named:
        return f"names no host; {example}"
    if parts.query or parts.fragment:
        return f"must be the address of a folder, without ? and #; {example}"
    import requests

    try:
        # What would fetch it says whether it can: `*.x` and `x..y` are not hosts.
        str(parts.hostname).encode("idna")
        requests.Request("GET", base).prepare()
    except (requests.RequestException, UnicodeError) as error:
        return f"is not an address that can be fetched: {str(error).rstrip('.')}; {example}"
    return ""


def _is_named(parts: SplitResult) -> bool:
    """Whether there is a host, and a port that is one. Raises ValueError for a port that is none."""
    return bool(parts.hostname) and (parts.port is None or parts.port > 0)
