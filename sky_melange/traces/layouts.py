"""Log formats that are recognised by their columns."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.trace import LogColumns, Rejection, TimeUnit, TraceOptions
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.where import Condition, columns_of, parse_where


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of a known format. A log that lacks its time column is read without times.

    `asides` are rows that are not the traffic: why, and which (in the language of traces/where.py); each holds where
    the log has the columns that it names. `marks` are further columns that a log must have to be of this format.
    """

    name: str
    input: str
    output: str
    time: str
    time_unit: TimeUnit
    model: str | None = None
    asides: tuple[tuple[Rejection, str], ...] = ()
    marks: tuple[str, ...] = ()


LAYOUTS: Final = (
    Layout(
        name="Azure LLM inference trace",
        input="ContextTokens",
        output="GeneratedTokens",
        time="TIMESTAMP",
        time_unit=TimeUnit.AUTO,
    ),
    Layout(
        name="BurstGPT",
        input="Request tokens",
        output="Response tokens",
        time="Timestamp",
        time_unit=TimeUnit.S,
        model="Model",
    ),
    Layout(
        name="Qwen-Bailian",
        input="input_length",
        output="output_length",
        time="timestamp",
        time_unit=TimeUnit.S,
        marks=("chat_id", "turn"),
    ),
    Layout(
        name="Mooncake",
        input="input_length",
        output="output_length",
        time="timestamp",
        time_unit=TimeUnit.MS,
        marks=("hash_ids",),
    ),
    Layout(
        name="columns as Mooncake has them",
        input="input_length",
        output="output_length",
        time="timestamp",
        time_unit=TimeUnit.AUTO,
    ),
    Layout(
        name="Helicone",
        input="prompt_tokens",
        output="completion_tokens",
        time="request_created_at",
        time_unit=TimeUnit.AUTO,
        model="request_model",
        asides=((Rejection.FAILED, "response_status >= 400"),),
        marks=("request_created_at", "response_status"),
    ),
    Layout(
        name="LiteLLM spend log",
        input="prompt_tokens",
        output="completion_tokens",
        time="startTime",
        time_unit=TimeUnit.AUTO,
        model="model",
        asides=(
            (Rejection.NO_GENERATION, "call_type LIKE '%embedding%' OR call_type LIKE '%rerank%'"),
            (Rejection.NO_GENERATION, "call_type LIKE '%moderation%' OR call_type LIKE '%transcription%'"),
            (Rejection.FAILED, "status = 'failure'"),
            (Rejection.FROM_CACHE, "cache_hit = TRUE"),
        ),
    ),
    Layout(
        name="vidur", input="num_prefill_tokens", output="num_decode_tokens", time="arrived_at", time_unit=TimeUnit.S
    ),
)
"""Times of BurstGPT are seconds from the first midnight, of Mooncake milliseconds from the start, of vidur and
Qwen-Bailian seconds. The first that fits is taken."""


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
    return found


def column_named(name: str, have: Sequence[str], role: str, *, source: str) -> str:
    """A column as it is spelled there. Raises InputError when there is none."""
    found = _match(name, have)
    if found is None:
        message = f"has no column {name!r} ({role}); it has {_listed(have)}"
        raise InputError([Mistake(source=source, message=message)])
    return found


def asides(columns: LogColumns, have: Sequence[str]) -> list[tuple[Rejection, Condition]]:
    """The rows of a known format that are not the traffic: why, and which."""
    found = [aside for layout in LAYOUTS if layout.name == columns.layout for aside in layout.asides]
    parsed = [(rejection, parse_where(text)) for rejection, text in found]
    return [(why, which) for why, which in parsed if all(_match(name, have) is not None for name in columns_of(which))]


def _recognised(have: Sequence[str], source: str) -> LogColumns:
    for layout in LAYOUTS:
        columns = [_match(name, have) for name in (layout.input, layout.output, layout.time)]
        is_marked = all(_match(name, have) is not None for name in layout.marks)
        if columns[0] is not None and columns[1] is not None and is_marked:
            return LogColumns(
                input=columns[0],
                output=columns[1],
                time=columns[2],
                time_unit=layout.time_unit,
                layout=layout.name,
                model=None if layout.model is None else _match(layout.model, have),
            )
    known = "; ".join(f"{layout.name}: {layout.input}, {layout.output}" for layout in LAYOUTS)
    message = (
        f"no known log format has these columns: {_listed(have)}. Name them: --columns input=…,output=…,time=… "
        f"(columns: in a workload). Known are {known}"
    )
    raise InputError([Mistake(source=source, message=message)])


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
