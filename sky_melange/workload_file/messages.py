"""What pydantic found -> mistakes in words: what was wanted, an example, what stands there, and on which line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from sky_melange.domain.spelling import did_you_mean, listed, nearest
from sky_melange.errors import Mistake
from sky_melange.workload_file.field_types import PATTERN_MEANINGS
from sky_melange.workload_file.nodes import (
    KeyPath,
    MappingNode,
    ScalarNode,
    SequenceNode,
    Unreadable,
    YamlDocument,
    YamlNode,
    plain_decimal,
)
from sky_melange.workload_file.report import MAX_MISTAKES, key_path, quote
from sky_melange.workload_file.schema_lookup import example_of, flow, meant_key, valid_keys
from sky_melange.workload_file.understood import units_hint

_BOUNDS: Final = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}

_SECRETS: Final = ("launch", "secrets")

_WITH_UNIT: Final = re.compile(r"\D?\s?\d[\d.]*\s?\D{1,12}|\D\s?\d[\d.]*", re.ASCII)
_HINT_FOR_UNITS: Final = "; write its digits alone, without a unit"

_WANTED: Final = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}

_RULES: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than": lambda limits: f"must be greater than {limits['gt']:,.9g}",
    "greater_than_equal": lambda limits: f"must be at least {limits['ge']:,.9g}",
    "less_than": lambda limits: f"must be less than {limits['lt']:,.9g}",
    "less_than_equal": lambda limits: f"must be at most {limits['le']:,.9g}",
    "finite_number": lambda _: "must be a finite number",
    "string_pattern_mismatch": lambda limits: PATTERN_MEANINGS[limits["pattern"]],
    "string_too_long": lambda limits: f"must be at most {limits['max_length']} characters long",
    "too_short": lambda _: "must not be empty: write an entry, or remove the key",
    "too_long": lambda limits: f"must have at most {limits['max_length']} entries",
}

_EITHER: Final[dict[KeyPath, str]] = {
    ("slo", "attainment"): "a share of the requests above 0 and below 1, such as 0.99, or mean",
    ("traffic", "arrivals"): "poisson, trace, or `{cv: 2}` with a number from 0 to 100",
    ("traffic", "hours"): "a list of 24 or 168 rates, or a mapping such as `{file: hours.csv}`",
}
"""Keys whose values are of several kinds: pydantic says of each kind why it is not that."""

_DTYPE: Final = ("model", "dtype")
"""One of some names, or a list of them: what is wrong is told of the kind that stands there."""

_SECTIONS: Final[Mapping[KeyPath, tuple[type, ...]]] = {
    ("traffic", "arrivals"): (MappingNode,),
    ("traffic", "hours"): (MappingNode, SequenceNode),
}
"""Those of them that may be mappings or lists: what is wrong inside one is reported for its keys or items."""

_KEY_MARKER: Final = "[key]"
"""What pydantic appends to the location when the key of a mapping is wrong, not its value."""

_REPORTED_ELSEWHERE: Final = ""
_NO_VARIABLE_NAME: Final = (
    "must be the name of an environment variable such as HF_TOKEN (what stands here is not shown)"
)
_VERSION: Final = ("version",)


def schema_mistakes(error: ValidationError, document: YamlDocument) -> Iterator[Mistake]:
    """The mistakes in a validation error, by line, without those that other modules report.

    At most one more than are ever shown: wording thousands of them would take seconds.
    """
    found = sorted(error.errors(include_url=False), key=lambda details: document.line_of(details["loc"]))
    either: set[KeyPath] = set()
    mistyped = {
        (*loc[:-1], meant_key(str(loc[-1]), loc[:-1]))
        for loc in (details["loc"] for details in found if details["type"] == "extra_forbidden")
    }
    for details in found[: MAX_MISTAKES + 1]:
        loc = details["loc"]
        if details["type"] == "missing" and loc in mistyped:
            continue
        if loc[:2] == _DTYPE:
            if str(loc[2]).startswith("tuple") != isinstance(document.find(_DTYPE), SequenceNode):
                continue
            loc = loc[:2] + loc[3:]
        if loc[:2] in _EITHER:
            if not _is_inside(loc, document):
                either.add(loc[:2])
                continue
            # pydantic names the kind of value after the key.
            loc = loc[:2] + loc[3:]
        is_key = loc[-1] == _KEY_MARKER
        path = loc[:-1] if is_key else loc
        message = _about_key(details, path) if is_key else _about_value(details, path, document.find(path))
        if message != _REPORTED_ELSEWHERE:
            yield Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)
    for path in sorted(either, key=str):
        node = document.find(path)
        if node is None or isinstance(node, _SECTIONS.get(path, ())):
            continue
        percent = _percent(node) if path == ("slo", "attainment") else ""
        message = problem_of(node) or f"want {_EITHER[path]}, found {found_text(node, path)}{percent}"
        yield Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)


def problem_of(node: YamlNode) -> str | None:
    """Why YAML itself gives no value for this node ("" when that was reported already); None when it gives one."""
    return node.value.problem if isinstance(node, ScalarNode) and isinstance(node.value, Unreadable) else None


def found_text(node: YamlNode, path: KeyPath) -> str:
    """`the number -3`, `a list` …"""
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    if _is_secret(path):
        return "something else (not shown here, in case it is the secret itself)"
    if isinstance(node.value, bool):
        return f"{quote(node.text)}, which YAML reads as {str(node.value).lower()}"
    return f"the text {quote(node.text)}" if isinstance(node.value, str) else f"the number {node.text}"


def hint_for_number(node: YamlNode, *, is_whole: bool) -> str:
    """`; write 1000 without quotes`, where a number was wanted and something like one stands."""
    if not isinstance(node, ScalarNode) or isinstance(node.value, bool):
        return ""
    decimal = plain_decimal(node.text)
    if decimal is None:
        return _HINT_FOR_UNITS if isinstance(node.value, str) and _WITH_UNIT.fullmatch(node.text) else ""
    figure = decimal.rstrip("0").rstrip(".") if "." in decimal else decimal
    return "" if is_whole and "." in figure else f"; write {figure}" + (" without quotes" if node.quoted else "")


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


def _is_inside(loc: KeyPath, document: YamlDocument) -> bool:
    """Whether this is about a key or item of what may stand there, and does."""
    return len(loc) > 3 and isinstance(document.find(loc[:2]), _SECTIONS.get(loc[:2], ()))


def _percent(node: YamlNode) -> str:
    value = node.value if isinstance(node, ScalarNode) else None
    percentile = re.fullmatch(r"p([1-9][0-9])", value) if isinstance(value, str) else None
    if percentile is not None:
        return f"; write {int(percentile[1]) / 100:g}"
    if value == 1 and not isinstance(value, bool):
        return "; write 0.999 for 999 requests in 1,000"
    if isinstance(value, bool) or not isinstance(value, int | float) or not 2 <= value < 100:
        return ""
    return f"; for {value:g} percent write {value / 100:.6g}"


def rule_text(details: ErrorDetails) -> str:
    """What a value must be, without what stands there."""
    kind = details["type"]
    if kind in {"enum", "literal_error"}:
        return f"must be one of {details['ctx']['expected']}"
    return f"want {_WANTED[kind]}" if kind in _WANTED else _RULES[kind](details.get("ctx", {}))


def _about_key(details: ErrorDetails, path: KeyPath) -> str:
    return f"{_RULES[details['type']](details['ctx'])}, found the key {quote(str(path[-1]))}"


def _about_value(details: ErrorDetails, path: KeyPath, node: YamlNode | None) -> str:
    kind = details["type"]
    if kind == "missing" or node is None:
        return f"is missing; write for example `{path[-1]}: {flow(example_of(path))}`"
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), path[:-1])
    problem = problem_of(node)
    if problem is not None:
        return _NO_VARIABLE_NAME if problem and _is_secret(path) else problem
    return _REPORTED_ELSEWHERE if path == _VERSION else _about_unfit_value(details, path, node)


def _about_unfit_value(details: ErrorDetails, path: KeyPath, node: YamlNode) -> str:
    kind = details["type"]
    if kind in {"enum", "literal_error"}:
        return _not_a_choice(details["ctx"]["expected"], node, path)
    if kind in _WANTED:
        wanted = f"want {_WANTED[kind]} such as `{flow(example_of(path))}`, found {found_text(node, path)}"
        return wanted + _hint(kind, node, path)
    if kind == "too_short" and isinstance(node, SequenceNode) and node.items:
        # pydantic counts only the items that fit, and each of the others has its own mistake.
        return _REPORTED_ELSEWHERE
    limits = details.get("ctx", {})
    is_share = 1 in (limits.get("lt"), limits.get("le")) and not _is_secret(path)
    return (
        _RULES[kind](limits) + _found_beside_rule(node, path) + (_percent(node) if is_share else _example(kind, path))
    )


def _example(kind: str, path: KeyPath) -> str:
    return f"; write for example {flow(example_of(path))}" if kind.startswith("greater_than") else ""


def _found_beside_rule(node: YamlNode, path: KeyPath) -> str:
    # A list that is too short or too long says so itself; a value in place of a secret's name is never repeated.
    if not isinstance(node, ScalarNode):
        return ""
    if _is_secret(path):
        return ", not its value (what stands here is not shown)"
    return f", found {found_text(node, path)}" + _name_hint(node, path)


def _name_hint(node: ScalarNode, path: KeyPath) -> str:
    if path == ("model", "id"):
        model = re.fullmatch(r"https?://huggingface\.co/([^/\s]{1,100}/[^/\s]{1,100}).*", node.text)
        return "" if model is None else f"; write {model[1]}"
    if path != ("name",):
        return ""
    suggestion = re.sub(r"[^a-z0-9]+", "-", node.text.lower()[:80]).lstrip("-0123456789")[:40].strip("-")
    return f"; write for example `name: {suggestion or 'chat'}`"


def _hint(kind: str, node: YamlNode, path: KeyPath) -> str:
    if kind == "string_type":
        return _hint_for_text(node, path)
    if kind in {"int_type", "float_type"}:
        return units_hint(node, path) or hint_for_number(node, is_whole=kind == "int_type")
    example = example_of(path)
    is_plain = isinstance(example, list) and not any(isinstance(item, list) for item in example)
    return _hint_for_list(node, path) if kind == "tuple_type" and is_plain else ""


def _not_a_choice(expected: str, node: YamlNode, path: KeyPath) -> str:
    choices = re.findall(r"'([^']*)'", expected)
    wanted = "must be " + (choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}")
    # fp32 is not a mistyped fp8.
    digits = re.sub(r"\D", "", node.text) if isinstance(node, ScalarNode) else ""
    alike = [choice for choice in choices if not digits or re.sub(r"\D", "", choice) == digits]
    suggestion = nearest(node.text, alike) if isinstance(node, ScalarNode) and len(choices) > 1 else None
    return f"{wanted}, found {found_text(node, path)}" + (f"; did you mean {suggestion!r}?" if suggestion else "")


def _unknown_key(key: str, section: KeyPath) -> str:
    meant = meant_key(key, section)
    if meant is not None:
        return f"unknown key{' here' if '.' in meant else ''}; did you mean '{meant}'?"
    return f"unknown key; valid keys here: {listed(valid_keys(section))}"


def _is_secret(path: KeyPath) -> bool:
    """Whether a secret's value may have been written at a path, so that no message (no CI log) may show it."""
    return path[:2] == _SECRETS


