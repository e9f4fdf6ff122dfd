"""SQL of DuckDB for the rows of a log: the table that they are in, values inside objects, and names, quoted.

The quick way to count files is SQL for rows that hold nothing unusual, which is all rows of most logs. It takes what
DuckDB casts to a number, and times in the spelling of the log's first row, and gives the same key and second as
`expression.keyed_rows`; any other row gets the key UNUSUAL, and its log is then counted by that expression, which names
what is wrong. So this need not know every spelling, but that expression must read all that this reads.

SQL is put together from numbers and from formats that a pattern has found, never from what a log says.
"""
# ruff: noqa: S608

# ruff: noqa: S608
from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Final

from sky_melange.domain.buckets import TokenGrid
from sky_melange.domain.trace import CALENDAR_FROM_S, LogColumns, Rejection, TimeUnit
from sky_melange.traces import files
from sky_melange.traces.edges import MAX_TOKENS
from sky_melange.traces.engine import width
from sky_melange.traces.files import LogFile
from sky_melange.traces.numbers import CODES
from sky_melange.traces.times import LAST_S, PER_SECOND
from sky_melange.traces.where import literal

INPUT: Final = "log_input"
OUTPUT: Final = "log_output"
TIME: Final = "log_time"
BYTES: Final = "log_bytes"
BLOCKS: Final = "log_blocks"
"""The names of a view's columns, whatever those of the log are."""

UNUSUAL: Final = -1000
TEXT: Final = "VARCHAR"
DOUBLE: Final = "DOUBLE"
WITH_ZONE: Final = "TIMESTAMP WITH TIME ZONE"
"""Views have such times as UTC without a zone: calendars with zones make DuckDB ten times as slow."""

WITH_ZONE_NS: Final = "TIMESTAMPTZ_NS"
"""As pandas writes them; views have them as those of WITH_ZONE, cut to microseconds."""

_WHOLE: Final = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})
_FLOATS: Final = frozenset({"FLOAT", DOUBLE})
_STAMPS: Final = frozenset({"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", WITH_ZONE})
_SPELLING: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?P<between>[T ])[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?P<zone>Z| UTC|\+00(?::?00)?)?"
)
_DIGITS: Final = re.compile(r"[0-9]{1,18}")

_ATTRIBUTE_KINDS: Final = ("int", "double", "string", "bool")
_SGLANG: Final = {
    "logged_at": "^[[]?([0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}([.][0-9]+)?)",
    "rid": "^.*?Finish: obj=[A-Za-z]*[(]rid='([^']*)'",
    "prompt_tokens": "^.*, out=[{].*'meta_info': [{].*'prompt_tokens': ([0-9]+)",
    "completion_tokens": "^.*, out=[{].*'meta_info': [{].*'completion_tokens': ([0-9]+)",
}
"""What the lines of SGLang's text log hold, as patterns of DuckDB.

Prompts and answers are in there before it, and may say anything: of each number the last is the server's.
"""

_SGLANG_FINISHED: Final = "instr(line, 'Finish: obj=') > 0 AND instr(line, 'obj=') = instr(line, 'Finish: obj=') + 8"
"""No prompt that was received and speaks of this."""


def reader(paths: str, file: LogFile, columns: Sequence[str], numbers: Container[str] = ()) -> str:
    """The table that these columns are read from, as text where it is text; of CSV, `numbers` as such."""
    if file.format == "parquet":
        return f"read_parquet({paths})"
    if file.format == "jsonl" or file.rows == files.ARRAY:
        named = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in columns)
        return (
            f"read_json({paths}, format = '{'array' if file.rows else 'newline_delimited'}', columns = {{{named}}}, "
            f"compression = '{file.compression}', maximum_object_size = {files.MAX_LINE_BYTES})"
        )
    if file.format == "json":
        spans = "json_extract(document, '$[*].scopeSpans[*].spans[*]')"
        rows = spans if file.rows == files.SPANS else "json_extract(document, '$[*]')"
        return (
            f"(SELECT unnest({rows}) AS log_row FROM read_json({paths}, format = 'unstructured', "
            f"columns = {{{literal(file.rows)}: 'JSON'}}, compression = '{file.compression}', "
            f"maximum_object_size = {files.MAX_DOCUMENT_BYTES}) AS documents(document))"
        )
    if file.format == "sglang":
        finished = f"FROM {lines(paths, file)} WHERE {_SGLANG_FINISHED}"
        found = [f"nullif(regexp_extract(line, {literal(how)}, 1), '') AS {name}" for name, how in _SGLANG.items()]
        return f"(SELECT {', '.join(found)} {finished})"
    # Columns of CSV are named by their position: headers may repeat names or hold anything.
    kinds = [DOUBLE if column in numbers else TEXT for column in file.columns]
    types = ", ".join(f"'c{index}': '{kind}'" for index, kind in enumerate(kinds))
    return (
        f"read_csv({paths}, auto_detect = false, header = true, columns = {{{types}}}, "
        f"delim = {literal(file.delimiter)}, quote = '\"', escape = '\"', compression = '{file.compression}')"
    )


