"""Finds the files of a log and tells what they are by their content: format, compression, columns."""

from __future__ import annotations

import csv
import glob
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Event
from typing import IO, Any, Final, Literal, cast

from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import first_json, json_or_none, one_line

Format = Literal["csv", "jsonl", "json", "sglang", "parquet"]
Compression = Literal["none", "gzip", "zstd"]

REMOTE: Final = ("s3://", "gs://", "gcs://", "r2://", "az://", "azure://", "hf://", "http://", "https://")
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_DELIMITERS: Final = ",\t;|"
_SAMPLE_LINES: Final = 100
SGLANG_COLUMNS: Final = ("logged_at", "rid", "prompt_tokens", "completion_tokens")
"""Those that lines of SGLang's text log are taken apart into."""

_SEARCHED_LINES: Final = 1_000_000
MAX_DOCUMENT_BYTES: Final = 64 * 1024 * 1024
ARRAY: Final = "[]"
SPANS: Final = "resourceSpans"
_ROWS: Final = ("data", "results", "observations", "items", "rows", "logs", "requests")
"""Keys of an object, such as an answer of an API, under which an array holds the rows."""

_IS_ARRAY: Final = re.compile(rb"(\xef\xbb\xbf)?\s*\[\s*([\[{\"\]]|-?[0-9.]+\s*[,\]])")
"""Not the date in brackets that lines of a text log begin with."""

_DEEPEST: Final = 4
_MOST_NESTED: Final = 2_000
_MAGIC: Final[tuple[tuple[bytes, Compression], ...]] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One file: what it is and its columns, in order. `delimiter` is of CSV; Parquet's columns are read elsewhere.

    JSON (not JSONL) has its rows in an array: `rows` is the key that holds it, ARRAY where the file is one, or SPANS.
    `nested` are the values inside objects, or JSON in text: name -> column, keys.
    """

    path: str
    format: Format
    compression: Compression = "none"
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    rows: str = ""
    nested: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def is_remote(self) -> bool:
        """Whether only the engine can read it."""
        return is_remote(self.path)


def is_remote(path: str) -> bool:
    """Whether a path names an object store or a web address."""
    return path.startswith(REMOTE)


def expand(patterns: Sequence[str], folder: Path | None = None) -> tuple[str, ...]:
    """The files that paths, folders and globs name, each once, in the order of the arguments and then by name.

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
            if path.is_dir():
                inside = [each for each in sorted(path.rglob("*")) if each.is_file() and not _is_hidden(each, path)]
                found.update((str(each.resolve()), str(each)) for each in inside)
                if not inside:
                    mistakes.append(Mistake(source=str(path), message="is a folder without files"))
            elif not path.is_file():
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


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.relative_to(folder).parts)


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


def compression_of(path: str) -> Compression:
    """Of a local file, by its first bytes."""
    with Path(path).open("rb") as stream:
        return _compression(stream.read(4))


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
    with open_text(path, compression) as opened:
        # An array may be one line of any length.
        if _IS_ARRAY.match(opened.read(1024)):
            return _array(path, compression)
    lines = [line for line in _lines(path, stream, 1 + _SAMPLE_LINES) if line.strip()]
    if not lines:
        raise _mistake(path, "is empty")
    first = lines[0].removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, kind in _MAGIC:
        if compression != "none" and first.startswith(magic):
            raise _mistake(path, f"is {kind} within {compression}; decompress it once")
    if first.startswith(b"{"):
        objects = [_json_object(line) for line in lines]
        if objects[0] is None or _rows_of(objects[0]):
            return _document(path, compression)
        columns, nested = names_inside(each for each in objects if each)
        return LogFile(path=path, format="jsonl", compression=compression, columns=columns, nested=nested)
    if any(b"Finish: obj=" in line or b"Receive: obj=" in line for line in lines):
        return LogFile(path=path, format="sglang", compression=compression, columns=SGLANG_COLUMNS)
    if any(b"Received request " in line and b"SamplingParams(" in line for line in lines):
        message = (
            "is vLLM's own log, which does not say how many tokens were generated; take its /metrics "
            "(`curl HOST:8000/metrics > vllm.prom`), or its spans (--otlp-traces-endpoint)"
        )
        raise _mistake(path, message)
    header, delimiter = _header(path, first)
    cells = csv.reader((line.decode("utf-8", "replace") for line in lines[1:]), delimiter=delimiter, strict=False)
    try:
        rows = [dict(zip(header, row, strict=False)) for row in cells]
    except csv.Error:
        rows = []
    return LogFile(
        path=path,
        format="csv",
        compression=compression,
        columns=header,
        delimiter=delimiter,
        nested=names_inside(rows)[1],
    )


