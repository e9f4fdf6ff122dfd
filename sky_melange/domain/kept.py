"""What was computed of objects that are too large to compare, kept for when it is asked for again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Kept(Generic[Found]):
    """The last `most` results of a pure function of these very objects and of values that compare."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        # An object that is kept alive here has its id to itself.
        self._found: dict[Hashable, tuple[tuple[object, ...], Found]] = {}

    def get(self, objects: tuple[object, ...], values: Hashable, find: Callable[[], Found]) -> Found:
        """What `find` returns, or returned before for the same objects and equal values."""
        key = (*map(id, objects), values)
        known = self._found.get(key)
        if known is None:
            known = (objects, find())
            with self._lock:
                while len(self._found) >= self._most:
                    del self._found[next(iter(self._found))]
                self._found[key] = known
        return known[1]
