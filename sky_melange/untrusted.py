"""What comes from outside: the bytes of a file, the characters of a text, the digits of a number."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from sky_melange.errors import InputError, Mistake

INVISIBLE: Final = re.compile(
    "[\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""Characters that turn the direction of what follows, or take no room: a text with them is not what it looks like."""

_LONGEST_INTEGER: Final = 100


def read_bytes(path: Path, *, limit_bytes: int, allow_pipe: bool = False) -> bytes:
    """The content of a file, or of what a link leads to, of at most `limit_bytes`.

    Raises InputError: missing, a folder, a device, a pipe (unless allowed), not readable, larger.
    """
    try:
        # A pipe that nobody writes to would otherwise hold up the opening for ever.
        handle = os.open(path, os.O_RDONLY | (0 if allow_pipe else os.O_NONBLOCK) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(handle).st_mode
            is_pipe = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
            if not stat.S_ISREG(mode) and not (allow_pipe and is_pipe):
                raise mistake(path, "is not a regular file" + (": it is a device or a pipe" if is_pipe else ""))
            # One byte more than allowed, so that neither a growing file nor an endless device fills the memory.
            content = file.read(limit_bytes + 1)
    except FileNotFoundError:
        raise mistake(path, "there is no such file; check the path") from None
    except IsADirectoryError:
        raise mistake(path, "is a folder; give the path of the file in it") from None
    except PermissionError:
        raise mistake(path, "may not be read; check its permissions") from None
    except OSError as error:
        raise mistake(path, f"cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise mistake(path, "is not a valid path: it holds a NUL character") from None
    if len(content) > limit_bytes:
        raise mistake(path, f"is larger than {_size(limit_bytes)}, the most that is read; is it the right file?")
    return content


def mistake(path: Path, message: str, *, line: int | None = None) -> InputError:
    """An error of one mistake in a file."""
    return InputError([Mistake(source=str(path), message=message, line=line)])


def invisible_fault(text: str) -> str:
    """What is wrong with the first invisible character of a text; "" when there is none."""
    found = INVISIBLE.search(text)
    if found is None:
        return ""
    return f"holds the invisible character U+{ord(found.group()):04X}, with which a text looks like another; remove it"


class LongInteger(float):
    """Stands for an integer of more digits than any quantity has: infinite, so that checks of ranges refuse it."""

    digits: int

    def __new__(cls, text: str) -> LongInteger:
        """From its digits."""
        value = super().__new__(cls, "-inf" if text.startswith("-") else "inf")
        value.digits = len(text.lstrip("+-"))
        return value

    def __repr__(self) -> str:
        return f"an integer of {self.digits} digits"

    __str__ = __repr__


def parse_integer(text: str) -> int | float:
    """For `json.loads(parse_int=…)`: integers of thousands of digits cost time and fit into no float."""
    return int(text) if len(text) <= _LONGEST_INTEGER else LongInteger(text)


def _size(limit_bytes: int) -> str:
    mebibytes, rest = divmod(limit_bytes, 1024 * 1024)
    return f"{limit_bytes} bytes" if rest else f"{mebibytes} MiB"
