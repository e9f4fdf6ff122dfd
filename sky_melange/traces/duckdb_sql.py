"""SQL of DuckDB for the rows of a log: the table that they are in, values inside objects, and names, quoted."""
# ruff: noqa: S608

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from typing import Final

from sky_melange.domain.trace import LogColumns
from sky_melange.traces import files
from sky_melange.traces.files import LogFile
from sky_melange.traces.plain_rows import DOUBLE, INPUT, OUTPUT, TEXT, WITH_ZONE, WITH_ZONE_NS
from sky_melange.traces.where import literal

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
