"""Reads a text file whose content is not trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sky_melange.errors import InputError, Mistake

BYTES_PER_MIB: Final = 1024 * 1024


def read_text(path: Path, *, limit_mib: int) -> str:
    """The text of a UTF-8 file of at most `limit_mib` MiB, without a byte order mark.

    Raises:
        InputError: the file is missing, a folder, unreadable, too large or no UTF-8 (with the line of the bad byte).

    """
    content = _read_bytes(path, limit_bytes=limit_mib * BYTES_PER_MIB)
    if len(content) > limit_mib * BYTES_PER_MIB:
        raise _error(path, f"is larger than {limit_mib} MiB, the most that is read; is it the right file?")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad_byte = content[error.start]
        message = f"is not UTF-8 text (byte 0x{bad_byte:02x} at offset {error.start}); save it with the encoding UTF-8"
        raise _error(path, message, line=line) from None


def _read_bytes(path: Path, *, limit_bytes: int) -> bytes:
    # One byte more than allowed is read, so that neither a huge file nor an endless device fills the memory.
    try:
        with path.open("rb") as file:
            return file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise _error(path, "there is no such file; check the path") from None
    except IsADirectoryError:
        raise _error(path, "is a folder; give the path of the file in it") from None
    except PermissionError:
        raise _error(path, "may not be read; check its permissions") from None
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise _error(path, "is no valid path: it holds a NUL character") from None


def _error(path: Path, message: str, *, line: int | None = None) -> InputError:
    return InputError([Mistake(source=str(path), line=line, message=message)])
