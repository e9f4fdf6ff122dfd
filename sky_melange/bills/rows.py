"""Rows of text from files of any size, and the mistakes in them, each with its line."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import mistake, read_bytes

if TYPE_CHECKING:
    import duckdb

MOST_MISTAKES: Final = 20
_LONGEST_LINE: Final = 4 * 1024 * 1024
_LONGEST_NUMBER: Final = 60
_MOST_EXPONENT: Final = 30
_LAST_S: Final = 4_102_444_800
"""2100: a later time is a slip."""

_NUMBER: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")

Row = tuple[int, Sequence[str]]
"""Its line, or its number in a file without lines, and its cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BillOptions:
    """How a bill is read. `start_s`, `end_s`: the period, None: from the first to the last row of usage.

    `cost_column` of FOCUS. `accounts`: these billing accounts alone, all where empty. `ignores_others`: rows that are
    neither of a plan nor of SkyPilot do not count.
    """

    start_s: int | None = None
    end_s: int | None = None
    cost_column: str = "EffectiveCost"
    accounts: tuple[str, ...] = ()
    ignores_others: bool = False


@dataclass(slots=True)
class Faults:
    """What is wrong with the rows of a file; it stops where there are too many."""

    source: str
    found: list[Mistake] = field(default_factory=list)

    def add(self, line: int, key: str, message: str) -> None:
        """One more. Raises InputError with all where that is enough."""
        self.found.append(Mistake(source=self.source, message=message, key=key, line=line))
        if len(self.found) >= MOST_MISTAKES:
            self.found.append(Mistake(source=self.source, message="there may be more mistakes; fix these first"))
            self.check()

    def check(self) -> None:
        """Raises InputError where anything was found."""
        if self.found:
            raise InputError(self.found)


@contextmanager
def opened(path: Path) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """The header and the rows of a CSV, gzip or Parquet file. Raises InputError: missing, empty, half-written."""
    # A look at its first bytes says what is wrong with the path, too.
    head = _head(path)
    if head[:4] == b"PAR1":
        with _parquet(path) as found:
            yield found
    elif not head.strip():
        raise mistake(path, "is empty; want a FOCUS export (CSV or Parquet) or one of OpenCost (JSON or CSV)")
    else:
        with _text(path, is_compressed=head[:2] == b"\x1f\x8b") as file:
            yield _csv(path, file)


def is_json(path: Path) -> bool:
    """Whether the first character of a file is one that JSON begins with, and CSV does not."""
    return _head(path).removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def _head(path: Path) -> bytes:
    if path.is_file():
        try:
            with path.open("rb") as file:
                return file.read(64)
        except OSError as error:
            raise mistake(path, f"cannot be read: {error.strerror or error}") from None
    return read_bytes(path, limit_bytes=64)


@contextmanager
def _text(path: Path, *, is_compressed: bool) -> Iterator[IO[str]]:
    with path.open("rb") as raw:
        content: Any = gzip.GzipFile(fileobj=raw) if is_compressed else raw
        with io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as file:
            yield file


def _csv(path: Path, file: IO[str]) -> tuple[list[str], Iterator[Row]]:
    lines = _Lines(path, file)
    reader = csv.reader(lines, strict=True)

    def rows() -> Iterator[Row]:
        try:
            for cells in reader:
                if not cells:
                    continue
                if len(cells) != len(header):
                    hint = "; is the file half-written?" if lines.is_last_open or len(cells) < len(header) else ""
                    message = f"has {len(cells)} cells, the header has {len(header)}{hint}"
                    raise mistake(path, message, line=reader.line_num)
                yield reader.line_num, cells
        except csv.Error as error:
            raise mistake(path, f"is not valid CSV: {error}; is the file half-written?", line=reader.line_num) from None
        except UnicodeDecodeError:
            raise mistake(path, "is not UTF-8 text; export it with the encoding UTF-8", line=lines.number + 1) from None
        except (EOFError, gzip.BadGzipFile, zlib.error):
            message = "ends in the middle of its compressed data; is the file half-written?"
            raise mistake(path, message, line=lines.number + 1) from None
        # The last cell of a file that was cut off is a shorter number: it would be read as one.
        if lines.is_last_open and lines.number > 1:
            message = "ends without a line break, so its last cell may be cut off; export it again, or end it with one"
            raise mistake(path, message, line=reader.line_num)

    header: list[str] = []
    try:
        header = [name.strip() for name in next(reader, [])]
    except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise mistake(path, f"is not CSV in UTF-8: {error}", line=1) from None
    repeated = sorted({name for name in header if header.count(name) > 1 and name})
    if repeated:
        raise mistake(path, f"names columns twice: {', '.join(repeated)[:200]}; keep one of each", line=1)
    return header, rows()


