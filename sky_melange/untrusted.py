"""What comes from outside: bytes of a file, characters of a text, JSON, rows in YAML, digits of a number."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from sky_melange.errors import InputError, Mistake

_LONGEST: Final = 300
_SECRET: Final = re.compile(r"(://[^/\s:@]*):[^@\s]*@")

INVISIBLE: Final = re.compile(
    "[\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
"""Characters that turn the direction of what follows, or take no room: a text with them is not what it looks like."""

_LONGEST_INTEGER: Final = 100
_MAX_REPEATED: Final = 20


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


def read_text(path: Path, *, limit_bytes: int, allow_pipe: bool = False) -> str:
    """The same as text, see `decoded`."""
    return decoded(read_bytes(path, limit_bytes=limit_bytes, allow_pipe=allow_pipe), str(path))


def decoded(content: bytes, source: str, advice: str = "save it with the encoding UTF-8") -> str:
    """UTF-8 text without a byte order mark. Raises InputError with the line of the first byte that is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        bad_byte = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        raise mistake(source, f"is not UTF-8 text ({bad_byte}); {advice}", line=line) from None


def parse_json(text: str, source: str, *, is_finite: bool = False) -> Any:
    """The value that a text is; numbers of more digits than any quantity has are `LongInteger`.

    Raises InputError: no JSON, with the line; nested too deeply; a key twice in one object, where the standard library
    keeps the last in silence; where `is_finite`, NaN and Infinity, which many tools write.
    """
    value, repeated = json_value(text, source, is_finite=is_finite)
    if repeated:
        raise InputError(repeated)
    return value


def json_value(text: str, source: str, *, is_finite: bool = False) -> tuple[Any, list[Mistake]]:
    """The same for who finds more mistakes in the value: it comes with those of repeated keys."""
    repeated: dict[str, Mistake] = {}

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            for name in found:
                if len(repeated) < _MAX_REPEATED and names.count(name) > 1:
                    message = f"the key {name[:60]!r} is repeated in one object; keep one of them"
                    repeated[name] = Mistake(source=source, message=message)
        return found

    try:
        value = json.loads(
            text,
            object_pairs_hook=unique,
            parse_int=parse_integer,
            parse_constant=_refuse_constant if is_finite else None,
        )
    except json.JSONDecodeError as error:
        is_at_the_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string")
        hint = "; is the file truncated?" if is_at_the_end else ""
        message = f"is not valid JSON: {error.msg} (column {error.colno}){hint}"
        raise mistake(source, message, line=error.lineno) from None
    except RecursionError:
        raise mistake(source, "is not usable JSON: it is nested too deeply") from None
    except ValueError as error:
        raise mistake(source, f"is not valid JSON: {error}") from None
    return value, list(repeated.values())


def json_or_none(text: str | bytes) -> Any:
    """For lines, pages and caches of which a broken one counts as none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def first_json(text: str, at: int = 0) -> tuple[Any, int]:
    """The value that begins there, and where it ends. Raises ValueError or RecursionError for what is none."""
    return json.JSONDecoder().raw_decode(text, at)


def own_json(text: str | bytes, *, whole_number: Callable[[str], float] = int) -> Any:
    """The value of a text that ships with this package, or that this process has written."""
    return json.loads(text, parse_int=whole_number)


def yaml_rows(text: str, source: str, example: str) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, name -> text) of a YAML list of mappings of names to single values, "" for null.

    Raises InputError for anything else, and for a name twice.
    """
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise mistake(source, "is no YAML", line=mark.line + 1 if mark else None) from None
    except RecursionError:
        raise mistake(source, "is nested too deeply") from None
    if not isinstance(root, yaml.SequenceNode):
        raise mistake(source, f"must be a list of mappings, such as `- {example}`")
    for item in root.value:
        line = item.start_mark.line + 1
        if not isinstance(item, yaml.MappingNode):
            raise mistake(source, f"must be a mapping, such as {example}", line=line)
        row: dict[str, str] = {}
        for key, value in item.value:
            if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
                raise mistake(source, "must map names to single values", line=line)
            if key.value in row:
                raise mistake(source, f"has {key.value[:40]!r} twice", line=key.start_mark.line + 1)
            row[key.value] = "" if value.tag.endswith(":null") else value.value.strip()
        yield line, row


def one_line(text: str) -> str:
    """Text of an engine or a file on one line, without control characters or passwords of URLs, cut off when long."""
    words = _SECRET.sub(r"\1:…@", " ".join(text.split()))
    shown = "".join(character if character.isprintable() else "?" for character in words)
    return shown if len(shown) <= _LONGEST else shown[:_LONGEST] + "…"


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not a number; every number is finite")


def mistake(path: Path | str, message: str, *, line: int | None = None) -> InputError:
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
