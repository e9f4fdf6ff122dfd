"""How long to wait for catalogs, and for how much of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """The connect timeout holds for each attempt, the read timeout for each pause in an answer.

    `contact_s`: an address that accepts no connection by then is not asked. `catalog_s` holds for one answer, `total_s`
    for all catalogs together. Connections, broken connections, 429 and 5xx are tried up to `tries` times; a server that
    asks for a longer wait than `longest_wait_s` is left for the mirror. `body_bytes` bounds one catalog, unpacked, and
    with it the memory of a refresh: three times the largest known.
    """

    connect_timeout_s: float = 3.0
    read_timeout_s: float = 8.0
    catalog_s: float = 25.0
    contact_s: float = 2.2
    total_s: float = 40.0
    body_bytes: int = 16 << 20
    redirects: int = 5
    tries: int = 3
    backoff_s: float = 0.3
    longest_wait_s: float = 5.0
