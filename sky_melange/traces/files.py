"""Finds the files of a log and tells what they are by their content: format, compression, columns."""

from __future__ import annotations

import csv
import glob
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event
from typing import IO, Final, Literal, cast

from sky_melange.errors import InputError, Mistake
from sky_melange.traces.text import one_line

Format = Literal["csv", "jsonl", "parquet"]
Compression = Literal["none", "gzip", "zstd"]

REMOTE: Final = ("s3://", "gs://", "gcs://", "r2://", "az://", "azure://", "hf://", "http://", "https://")
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_DELIMITERS: Final = ",\t;|"
_KEY_LINES: Final = 100
_SEARCHED_LINES: Final = 1_000_000
_MAGIC: Final[tuple[tuple[bytes, Compression], ...]] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One file: what it is and its columns, in order. `delimiter` is of CSV; Parquet's columns are read elsewhere."""

    path: str
    format: Format
    compression: Compression = "none"
    columns: tuple[str, ...] = ()
    delimiter: str = ","

    @property
    def is_remote(self) -> bool:
        """Whether only the engine can read it."""
        return is_remote(self.path)


def is_remote(path: str) -> bool:
    """Whether a path names an object store or a web address."""
    return path.startswith(REMOTE)


def expand(patterns: Sequence[str], folder: Path | None = None) -> tuple[str, ...]:
    """The files that paths and globs name, each once, in the order of the arguments and then by name.

    Relative ones are taken from `folder`. Remote ones are passed through. Raises InputError for all that match nothing.
    """
    found: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for pattern in patterns:
        if is_remote(pattern):
            found.setdefault(pattern, pattern)
            continue
        paths = _local(pattern, folder)
        if not paths:
            message = "no file matches" if glob.has_magic(pattern) else "there is no such file; check the path"
            mistakes.append(Mistake(source=one_line(pattern), message=message))
        for path in paths:
            if not path.is_file():
                mistakes.append(Mistake(source=str(path), message="is not a regular file"))
            else:
                found.setdefault(str(path.resolve()), str(path))
    if mistakes:
        raise InputError(mistakes)
    return tuple(found.values())