def _hint_for_text(node: YamlNode, path: KeyPath) -> str:
    """`; put it in quotes: '256'`, where text was wanted."""
    return f"; put it in quotes: {quote(node.text)}" if isinstance(node, ScalarNode) and not _is_secret(path) else ""


def _hint_for_list(node: YamlNode, path: KeyPath) -> str:
    """`; write [aws, gcp]`, where a list was wanted and its items stand."""
    if not isinstance(node, ScalarNode) or _is_secret(path) or len(node.text) > 60:
        return ""
    if node.text.casefold() in {"all", "any"}:
        return "; write all" if path == ("candidates", "clouds") else "; leave out the key for all of them"
    return f"; write [{', '.join(part.strip() for part in node.text.split(','))}]"


def _message(details: ErrorDetails, path: KeyPath, node: YamlNode | None, root: type[BaseModel]) -> str:
    kind = details["type"]
    if details["loc"][-1] == _KEY_MARKER:
        meaning = PATTERN_MEANINGS.get(details.get("ctx", {}).get("pattern", ""), "")
        is_name = not meaning or "one line" in meaning
        wanted = "a name must be one line of 1 to 200 characters" if is_name else meaning
        return f"{wanted}, found the key {quote(str(path[-1]))}"
    if kind == "missing" or node is None:
        return f"is missing; write for example `{path[-1]}: {flow(_example_of(path, root))}`"
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
    return _bound(kind, limits) or f"want for example `{flow(_example_of(path, root))}`"


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


def _example_of(path: KeyPath, root: type[BaseModel]) -> object:
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
