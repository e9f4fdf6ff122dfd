"""Keeps what a solver's library prints out of stdout: HiGHS 1.16 prints a banner with its output switched off.

What is replaced is C's stream `stdout`, not file descriptor 1: this process may be somebody else's, whose other threads
go on writing to the descriptor, and lose nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator
from typing import Final

_LOCK: Final = threading.Lock()


class _CStdout:
    """C's `stdout`, which leads to /dev/null while at least one `discarded` block runs, in whichever thread."""

    def __init__(self) -> None:
        self._blocks = 0
        self._real: int | None = None
        self._stream: ctypes.c_void_p | None = None
        self._null: int | None = None
        try:
            # With another C library `stdout` may be a constant. There the command line's own guard has to do.
            os.confstr("CS_GNU_LIBC_VERSION")
            library = ctypes.CDLL(None)
            library.fopen.restype = ctypes.c_void_p
            self._null = library.fopen(os.fsencode(os.devnull), b"w")
            self._stream = ctypes.c_void_p.in_dll(library, "stdout")
        except (OSError, ValueError, AttributeError):
            self._stream = None

    @contextlib.contextmanager
    def discarded(self) -> Iterator[None]:
        with _LOCK:
            if self._blocks == 0 and self._stream is not None and self._null is not None:
                self._real, self._stream.value = self._stream.value, self._null
            self._blocks += 1
        try:
            yield
        finally:
            with _LOCK:
                self._blocks -= 1
                if self._blocks == 0 and self._stream is not None and self._real is not None:
                    self._stream.value, self._real = self._real, None


c_output_discarded: Final = _CStdout().discarded
"""`with c_output_discarded(): ...`: what C code prints to `stdout` meanwhile goes nowhere."""