def lines(paths: str, file: LogFile) -> str:
    """Text, line by line."""
    return (
        f"read_csv({paths}, auto_detect = false, header = false, delim = chr(1), quote = '', escape = '', "
        f"columns = {{'line': 'VARCHAR'}}, compression = '{file.compression}', max_line_size = {files.MAX_LINE_BYTES})"
    )


def inside(text: str, keys: Sequence[str]) -> str:
    """The value inside an object, or inside a text that is one."""
    # A pointer, unlike a path, takes any key.
    pointer = "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in keys)
    return f"CASE WHEN json_valid({text}) THEN json_extract_string({text}, {literal(pointer)}) END"


def with_details(whole: str, columns: LogColumns, which: str) -> str:
    """The sum of the values of an object whose keys have `input` (or `output`) in them; as text, as it would be alone.

    Where the object's total says that the plain values are all, the others are parts of them. What is no number stays
    as it is.
    """
    words = {alias: name.rpartition(".")[2] for alias, name in ((INPUT, columns.input), (OUTPUT, columns.output))}
    text = f"CASE WHEN json_valid({whole}) THEN {whole} END"
    plain = {alias: f"json_extract_string({text}, {literal('/' + word)})" for alias, word in words.items()}
    key = "replace(replace(name, '~', '~0'), '/', '~1')"
    total = f"TRY_CAST(json_extract_string({text}, '/total') AS BIGINT)"
    both = " + ".join(f"TRY_CAST({value} AS BIGINT)" for value in plain.values())
    return (
        f"CASE WHEN {plain[which]} IS NOT NULL AND (TRY_CAST({plain[which]} AS BIGINT) IS NULL OR {total} = {both}) "
        f"THEN {plain[which]} ELSE CAST(list_sum(list_transform(list_filter(json_keys({text}), lambda name: "
        f"contains(lower(name), {literal(words[which])})), "
        f"lambda name: TRY_CAST(json_extract_string({text}, '/' || {key}) AS BIGINT))) AS VARCHAR) END"
    )


def inside_row(file: LogFile, keys: Sequence[str]) -> str:
    """The value of these keys in a row that is an object; of a span's attributes, which are a list, by the key."""
    if file.rows != files.SPANS or keys[0] != "attributes":
        return inside("log_row", keys)
    kinds = ", ".join(f'"{kind}Value": "VARCHAR"' for kind in _ATTRIBUTE_KINDS)
    shape = '[{"key": "VARCHAR", "value": {' + kinds + "}}]"
    attributes = f"from_json(log_row -> '$.attributes', '{shape}')"
    found = f"list_filter({attributes}, lambda each: each.key = {literal(keys[1])})[1].value"
    return f"coalesce({', '.join(f'({found}).{kind}Value' for kind in _ATTRIBUTE_KINDS)})"


def value(name: str, kind: str) -> str:
    """A column, or the same times in UTC without a zone; never what is not finite, which is no number."""
    if kind == WITH_ZONE_NS:
        return f"make_timestamp(epoch_ns({name}) // 1000)"
    if kind != WITH_ZONE:
        return name
    return f"CASE WHEN isfinite({name}) THEN make_timestamp(epoch_us({name})) ELSE CAST({name} AS TIMESTAMP) END"


def quoted(path: str) -> str:
    """A path as a SQL string; wildcards in names of local files are taken literally."""
    return literal(path if files.is_remote(path) else re.sub(r"([\[*?])", r"[\1]", path))


