"""Files in the user's cache folder that appear whole or not at all, and are read only if their checksum holds."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Final

_MARK: Final = b"sky-melange catalog 1 "
_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""Larger files were not written by us."""


class KeptFiles:
    """One folder of such files, by name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where the file of a name is."""
        return self.folder / name

    def read(self, name: str) -> bytes | None:
        """What was kept; None when there is nothing, or nothing that can be trusted."""
        try:
            with self.path(name).open("rb") as file:
                content = file.read(_LIMIT_BYTES + 1)
        except (OSError, ValueError):
            return None
        head, _, value = content.partition(b"\n")
        if head != _MARK + hashlib.sha256(value).hexdigest().encode():
            return None
        return value

    def write(self, name: str, value: bytes) -> None:
        """Keeps a value in place of what was there. Raises OSError when the disk refuses; nothing has changed then."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        head = _MARK + hashlib.sha256(value).hexdigest().encode() + b"\n"
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(head)
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).replace(self.path(name))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
