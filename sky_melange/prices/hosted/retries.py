"""One catalog from all addresses: waits and asks again where that may help, then goes on to the mirror."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sky_melange.prices.hosted.bases import shown
from sky_melange.prices.hosted.fetch import Fetched, Fetcher
from sky_melange.prices.hosted.fetch_error import FetchError
from sky_melange.prices.hosted.reach import Reach


class UnreachableError(Exception):
    """No address gave the catalog. `missing`: every address answered that there is none."""

    def __init__(self, problems: Sequence[tuple[str, FetchError]]) -> None:
        self.missing = all(error.missing for _, error in problems)
        self.problems = tuple((shown(base), str(error)) for base, error in problems)
        super().__init__("; ".join(f"{base}: {reason}" for base, reason in self.problems))


def fetch_anywhere(
    fetcher: Fetcher, cloud: str, bases: Sequence[str], reach: Reach, stopped: threading.Event
) -> Fetched:
    """The catalog from the first base that gives it, in their order. Raises UnreachableError."""
    problems: list[tuple[str, FetchError]] = []
    for base in bases:
        if reach.is_dead(base):
            problems.append((base, FetchError("no connection", unreachable=True)))
            continue
        try:
            return _fetch_patiently(fetcher, cloud, base, stopped)
        except FetchError as error:
            problems.append((base, error))
            if error.unreachable:
                reach.failed(base)
        if stopped.is_set():
            break
    raise UnreachableError(problems)


def _fetch_patiently(fetcher: Fetcher, cloud: str, base: str, stopped: threading.Event) -> Fetched:
    """Tries again after 429 and 5xx, when the server asks, unless it asks for longer than anyone would wait."""
    limits = fetcher.limits
    for turn in range(limits.tries):
        try:
            return fetcher.fetch(cloud, base)
        except FetchError as error:
            backoff_s = limits.backoff_s * 2**turn
            wait_s = backoff_s if error.retry_after_s is None else error.retry_after_s
            is_last = turn == limits.tries - 1
            if is_last or not error.again or wait_s > limits.longest_wait_s or stopped.wait(wait_s):
                raise
    raise FetchError("it was never asked")
