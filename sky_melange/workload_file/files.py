"""Reads a text file whose content is not trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sky_melange.untrusted import mistake, read_bytes

BYTES_PER_MIB: Final = 1024 * 1024


def read_text(path: Path, *, limit_mib: int) -> str:
    """The text of a UTF-8 file of at most `limit_mib` MiB, without a byte order mark.

    Raises:
        InputError: the file is missing, a folder, unreadable, too large or no UTF-8 (with the line of the bad byte).

    """
    content = read_bytes(path, limit_bytes=limit_mib * BYTES_PER_MIB, allow_pipe=True)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad_byte = content[error.start]
        message = f"is not UTF-8 text (byte 0x{bad_byte:02x} at offset {error.start}); save it with the encoding UTF-8"
        raise mistake(path, message, line=line) from None
