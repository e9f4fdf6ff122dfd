"""Reads other tools' files, whose content is not trusted: bounded, and with the line or field of every mistake."""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import decoded, invisible_fault, mistake, parse_json, read_bytes

MAX_BYTES: Final = 256 * 1024**2
MAX_MISTAKES: Final = 50
_GZIP: Final = b"\x1f\x8b"
_LONGEST_QUOTE: Final = 60
_LONGEST_LIST: Final = 16
_SECRET: Final = re.compile(
    r"(key|token|header|cookie|env)s?$|authori[sz]|auth$|credential|passw|secret|command", re.IGNORECASE
)
_LEAST_EPOCH_S: Final = 1e9
_MOST_EPOCH_S: Final = 1e10


class Mistakes:
    """Collects what is wrong, up to a number that a person reads; `stop` raises it all."""

    def __init__(self) -> None:
        self.found: list[Mistake] = []

    def add(self, source: str, message: str, *, key: str = "", line: int | None = None) -> None:
        """Notes a mistake."""
        if len(self.found) < MAX_MISTAKES:
            self.found.append(Mistake(source=source, message=message, key=key, line=line))

    def stop(self) -> None:
        """Raises InputError when there is any."""
        if self.found:
            raise self.error()

    def error(self) -> InputError:
        """All of them as one error."""
        return InputError(self.found)


def read_text(path: Path) -> str:
    """UTF-8 text of a regular file of at most 256 MiB, unpacked when it is gzip. Raises InputError."""
    content = read_bytes(path, limit_bytes=MAX_BYTES)
    if content.startswith(_GZIP):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
                content = packed.read(MAX_BYTES + 1)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise mistake(path, f"cannot be read: {error}") from None
        if len(content) > MAX_BYTES:
            raise mistake(path, f"is larger than {MAX_BYTES} bytes when it is unpacked, the most that is read")
    return decoded(content, str(path))


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises InputError with the line of what is no JSON."""
    return parse_json(read_text(path), str(path))


def read_json_objects(path: Path) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """(line, object) of a file of JSON lines; the line is None for one object over several. Raises InputError."""
    text = read_text(path)
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise mistake(path, "is empty")
    mistakes = Mistakes()
    if len(lines) == 1 or _object(lines[0][1], path, lines[0][0], Mistakes()) is None:
        whole = parse_json(text, str(path))
        if not isinstance(whole, dict):
            raise mistake(path, f"want a JSON object, found {quote(whole)}", line=lines[0][0])
        yield (lines[0][0] if len(lines) == 1 else None), whole
        return
    for number, line in lines:
        value = _object(line, path, number, mistakes)
        if value is not None:
            yield number, value
    mistakes.stop()


def _object(text: str, path: Path, line: int, mistakes: Mistakes) -> dict[str, Any] | None:
    """The object on a line; None, with the mistakes noted, where it is none."""
    try:
        value = parse_json(text, str(path))
    except InputError as error:
        for found in error.mistakes:
            mistakes.add(found.source, found.message, line=line)
        return None
    if not isinstance(value, dict):
        mistakes.add(str(path), f"want a JSON object, found {quote(value)}", line=line)
        return None
    return value


class Fields:
    """Typed access to one object of a file; remembers which keys were used, so that the rest can be kept."""

    def __init__(self, content: Mapping[str, Any], mistakes: Mistakes, source: str, *, line: int | None = None) -> None:
        self._content = content
        self._mistakes = mistakes
        self._source = source
        self._line = line
        self._used: set[str] = set()

    @property
    def content(self) -> Mapping[str, Any]:
        """The object itself, for keys that have a part of their names in common."""
        return self._content

    def mistake(self, key: str, message: str) -> None:
        """Notes a mistake at this object."""
        self._mistakes.add(self._source, message, key=key, line=self._line)

    def get(self, key: str) -> Any:
        """The value as it is; None when absent."""
        self._used.add(key)
        return self._content.get(key)

    def number(self, key: str, *, least: float = 0.0, required: bool = True, allow_least: bool = True) -> float | None:
        """A finite number of at least `least`; None, with the mistake noted, otherwise."""
        value = self.get(key)
        if value is None:
            if required:
                self.mistake(key, "is missing")
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.mistake(key, f"want a number, found {quote(value)}")
            return None
        if value < least or (value == least and not allow_least):
            self.mistake(key, f"want {'at least' if allow_least else 'more than'} {least:g}, found {quote(value)}")
            return None
        return float(value)

    def positive(self, key: str, *, required: bool = True) -> float | None:
        """A number above 0."""
        return self.number(key, required=required, allow_least=False)

    def count(self, key: str, *, least: int = 1, required: bool = True) -> int | None:
        """A whole number of at least `least`."""
        value = self.number(key, least=least, required=required)
        if value is not None and value != int(value):
            self.mistake(key, f"want a whole number, found {quote(value)}")
            return None
        return None if value is None else int(value)

    def text(self, key: str, *, required: bool = False) -> str | None:
        """A text; None when absent or empty."""
        value = self.get(key)
        if value is None or value == "":
            if required:
                self.mistake(key, "is missing")
            return None
        if not isinstance(value, str):
            self.mistake(key, f"want a text, found {quote(value)}")
            return None
        fault = invisible_fault(value)
        if fault:
            self.mistake(key, fault)
            return None
        return value

    def rest(self) -> dict[str, Any]:
        """The keys that nothing read, for the provenance; see `compact`."""
        return compact({key: value for key, value in sorted(self._content.items()) if key not in self._used})  # type: ignore[no-any-return]


def nested(content: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A nested object; empty when it is not there."""
    value: Any = content
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def compact(value: Any) -> Any:
    """A value to keep in provenance: lists of more than 16 entries become their length, NaN a text.

    What may be a secret (keys, headers, command lines) is left out, whatever tool wrote it.
    """
    if isinstance(value, Mapping):
        return {str(name): _kept(str(name), item) for name, item in value.items()}
    if isinstance(value, list):
        return [compact(item) for item in value] if len(value) <= _LONGEST_LIST else f"({len(value)} values left out)"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _kept(name: str, value: Any) -> Any:
    if isinstance(value, str | list | dict) and value and _SECRET.search(name):
        return "(left out)"
    return compact(value)


def epoch_date(seconds: float | None) -> str | None:
    """ISO date (UTC) of seconds since 1970; None where that is no time of such a file."""
    if seconds is None or not _LEAST_EPOCH_S <= seconds <= _MOST_EPOCH_S:
        return None
    return datetime.fromtimestamp(seconds, tz=UTC).date().isoformat()


def quote(value: Any) -> str:
    """A value from a file, on one line and not too long."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "…"
