"""What pydantic found in a file other than a workload's -> mistakes in words, with their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sky_melange.domain.spelling import did_you_mean
from sky_melange.errors import Mistake
from sky_melange.workload_file.field_types import PATTERN_MEANINGS
from sky_melange.workload_file.messages import found_text, hint_for_number, problem_of
from sky_melange.workload_file.nodes import KeyPath, SequenceNode, YamlDocument, YamlNode
from sky_melange.workload_file.report import MAX_MISTAKES, key_path, quote
from sky_melange.workload_file.schema_lookup import flow
from sky_melange.workload_file.understood import units_hint

_KEY_MARKER: Final = "[key]"
_BOUNDS: Final = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}


def file_mistakes(error: ValidationError, document: YamlDocument, root: type[BaseModel]) -> Iterator[Mistake]:
    """The mistakes in a validation error; at most one more than are ever shown."""
    found = sorted(error.errors(include_url=False), key=lambda details: document.line_of(details["loc"]))
    for details in found[: MAX_MISTAKES + 1]:
        path = details["loc"][:-1] if details["loc"][-1] == _KEY_MARKER else details["loc"]
        node = document.find(path)
        if details["type"] == "too_short" and isinstance(node, SequenceNode) and node.items:
            # pydantic counts only the items that fit, and each of the others has its own mistake.
            continue
        message = _message(details, path, node, root)
        if message:
            yield Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)


def _message(details: ErrorDetails, path: KeyPath, node: YamlNode | None, root: type[BaseModel]) -> str:
    kind = details["type"]
    if details["loc"][-1] == _KEY_MARKER:
        meaning = PATTERN_MEANINGS.get(details.get("ctx", {}).get("pattern", ""), "")
        is_name = not meaning or "one line" in meaning
        wanted = "a name must be one line of 1 to 200 characters" if is_name else meaning
        return f"{wanted}, found the key {quote(str(path[-1]))}"
    if kind == "missing" or node is None:
        return f"is missing; write for example `{path[-1]}: {flow(_example(path, root))}`"
    if kind == "extra_forbidden":
        section = _model(_annotation(path[:-1], root)) or root
        if str(path[-1]).startswith("usd_"):
            # What is near may be of another length of time.
            return f"unknown key; valid keys here: {', '.join(section.model_fields)}"
        return f"unknown key{did_you_mean(str(path[-1]), tuple(section.model_fields), 'valid keys here')}"
    problem = problem_of(node)
    if problem is not None:
        return problem
    return f"{_wanted(details, path, root)}, found {found_text(node, path)}" + (
        units_hint(node, path) or hint_for_number(node, is_whole=kind == "int_type")
        if kind in {"float_type", "int_type"}
        else ""
    )


def _wanted(details: ErrorDetails, path: KeyPath, root: type[BaseModel]) -> str:
    kind, limits = details["type"], details.get("ctx", {})
    if path == ("version",):
        return "this release reads version 1"
    if kind in {"enum", "literal_error"}:
        choices = re.findall("'([^']*)'", limits["expected"])
        return f"must be one of {', '.join(choices)}"
    return _bound(kind, limits) or f"want for example `{flow(_example(path, root))}`"


def _bound(kind: str, limits: dict[str, Any]) -> str:
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return f"must be {word} {limits[key]:,.9g}"
    if kind == "string_pattern_mismatch":
        return PATTERN_MEANINGS[limits["pattern"]]
    return {
        "finite_number": "must be a finite number",
        "too_short": "must not be empty",
        "too_long": f"must have at most {limits.get('max_length')} entries",
        "string_too_long": f"must be at most {limits.get('max_length')} characters long",
    }.get(kind, "")


def _example(path: KeyPath, root: type[BaseModel]) -> object:
    """An example of what may stand at a path."""
    for depth in range(len(path), 0, -1):
        section = _model(_annotation(path[: depth - 1], root))
        field = None if section is None else section.model_fields.get(str(path[depth - 1]))
        if field is not None:
            return _within(field, path[depth:])
    return "a value"


def _within(field: FieldInfo, way: KeyPath) -> object:
    example: object = field.examples[0] if field.examples else "a value"
    for _ in way:
        if isinstance(example, Mapping):
            example = next(iter(example.values()))
        elif isinstance(example, list):
            example = example[0]
    return example


def _annotation(path: KeyPath, root: type[BaseModel]) -> Any:
    """The type of what may stand at a path; None where nothing may."""
    kind: Any = root
    for part in path:
        section = _model(kind)
        if section is not None:
            field = section.model_fields.get(str(part))
            kind = None if field is None else field.annotation
        else:
            # Of a mapping the values, of a list the items.
            kind = next((each for each in reversed(get_args(_bare(kind))) if each is not Ellipsis), None)
    return kind


def _model(kind: Any) -> type[BaseModel] | None:
    kind = _bare(kind)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _bare(kind: Any) -> Any:
    """A type without what annotates it, and without None."""
    while True:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
            continue
        parts = [each for each in get_args(kind) if each is not NoneType]
        if NoneType not in get_args(kind) or len(parts) != 1:
            return kind
        kind = parts[0]
