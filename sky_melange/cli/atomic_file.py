"""Writes one file: wholly, or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from sky_melange.errors import InputError, Mistake


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes beside `path`, syncs, then renames over it; text as UTF-8.

    Raises InputError when the disk refuses, or for a device or a pipe, which would be replaced; nothing changed.
    """
    refuse_device(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}; nothing was changed"
        raise InputError([Mistake(source=str(path), message=message)]) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_new(path: Path, text: str, *, force: bool) -> None:
    """Writes a file that is not there, or says the same; with `force` any. Raises InputError for another."""
    if path.is_file() and not force and not _holds(path, text.encode()):
        message = "is there already and says something else; --force replaces it"
        raise InputError([Mistake(source=str(path), message=message)])
    write_atomically(path, text)


def _holds(path: Path, content: bytes) -> bool:
    """Whether a file is that; one of another size, however large, is not read."""
    return path.stat().st_size == len(content) and path.read_bytes() == content


def refuse_device(path: Path) -> None:
    """Raises InputError for what is there and would be replaced, but is no file."""
    if path.exists() and not path.is_file() and not path.is_dir():
        message = "cannot be written: it is a device or a pipe, not a file; nothing was changed"
        raise InputError([Mistake(source=str(path), message=message)])