class _Lines:
    """Lines of bounded length, and whether the last one has no end."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path, self._file = path, file
        self.number = 0
        self.is_last_open = False

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(_LONGEST_LINE):
            self.number += 1
            self.is_last_open = not line.endswith(("\n", "\r"))
            if self.is_last_open and len(line) == _LONGEST_LINE:
                raise mistake(self._path, f"has a line of more than {_LONGEST_LINE:,} characters", line=self.number)
            if "\0" in line:
                raise mistake(self._path, "holds a NUL character; is it text?", line=self.number)
            yield line


@contextmanager
def _parquet(path: Path) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """Cells as text: decimals and numbers as they are written, maps and lists as JSON."""
    try:
        import duckdb
    except ImportError:
        message = "is Parquet: install sky-melange with its extra `traces` to read it, or export CSV"
        raise mistake(path, message) from None
    with duckdb.connect() as connection:
        try:
            connection.execute("SET TimeZone = 'UTC'")
            # What would be a pattern of many files is the name of one.
            name = re.sub(r"([\[*?])", r"[\1]", str(path))
            names = _selected(connection, name)
            query = f"SELECT {', '.join(names.values())} FROM read_parquet($1)"  # noqa: S608 - quoted by `_selected`
            found = connection.execute(query, [name])
        except duckdb.Error as error:
            reason = str(error).splitlines()[0][:200]
            raise mistake(path, f"is not readable Parquet: {reason}; is the file half-written?") from None

        def rows() -> Iterator[Row]:
            number = 0
            try:
                while batch := found.fetchmany(10_000):
                    for cells in batch:
                        number += 1
                        yield number, ["" if cell is None else cell for cell in cells]
            except duckdb.Error as error:
                raise mistake(path, f"is not readable Parquet: {str(error).splitlines()[0][:200]}") from None

        yield list(names), rows()


def _selected(connection: duckdb.DuckDBPyConnection, path: str) -> dict[str, str]:
    """Column -> expression of its text."""
    columns = connection.execute("DESCRIBE SELECT * FROM read_parquet($1)", [path]).fetchall()
    found = {}
    for name, kind, *_ in columns:
        quoted = '"' + name.replace('"', '""') + '"'
        nested = kind.startswith(("MAP", "STRUCT")) or kind.endswith("[]")
        found[name] = f"CAST(to_json({quoted}) AS VARCHAR)" if nested else f"CAST({quoted} AS VARCHAR)"
    return found


def to_decimal(text: str) -> Decimal | None:
    """A number as money is written; None: it is none, not finite, or of more digits than any amount has."""
    if not (_NUMBER.fullmatch(text) and len(text) <= _LONGEST_NUMBER):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if abs(value.adjusted()) <= _MOST_EXPONENT or not value else None


def to_seconds(text: str) -> int | None:
    """A date and time of ISO 8601 as seconds since 1970, UTC where it names no zone; None: it is none."""
    if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" UTC", "Z"))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = int(moment.timestamp())
    return seconds if 0 <= seconds < _LAST_S else None
