"""Which columns of a log say what: those of a known layout, or those that are named."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Final

from sky_melange.domain.trace import LogColumns, Rejection, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.layouts import LAYOUTS, Layout
from sky_melange.traces.where import Condition, columns_of, parse_where

_MAY_BE_MISSING: Final = ", and may be missing in the input"
_OF_CONSEQUENCE: Final = {
    "hash_ids": "prompts that begin alike: replicas that cache prefixes serve more; --prefix-cache measures that",
    "numimages": "images, whose tokens may not be among those of the input",
    "cache_hit": "answers from a cache, for which no GPU works",
    "cached_tokens": "input tokens that were cached",
    "input_cached_tokens": "input tokens that were cached",
    "cache_read_input_tokens": f"input tokens that were cached{_MAY_BE_MISSING}",
    "input_cache_read": f"input tokens that were cached{_MAY_BE_MISSING}",
    "prompt_cache_read_tokens": f"input tokens that were cached{_MAY_BE_MISSING}",
    "prompt_cache_write_tokens": f"input tokens that were written to a cache{_MAY_BE_MISSING}",
    "cache_read.input_tokens": f"input tokens that were cached{_MAY_BE_MISSING}",
    "cache_creation.input_tokens": f"input tokens that were written to a cache{_MAY_BE_MISSING}",
    "input_cached": f"input tokens that were cached{_MAY_BE_MISSING}",
}
"""Columns that change what a plan is worth, by the last part of their names, or the last two."""

_OF_FAILURES: Final = frozenset(
    {"status", "status_code", "http_status", "http_status_code", "response_status", "error", "error_code", "is_error"}
    | {"success", "failed"}
)
_MODELS: Final = ("model", "model_name", "model_id", "deployment", "deployment_name", "deployment_id", "engine")
"""Columns of formats that are not known which may say which rows are the traffic."""

_TIME_LIKE: Final = re.compile(r"time|date|created|received|stamp|_(at|ts)$", re.IGNORECASE)


def find_columns(options: TraceOptions, have: Sequence[str], *, source: str) -> LogColumns:
    """The columns of a log that has the columns `have`, spelled as they are there.

    Capital letters do not matter where a name is still unique: databases change them. Raises InputError when a given
    column is missing or no format is recognised.
    """
    found = _recognised(have, source) if options.columns is None else _given(options.columns, have, source)
    if options.time_unit is not None:
        found = dataclasses.replace(found, time_unit=options.time_unit)
    if options.model_column is not None:
        found = dataclasses.replace(found, model=column_named(options.model_column, have, "model", source=source))
    elif found.model is None and _is_open(found):
        used = (found.input, found.output, found.time, found.bytes)
        names = (_match(name, have) for name in _MODELS)
        found = dataclasses.replace(found, model=next((name for name in names if name and name not in used), None))
    return dataclasses.replace(found, unused=_unused(found, options, have))


def column_named(name: str, have: Sequence[str], role: str, *, source: str) -> str:
    """A column as it is spelled there. Raises InputError when there is none."""
    found = _match(name, have)
    if found is None:
        message = f"has no column {name!r} ({role}); it has {_listed(have)}"
        raise InputError([Mistake(source=source, message=message)])
    return found


def asides(columns: LogColumns, have: Sequence[str]) -> list[tuple[Rejection, Condition]]:
    """The rows of a known format that are not the traffic: why, and which."""
    found = LAYOUTS[columns.layout].asides if columns.layout in LAYOUTS else ()
    parsed = [(rejection, parse_where(text)) for rejection, text in found]
    return [(why, which) for why, which in parsed if all(_match(name, have) is not None for name in columns_of(which))]


def names_of_asides(columns: LogColumns) -> set[str]:
    """The columns that say which rows of a known format are not the traffic."""
    found = LAYOUTS[columns.layout].asides if columns.layout in LAYOUTS else ()
    return {name for _, text in found for name in columns_of(parse_where(text))}


def has_details(columns: LogColumns) -> bool:
    """Whether sizes are the sums of what the object that holds them says."""
    return columns.layout in LAYOUTS and LAYOUTS[columns.layout].has_details


def parent_of(columns: LogColumns, have: Sequence[str]) -> str | None:
    """The column with the id of the row that a row is a step of; None where there is none."""
    parent = LAYOUTS[columns.layout].parent if columns.layout in LAYOUTS else None
    return None if parent is None else _match(parent, have)


def _recognised(have: Sequence[str], source: str) -> LogColumns:
    without_times: Layout | None = None
    for layout in LAYOUTS.values():
        names = (layout.input, layout.output, *layout.marks)
        if any(_match(name, have) is None for name in names):
            continue
        if _match(layout.time, have) is not None:
            return _columns(layout, have)
        without_times = without_times or layout
    if without_times is None:
        known = "; ".join(f"{each.name}: {each.input}, {each.output}, {each.time}" for each in LAYOUTS.values())
        message = (
            f"no known log format has these columns: {_listed(have)}. Name them: --columns input=…,output=…,time=… "
            f"(columns: in a workload). Known are {known}"
        )
        raise InputError([Mistake(source=source, message=message)])
    times = [name for name in have if _TIME_LIKE.search(name)]
    if times:
        sizes = f"input={without_times.input},output={without_times.output}"
        message = (
            f"has the sizes of {without_times.name}, but not its times, {without_times.time!r}. Is it one of "
            f"{_listed(times)}? Say so: --columns {sizes},time=…, or --columns {sizes} to count without times "
            "(columns: in a workload)"
        )
        raise InputError([Mistake(source=source, message=message)])
    return _columns(without_times, have)


def _columns(layout: Layout, have: Sequence[str]) -> LogColumns:
    return LogColumns(
        input=column_named(layout.input, have, "input", source=layout.name),
        output=column_named(layout.output, have, "output", source=layout.name),
        time=_match(layout.time, have),
        time_unit=layout.time_unit,
        layout=layout.name,
        model=None if layout.model is None else _match(layout.model, have),
        id=None if layout.id is None else _match(layout.id, have),
        blocks=None if layout.blocks is None else _match(layout.blocks, have),
        block_tokens=layout.block_tokens,
    )


def _unused(columns: LogColumns, options: TraceOptions, have: Sequence[str]) -> tuple[str, ...]:
    """Columns of consequence that nothing asks for, each with what it says."""
    chosen = [which for _, which in asides(columns, have)]
    chosen += [] if options.where is None else [parse_where(options.where)]
    used = {name.casefold() for which in chosen for name in columns_of(which)}
    used |= {columns.blocks.casefold()} if columns.blocks is not None and options.prefix_cache is not None else set()
    found = {name: _consequence(name) for name in have if name.casefold() not in used}
    found = {name: meaning for name, meaning in found.items() if meaning}
    if _is_open(columns):
        failures = [name for name in have if name.casefold() in _OF_FAILURES - used]
        found |= dict.fromkeys(failures, "failed requests may be among those counted; --where chooses")
    if has_details(columns):
        found = {name: meaning.replace(_MAY_BE_MISSING, "") for name, meaning in found.items()}
    return tuple(f"{name} ({meaning})" for name, meaning in found.items())


def _is_open(columns: LogColumns) -> bool:
    """Whether nobody knows who wrote the log, so that its columns may mean anything."""
    return columns.layout not in LAYOUTS or LAYOUTS[columns.layout].is_open


def _consequence(name: str) -> str:
    parts = name.casefold().split(".")
    return _OF_CONSEQUENCE.get(parts[-1]) or _OF_CONSEQUENCE.get(".".join(parts[-2:])) or ""


def _given(given: LogColumns, have: Sequence[str], source: str) -> LogColumns:
    found: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for role, name in (("input", given.input), ("output", given.output), ("time", given.time), ("bytes", given.bytes)):
        try:
            found |= {} if name is None else {role: column_named(name, have, role, source=source)}
        except InputError as error:
            mistakes.extend(error.mistakes)
    if mistakes:
        raise InputError(mistakes)
    return dataclasses.replace(
        given, input=found["input"], output=found["output"], time=found.get("time"), bytes=found.get("bytes")
    )


def _match(name: str, have: Sequence[str]) -> str | None:
    if name in have:
        return name
    alike = [column for column in have if column.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def _listed(have: Sequence[str]) -> str:
    names = ", ".join(repr(name[:40]) for name in have[:20])
    return names + (f" and {len(have) - 20} more" if len(have) > 20 else "") if have else "none"
