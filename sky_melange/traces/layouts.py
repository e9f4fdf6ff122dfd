"""Log formats that are recognised by their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.domain.trace import LogColumns, TimeUnit
from sky_melange.errors import InputError, Mistake


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The columns of a known format. A log that lacks its time column is read without times."""

    name: str
    input: str
    output: str
    time: str
    time_unit: TimeUnit


LAYOUTS: Final = (
    Layout(
        name="Azure LLM inference trace",
        input="ContextTokens",
        output="GeneratedTokens",
        time="TIMESTAMP",
        time_unit=TimeUnit.AUTO,
    ),
    Layout(name="BurstGPT", input="Request tokens", output="Response tokens", time="Timestamp", time_unit=TimeUnit.S),
    Layout(name="Mooncake", input="input_length", output="output_length", time="timestamp", time_unit=TimeUnit.MS),
    Layout(
        name="LiteLLM spend log",
        input="prompt_tokens",
        output="completion_tokens",
        time="startTime",
        time_unit=TimeUnit.AUTO,
    ),
    Layout(
        name="vidur", input="num_prefill_tokens", output="num_decode_tokens", time="arrived_at", time_unit=TimeUnit.S
    ),
)
"""Times of BurstGPT are seconds from the first midnight, of Mooncake milliseconds from the start, of vidur seconds."""


def find_columns(given: LogColumns | None, unit: TimeUnit | None, have: Sequence[str], *, source: str) -> LogColumns:
    """The columns of a log that has the columns `have`, spelled as they are there.

    Capital letters do not matter where a name is still unique: databases change them. Raises InputError when a given
    column is missing or no format is recognised.
    """
    if given is not None:
        return _with_unit(_given(given, have, source), unit)
    for layout in LAYOUTS:
        columns = [_match(name, have) for name in (layout.input, layout.output, layout.time)]
        if columns[0] is not None and columns[1] is not None:
            found = LogColumns(
                input=columns[0], output=columns[1], time=columns[2], time_unit=layout.time_unit, layout=layout.name
            )
            return _with_unit(found, unit)
    known = "; ".join(f"{layout.name}: {layout.input}, {layout.output}" for layout in LAYOUTS)
    message = (
        f"no known log format has these columns: {_listed(have)}. Name them: --columns input=…,output=…,time=… "
        f"(columns: in a workload). Known are {known}"
    )
    raise InputError([Mistake(source=source, message=message)])


def _given(given: LogColumns, have: Sequence[str], source: str) -> LogColumns:
    wanted = {"input": given.input, "output": given.output, "time": given.time, "bytes": given.bytes}
    found = {role: None if name is None else _match(name, have) for role, name in wanted.items()}
    missing = [(role, name) for role, name in wanted.items() if name is not None and found[role] is None]
    if missing:
        raise InputError(
            [
                Mistake(source=source, message=f"has no column {name!r} ({role}); it has {_listed(have)}")
                for role, name in missing
            ]
        )
    return LogColumns(
        input=str(found["input"]),
        output=str(found["output"]),
        time=found["time"],
        bytes=found["bytes"],
        time_unit=given.time_unit,
    )


def _with_unit(columns: LogColumns, unit: TimeUnit | None) -> LogColumns:
    if unit is None:
        return columns
    return replace(columns, time_unit=unit)


def _match(name: str, have: Sequence[str]) -> str | None:
    if name in have:
        return name
    alike = [column for column in have if column.casefold() == name.casefold()]
    return alike[0] if len(alike) == 1 else None


def _listed(have: Sequence[str]) -> str:
    names = ", ".join(repr(name[:40]) for name in have[:20])
    return names + (f" and {len(have) - 20} more" if len(have) > 20 else "") if have else "none"
