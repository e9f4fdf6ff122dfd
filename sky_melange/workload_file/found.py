"""What stands in the file, in words, and how to write what was probably meant."""

from __future__ import annotations

import re
from typing import Final

from sky_melange.workload_file.nodes import KeyPath, MappingNode, ScalarNode, SequenceNode, YamlNode
from sky_melange.workload_file.report import quote
from sky_melange.workload_file.scalars import Unreadable, plain_decimal

_SECRETS: Final = ("launch", "secrets")


_WITH_UNIT: Final = re.compile(r"\D?\s?\d[\d.]*\s?\D{1,12}|\D\s?\d[\d.]*", re.ASCII)
_HINT_FOR_UNITS: Final = "; write its digits alone, without a unit"


def is_secret(path: KeyPath) -> bool:
    """Whether a secret's value may have been written at a path, so that no message (no CI log) may show it."""
    return path[:2] == _SECRETS


def problem_of(node: YamlNode) -> str | None:
    """Why YAML itself gives no value for this node ("" when that was reported already); None when it gives one."""
    return node.value.problem if isinstance(node, ScalarNode) and isinstance(node.value, Unreadable) else None


def found_text(node: YamlNode, path: KeyPath) -> str:
    """`the number -3`, `a list` …"""
    if isinstance(node, SequenceNode):
        return "a list"
    if isinstance(node, MappingNode):
        return "a mapping"
    if is_secret(path):
        return "something else (not shown here, in case it is the secret itself)"
    if isinstance(node.value, bool):
        return f"{quote(node.text)}, which YAML reads as {str(node.value).lower()}"
    return f"the text {quote(node.text)}" if isinstance(node.value, str) else f"the number {node.text}"


def hint_for_text(node: YamlNode, path: KeyPath) -> str:
    """`; put it in quotes: '256'`, where text was wanted."""
    return f"; put it in quotes: {quote(node.text)}" if isinstance(node, ScalarNode) and not is_secret(path) else ""


def hint_for_list(node: YamlNode, path: KeyPath) -> str:
    """`; write [aws, gcp]`, where a list was wanted and its items stand."""
    if not isinstance(node, ScalarNode) or is_secret(path) or len(node.text) > 60:
        return ""
    if node.text.casefold() in {"all", "any"}:
        return "; write all" if path == ("candidates", "clouds") else "; leave out the key for all of them"
    return f"; write [{', '.join(part.strip() for part in node.text.split(','))}]"


def hint_for_number(node: YamlNode, *, is_whole: bool) -> str:
    """`; write 1000 without quotes`, where a number was wanted and something like one stands."""
    if not isinstance(node, ScalarNode) or isinstance(node.value, bool):
        return ""
    decimal = plain_decimal(node.text)
    if decimal is None:
        return _HINT_FOR_UNITS if isinstance(node.value, str) and _WITH_UNIT.fullmatch(node.text) else ""
    figure = decimal.rstrip("0").rstrip(".") if "." in decimal else decimal
    return "" if is_whole and "." in figure else f"; write {figure}" + (" without quotes" if node.quoted else "")
