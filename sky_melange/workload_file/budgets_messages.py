"""What pydantic found in budgets.yaml -> mistakes in words, with their lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sky_melange.errors import Mistake
from sky_melange.workload_file.budgets import READ_VERSION
from sky_melange.workload_file.budgets_schema import SCOPES, BudgetsFile, LimitSection
from sky_melange.workload_file.found import found_text, hint_for_number, problem_of
from sky_melange.workload_file.nearest import did_you_mean
from sky_melange.workload_file.nodes import KeyPath, YamlDocument, YamlNode
from sky_melange.workload_file.report import MAX_MISTAKES, key_path, quote
from sky_melange.workload_file.schema_lookup import flow

_KEY_MARKER: Final = "[key]"
_BOUNDS: Final = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}


def budgets_mistakes(error: ValidationError, document: YamlDocument) -> Iterator[Mistake]:
    """The mistakes in a validation error; at most one more than are ever shown."""
    found = sorted(error.errors(include_url=False), key=lambda details: document.line_of(details["loc"]))
    for details in found[: MAX_MISTAKES + 1]:
        path = details["loc"][:-1] if details["loc"][-1] == _KEY_MARKER else details["loc"]
        message = _message(details, path, document.find(path))
        if message:
            yield Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)


def _message(details: ErrorDetails, path: KeyPath, node: YamlNode | None) -> str:
    kind = details["type"]
    if details["loc"][-1] == _KEY_MARKER:
        return f"a name must be one line of 1 to 200 characters, found the key {quote(str(path[-1]))}"
    if kind == "missing" or node is None:
        return f"is missing; write for example `{path[-1]}: {flow(_example(path))}`"
    if kind == "extra_forbidden":
        keys = tuple((LimitSection if len(path) == len((*SCOPES[:1], "name", "key")) else BudgetsFile).model_fields)
        return f"unknown key{did_you_mean(str(path[-1]), keys, 'valid keys here')}"
    problem = problem_of(node)
    if problem is not None:
        return problem
    return f"{_wanted(details, path)}, found {found_text(node, path)}" + (
        hint_for_number(node, is_whole=False) if kind == "float_type" else ""
    )


def _wanted(details: ErrorDetails, path: KeyPath) -> str:
    kind, limits = details["type"], details.get("ctx", {})
    if path == ("version",):
        return f"this release reads version {READ_VERSION}"
    if kind in {"enum", "literal_error"}:
        choices = re.findall("'([^']*)'", limits["expected"])
        return f"must be one of {', '.join(choices)}"
    bound = _bound(kind, limits)
    return bound or f"want for example `{flow(_example(path))}`"


def _bound(kind: str, limits: dict[str, Any]) -> str:
    bounds = {
        "greater_than": ("above", "gt"),
        "greater_than_equal": ("at least", "ge"),
        "less_than_equal": ("at most", "le"),
    }
    if kind in bounds:
        word, key = bounds[kind]
        return f"must be {word} {limits[key]:,.9g}"
    return "must be a finite number" if kind == "finite_number" else ""


def _example(path: KeyPath) -> object:
    """An example of what may stand at a path."""
    if len(path) == 2:
        return {"usd_per_hour": 20}
    fields = BudgetsFile.model_fields if len(path) == 1 else LimitSection.model_fields
    field = fields.get(str(path[-1]))
    return field.examples[0] if field is not None and field.examples else "a value"