def _json_object(line: bytes) -> dict[str, Any] | None:
    value = json_or_none(line.removeprefix(b"\xef\xbb\xbf"))
    return value if isinstance(value, dict) else None


def _rows_of(document: dict[str, Any]) -> str:
    """The key that holds an array of objects, such as an answer of an API; empty where the object is itself a row."""
    for key in (SPANS, *_ROWS):
        rows = document.get(key)
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            return key
    return ""


def _array(path: str, compression: Compression) -> LogFile:
    """One JSON array of objects; its first ones are enough to know it by."""
    rows: list[dict[str, Any]] = []
    at = 1
    with open_text(path, compression) as stream:
        head = stream.read(MAX_LINE_BYTES).decode("utf-8", "replace").removeprefix("\ufeff").lstrip()
    while len(rows) < _SAMPLE_LINES:
        while at < len(head) and head[at] in " \t\r\n,":
            at += 1
        try:
            row, at = first_json(head, at)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict):
            raise _mistake(path, "is a JSON array of something else than objects; want one object a request", line=1)
        rows.append(row)
    if not rows:
        raise _mistake(path, "is a JSON array without objects; want one object a request", line=1)
    columns, nested = names_inside(rows)
    return LogFile(path=path, format="json", compression=compression, columns=columns, rows=ARRAY, nested=nested)


def _document(path: str, compression: Compression) -> LogFile:
    """JSON objects that hold arrays of rows, one or more of them, over any number of lines."""
    with open_text(path, compression) as stream:
        text = stream.read(MAX_DOCUMENT_BYTES + 1)
    try:
        document, _ = first_json(text.decode("utf-8", "replace").removeprefix("\ufeff").lstrip())
    except (ValueError, RecursionError):
        size = f"; a larger one than {MAX_DOCUMENT_BYTES >> 20} MiB must be one object a request and line"
        raise _mistake(path, "is no JSON object" + (size if len(text) > MAX_DOCUMENT_BYTES else ""), line=1) from None
    key = _rows_of(document)
    if not key:
        raise _mistake(path, f"is one JSON object without rows; want them under one of {', '.join(_ROWS)}", line=1)
    rows = document[key]
    if key == SPANS:
        scopes = [scope for each in rows for scope in each.get("scopeSpans", []) if isinstance(scope, dict)]
        rows = [span for scope in scopes for span in scope.get("spans", []) if isinstance(span, dict)]
        for span in rows:
            attributes = span.pop("attributes", None) or []
            span["attributes"] = {each.get("key"): each.get("value") for each in attributes if isinstance(each, dict)}
    columns, nested = names_inside(rows)
    if key == SPANS:
        nested = tuple(
            (".".join(path[1:2]), path[:2]) if path[0] == "attributes" else (name, path) for name, path in nested
        )
    return LogFile(path=path, format="json", compression=compression, columns=columns, rows=key, nested=nested)


def names_inside(rows: Iterable[dict[str, Any]]) -> tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]:
    """(the columns of rows, the values inside them by dotted names; those of `attributes` without it)."""
    columns: dict[str, None] = {}
    nested: dict[str, tuple[str, ...]] = {}
    for row in rows:
        columns.update(dict.fromkeys(str(key) for key in row))
        for key, value in row.items():
            for path in _inside(value, (str(key),)):
                names = path[1:] if path[0] == "attributes" else path
                if len(nested) < _MOST_NESTED:
                    nested.setdefault(".".join(names), path)
    return tuple(columns), tuple((name, path) for name, path in nested.items() if name not in columns)


def _inside(value: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The paths of what is in an object, or in a text that is one."""
    if isinstance(value, str) and value.startswith("{") and len(path) == 1:
        value = _json_object(value.encode())
    if isinstance(value, dict) and len(path) <= _DEEPEST:
        for key, inner in value.items():
            yield (*path, str(key))
            yield from _inside(inner, (*path, str(key)))


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
            if line.strip() and not isinstance(json_or_none(line), dict):
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
    row = json_or_none(line)
    if not isinstance(row, dict):
        return False
    value = row.get(column)
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
