"""A CSV table of runs, one a line, with units in the column names."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from typing import Any, Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.units import ms_to_s
from sky_melange.profiles.importers.reading import Mistakes, quote, read_text
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported
from sky_melange.profiles.importers.runs import Run, points_form

_SIZES: Final = ("input_tokens", "output_tokens")
_EITHER: Final = (("ttft_s", "ttft_ms"), ("tpot_s", "tpot_ms"))
_LOADS: Final = ("concurrency", "request_rate_rps")
_COUNTS: Final = ("completed", "failed")
_KNOWN: Final = (*_SIZES, *(name for pair in _EITHER for name in pair), *_LOADS, *_COUNTS)
_MAX_ROWS: Final = 100_000
_MAX_KEPT_ROWS: Final = 1000


def import_table(request: ImportRequest) -> Imported:
    """Columns: input_tokens, output_tokens, concurrency and/or request_rate_rps, ttft_s or ttft_ms, tpot_s or tpot_ms.

    Where there are columns completed and failed (requests), runs are judged by them. `request.columns` says what the
    file calls them. Lines that start with `#` before the header are comments. Other columns are kept in the provenance.
    Raises InputError with file, line and column of every mistake.
    """
    mistakes = Mistakes()
    runs: list[Run] = []
    extra: list[dict[str, str]] = []
    for path in request.paths:
        for line, row in _rows(str(path), read_text(path), request.columns, mistakes):
            run = _run(str(path), line, row, mistakes)
            if run is not None:
                runs.append(run)
            extra.append({name: value for name, value in row.items() if name not in _KNOWN})
    mistakes.stop()
    form, warnings = points_form(runs, mistakes)
    stated = Stated(source="table of runs", kind=ProfileKind.PUBLISHED)
    return imported(request, stated, form, details=_details(extra), warnings=warnings)


def _details(extra: list[dict[str, str]]) -> dict[str, Any]:
    if not any(extra):
        return {}
    shown: object = extra if len(extra) <= _MAX_KEPT_ROWS else f"({len(extra)} rows left out)"
    return {"other_columns": shown}


def _rows(source: str, text: str, columns: Mapping[str, str], mistakes: Mistakes) -> list[tuple[int, dict[str, str]]]:
    """(line, columns) of each row; nothing when the header is wrong."""
    comments = 0
    lines = text.splitlines(keepends=True)
    while comments < len(lines) and (lines[comments].startswith("#") or not lines[comments].strip()):
        comments += 1
    reader = csv.reader(io.StringIO("".join(lines[comments:]), newline=""), strict=True)
    found: list[tuple[int, dict[str, str]]] = []
    try:
        header = _renamed(source, [name.strip() for name in next(reader, [])], columns, mistakes)
        if not _check_header(source, header, comments + 1, mistakes):
            return []
        for values in reader:
            line = comments + reader.line_num
            if not any(value.strip() for value in values):
                continue
            if len(values) != len(header):
                mistakes.add(source, f"{len(values)} columns, but the header has {len(header)}", line=line)
            elif len(found) >= _MAX_ROWS:
                mistakes.add(source, f"more than {_MAX_ROWS} rows", line=line)
                break
            else:
                found.append((line, dict(zip(header, (value.strip() for value in values), strict=True))))
    except csv.Error as error:
        mistakes.add(source, f"is not valid CSV: {error}", line=comments + reader.line_num)
    return found


def _renamed(source: str, header: list[str], columns: Mapping[str, str], mistakes: Mistakes) -> list[str]:
    """The header with the file's names replaced by ours."""
    for ours, theirs in columns.items():
        if ours not in _KNOWN:
            mistakes.add("--column", f"there is no column {quote(ours)}; want one of {', '.join(_KNOWN)}")
        elif theirs not in header:
            mistakes.add(source, f"has no column {quote(theirs)}; it has: {', '.join(header)[:200]}")
    ours_by_theirs = {theirs: ours for ours, theirs in columns.items()}
    return [ours_by_theirs.get(name, name) for name in header]


def _check_header(source: str, header: list[str], line: int, mistakes: Mistakes) -> bool:
    problems = [f"lacks the column {name}" for name in _SIZES if name not in header]
    for pair in _EITHER:
        if sum(name in header for name in pair) != 1:
            problems.append(f"wants one of the columns {' and '.join(pair)}")
    if not any(name in header for name in _LOADS):
        problems.append(f"wants a column {' or '.join(_LOADS)}")
    twice = sorted({name for name in header if header.count(name) > 1})
    problems += [f"has the column {quote(name)} twice" for name in twice]
    for problem in problems:
        mistakes.add(source, f"the header {problem}; it has: {', '.join(header)[:200] or 'nothing'}", line=line)
    return not problems


def _run(source: str, line: int, row: dict[str, str], mistakes: Mistakes) -> Run | None:
    values: dict[str, float | None] = {}
    before = len(mistakes.found)
    for name in _KNOWN:
        text = row.get(name)
        optional = name in _LOADS or name in _COUNTS
        values[name] = None
        if text is None or (optional and not text):
            continue
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if name in _COUNTS and not (0 <= number < math.inf and number == int(number)):
            mistakes.add(source, f"want a whole number of requests, found {quote(text)}", key=name, line=line)
        elif name not in _COUNTS and not (math.isfinite(number) and number > 0):
            mistakes.add(source, f"want a number above 0, found {quote(text)}", key=name, line=line)
        else:
            values[name] = ms_to_s(number) if name.endswith("_ms") else number
    if len(mistakes.found) > before:
        return None
    return Run(
        source=source,
        line=line,
        input_tokens=values["input_tokens"] or 0.0,
        output_tokens=values["output_tokens"] or 0.0,
        concurrency=values["concurrency"],
        ttft_s=values["ttft_s"] or values["ttft_ms"] or 0.0,
        tpot_s=values["tpot_s"] or values["tpot_ms"] or 0.0,
        request_rate_rps=values["request_rate_rps"],
        served=_whole(values["completed"]),
        failed=_whole(values["failed"]),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