def _local(pattern: str, folder: Path | None) -> list[Path]:
    if not pattern or "\0" in pattern:
        return []
    path = Path(pattern) if folder is None else folder / pattern
    if path.exists() or not glob.has_magic(pattern):
        return [path] if path.exists() else []
    return [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 - wants `**` and roots


def inspect_file(path: str) -> LogFile:
    """Format, compression and columns of a local file. Raises InputError when it is empty, damaged or no log."""
    try:
        with Path(path).open("rb") as stream:
            head = stream.read(4)
        if not head:
            raise _mistake(path, "is empty")
        if head == b"PAR1":
            return LogFile(path=path, format="parquet")
        compression = _compression(head)
        with open_text(path, compression) as lines:
            return _inspect_lines(path, compression, lines)
    except OSError as error:
        raise _mistake(path, _damage(error)) from error
    except (EOFError, zlib.error) as error:
        raise _mistake(path, _damage(error), line=1) from error


def _compression(head: bytes) -> Compression:
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return "none"


@contextmanager
def open_text(path: str, compression: Compression) -> Iterator[IO[bytes]]:
    """The decompressed bytes of a local file."""
    if compression == "zstd":
        # The standard library learns zstd in Python 3.14; pyarrow comes with Ibis.
        import pyarrow as pa

        with pa.input_stream(path, compression="zstd") as compressed:
            yield cast("IO[bytes]", compressed)
    else:
        with gzip.open(path, "rb") if compression == "gzip" else Path(path).open("rb") as stream:
            yield cast("IO[bytes]", stream)


def verify(file: LogFile, stop: Event) -> None:
    """Reads a compressed file to its end, or until `stop` is set, and checks its checksums, which engines do not.

    Raises InputError with the line up to which it can be read.
    """
    lines = 1
    try:
        with open_text(file.path, file.compression) as stream:
            # Small steps: what comes before a break is then still counted.
            while block := stream.read1(1 << 16) if hasattr(stream, "read1") else stream.read(1 << 16):
                lines += block.count(b"\n")
                if stop.is_set():
                    return
    except (OSError, EOFError, zlib.error) as error:
        raise _mistake(file.path, _damage(error), line=lines) from error


def _inspect_lines(path: str, compression: Compression, stream: IO[bytes]) -> LogFile:
    lines = [line for line in _lines(path, stream, 1 + _KEY_LINES) if line.strip()]
    if not lines:
        raise _mistake(path, "is empty")
    first = lines[0].removeprefix(b"\xef\xbb\xbf").lstrip()
    if first.startswith(b"["):
        raise _mistake(path, "is one JSON array; write one object a line (`jq -c '.[]'`)", line=1)
    if first.startswith(b"{"):
        return LogFile(path=path, format="jsonl", compression=compression, columns=_keys(path, lines))
    header, delimiter = _header(path, first)
    return LogFile(path=path, format="csv", compression=compression, columns=header, delimiter=delimiter)


def _lines(path: str, stream: IO[bytes], most: int) -> Iterator[bytes]:
    """The first lines; a header or object longer than the limit is an error, not a full memory."""
    rest = b""
    number = 0
    while number < most:
        block = stream.read(1 << 16)
        parts = (rest + block).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = parts.pop()
        if not block:
            parts.append(rest)
        yield from parts[: most - number]
        number += len(parts)
        if not block:
            return
        if len(rest) > MAX_LINE_BYTES:
            raise _mistake(path, f"has a line longer than {MAX_LINE_BYTES >> 20} MiB; is it a log?", line=number + 1)


def _keys(path: str, lines: Iterable[bytes]) -> tuple[str, ...]:
    """Keys of the first objects. Lines that are no JSON are left to the scan, which reads them all."""
    keys: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        try:
            value = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
        except (ValueError, RecursionError):
            if number == 1:
                raise _mistake(path, "is no JSON object", line=1) from None
            continue
        if isinstance(value, dict):
            keys.update(dict.fromkeys(value))
    return tuple(keys)


def _header(path: str, line: bytes) -> tuple[tuple[str, ...], str]:
    """(column names, delimiter): of the usual delimiters the one that gives most columns."""
    if b"\0" in line:
        raise _mistake(path, "is no text (it holds NUL bytes); want CSV, JSONL or Parquet, plain, gzip or zstd", line=1)
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise _mistake(path, "is not UTF-8 text; save it with the encoding UTF-8", line=1) from None
    return header_columns(text)


def header_columns(text: str) -> tuple[tuple[str, ...], str]:
    """(column names, delimiter) of the first line of a CSV file."""
    delimiter = max(_DELIMITERS, key=text.count)
    columns = next(csv.reader([text], delimiter=delimiter, strict=False), [])
    return tuple(column.strip() for column in columns), delimiter


def bad_json_line(file: LogFile) -> int | None:
    """The number of the first line that is no JSON object, by a slow and sure reading; None when there is none."""
    with open_text(file.path, file.compression) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return number
            except (ValueError, RecursionError):
                return number
    return None


def line_of(file: LogFile, text: str, column: str) -> int | None:
    """The first line of a local CSV or JSONL file whose `column` is this text; None where it is not found soon."""
    if file.is_remote or file.format == "parquet" or column not in file.columns:
        return None
    index = file.columns.index(column)
    with open_text(file.path, file.compression) as stream:
        lines = (line.decode("utf-8", "replace") for line in islice(stream, _SEARCHED_LINES))
        if file.format == "jsonl":
            return next((number for number, line in enumerate(lines, 1) if _has(line, column, text)), None)
        rows = csv.reader(lines, delimiter=file.delimiter)
        try:
            return next((rows.line_num for row in rows if len(row) > index and row[index] == text), None)
        except csv.Error:
            return None


def _has(line: str, column: str, text: str) -> bool:
    try:
        value = json.loads(line).get(column)
    except (ValueError, RecursionError, AttributeError):
        return False
    return value == text or (not isinstance(value, str) and json.dumps(value) == text)


def _damage(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "may not be read; check its permissions"
    if isinstance(error, EOFError) or "runcated" in str(error):
        return "is cut off: the compressed data ends early; copy the file again"
    strerror = getattr(error, "strerror", None)
    return f"is damaged or cannot be read: {one_line(str(strerror or error))}"


def _mistake(path: str, message: str, *, line: int | None = None) -> InputError:
    return InputError([Mistake(source=path, message=message, line=line)])
