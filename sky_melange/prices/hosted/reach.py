"""Which servers can be reached at all, shared by the threads of one refresh."""

from __future__ import annotations

import threading
from collections.abc import Sequence


class Reach:
    """Once a server has refused one connection and accepted none, nobody else needs to wait for it."""

    def __init__(self, bases: Sequence[str]) -> None:
        self._untried = set(bases)
        self._alive: set[str] = set()
        self._lock = threading.Lock()

    def connected(self, base: str) -> None:
        """A connection to the server stands."""
        with self._lock:
            self._alive.add(base)

    def failed(self, base: str) -> None:
        """No connection could be made."""
        with self._lock:
            self._untried.discard(base)

    def is_dead(self, base: str) -> bool:
        """Whether connections fail and none has ever stood."""
        with self._lock:
            return base not in self._untried and base not in self._alive

    @property
    def any_contact(self) -> bool:
        """Whether any server has accepted a connection."""
        with self._lock:
            return bool(self._alive)

    @property
    def all_dead(self) -> bool:
        """Whether there is nobody left to ask."""
        with self._lock:
            return not self._untried and not self._alive