def plain_rows(
    view: str, types: tuple[str, str, str | None], unit: TimeUnit, first_time: str | None, grid: TokenGrid
) -> str | None:
    """SQL of `key`, `second`, `input`, `output`, `no_zone` for a view of INPUT, OUTPUT and, where `types` has it, TIME.

    `first_time` is one of the times where they are text. None where no row of such a log is plain.
    """
    counts = [_count(column, kind) for column, kind in zip((INPUT, OUTPUT), types[:2], strict=True)]
    time = ("0", "true", 0) if types[2] is None else _time(types[2], unit, first_time)
    if time is None or None in counts:
        return None
    (inputs, input_is_plain), (outputs, output_is_plain) = (count for count in counts if count is not None)
    second, time_is_plain, no_zone = time
    # Steps of their own: DuckDB then computes each value once.
    read = f"SELECT {inputs} AS input, {outputs} AS output, {second} AS second, * FROM {view}"
    is_plain = f"{input_is_plain} AND {output_is_plain} AND {time_is_plain}"
    key = f"{_index('input', grid.input_edges, width(grid))} + {_index('output', grid.output_edges, 1)}"
    return (
        f"SELECT CASE WHEN ({is_plain}) IS NOT TRUE THEN {UNUSUAL} WHEN input = 0 THEN -{CODES[Rejection.INPUT_ZERO]} "
        f"WHEN output = 0 THEN -{CODES[Rejection.OUTPUT_ZERO]} ELSE {key} END AS key, "
        f"second, input, output, {no_zone} AS no_zone FROM ({read})"
    )


def _count(column: str, kind: str) -> tuple[str, str] | None:
    """(the number, whether it is a count or 0)."""
    name = "input" if column == INPUT else "output"
    in_range = f"{name} BETWEEN 0 AND {MAX_TOKENS}"
    if kind in _WHOLE:
        return column, in_range
    if kind not in _FLOATS and kind != TEXT:
        return None
    # A cast of 2.5 to a whole number would round it.
    number = column if kind in _FLOATS else f"TRY_CAST({column} AS DOUBLE)"
    return f"TRY_CAST({number} AS INTEGER)", f"{in_range} AND {name} = {number}"


def _time(kind: str, unit: TimeUnit, first: str | None) -> tuple[str, str, int] | None:
    """(the second, whether it is plain, whether the date names no zone)."""
    if kind in _STAMPS:
        in_range = f"{TIME} BETWEEN TIMESTAMP '1970-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'"
        return f"epoch_us({TIME}) // 1000000", in_range, int(kind != WITH_ZONE)
    if kind in _WHOLE:
        return _of_number(TIME, unit)
    spelling = None if first is None else _SPELLING.fullmatch(first)
    if kind == TEXT and spelling is not None:
        between, zone = spelling["between"], spelling["zone"] or ""
        date = f"%Y-%m-%d{between}%H:%M:%S"
        moment = f"try_strptime({TIME}, ['{date}.%n{zone}', '{date}{zone}'])"
        # What is left of a second before 1970 is 0.
        return f"epoch_us({moment}) // 1000000", f"second BETWEEN 1 AND {LAST_S}", int(not zone)
    if kind == TEXT and first is not None and _DIGITS.fullmatch(first):
        number = f"TRY_CAST({TIME} AS BIGINT)"
        second, is_plain, no_zone = _of_number(number, unit)
        return second, f"{is_plain} AND {number} < {9 * 10**18} AND CAST({number} AS VARCHAR) = {TIME}", no_zone
    return None


def _of_number(number: str, unit: TimeUnit) -> tuple[str, str, int]:
    if unit is not TimeUnit.AUTO:
        second = f"CAST({number} AS BIGINT) // {PER_SECOND[unit]}"
        return second, f"{number} >= 0 AND second <= {LAST_S}", 0
    scales = "".join(f"WHEN {number} < {CALENDAR_FROM_S * 1000 * scale} THEN {scale} " for scale in (1, 10**3, 10**6))
    second = f"CAST({number} AS BIGINT) // CASE {scales}ELSE 1000000000 END"
    return second, f"{number} >= {CALENDAR_FROM_S} AND second <= {LAST_S}", 0


def _index(value: str, edges: Sequence[int], stride: int) -> str:
    """The first edge at or above `value`, times `stride`."""
    branches = "".join(f"WHEN {value} <= {edge} THEN {index * stride} " for index, edge in enumerate(edges))
    return f"CASE {branches}ELSE {len(edges) * stride} END"
