"""A YAML file as a tree of nodes that know the line they stand on.

What one plain (unquoted) YAML scalar means, or why it should be written in another way.

YAML 1.1, which PyYAML and SkyPilot read, and YAML 1.2, which editors read, disagree about `010`, `1_000`, `1:30`
and `1e3`. Such spellings are refused, so that every tool sees the same number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final, TypeAlias

import yaml

from sky_melange.errors import Mistake

_TAG_PREFIX: Final = "tag:yaml.org,2002:"
_LONGEST_LITERAL: Final = 100
"""Longer plain text is never a number, date or boolean that anyone means."""

_DECIMAL_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)", re.ASCII)
_DECIMAL_FLOAT: Final = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+][0-9]+)?", re.ASCII)
_WRITTEN: Final = re.compile(r"[-+]?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)?(\.[0-9]*)?([eE][-+]?[0-9]+)?", re.ASCII)
"""`1,5` is 1.5 to some and nothing to others: commas count in groups of three digits alone."""

_TRUE_WORDS: Final = frozenset({"yes", "true", "on"})
_RESOLVER: Final = yaml.resolver.Resolver()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """Stands for a value that fits no type. `problem` is "" when the mistake has been reported already."""

    problem: str


ScalarValue: TypeAlias = bool | int | float | str | Unreadable

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys and list positions from the root: `("traffic", "histogram", "weights", 2)`."""

PlainValue: TypeAlias = "ScalarValue | list[PlainValue] | dict[str, PlainValue]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarNode:
    """A single value; `text` is how the file spells it."""

    line: int
    text: str
    value: ScalarValue
    quoted: bool = False

    def plain(self) -> PlainValue:
        """The value alone."""
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceNode:
    """A list."""

    line: int
    items: list[YamlNode] = field(default_factory=list)

    def plain(self) -> PlainValue:
        """The values alone, as a list."""
        return [item.plain() for item in self.items]


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingNode:
    """A mapping. Keys are always taken as the text that the file spells; `key_lines` has the line of each."""

    line: int
    entries: dict[str, YamlNode] = field(default_factory=dict)
    key_lines: dict[str, int] = field(default_factory=dict)

    def plain(self) -> PlainValue:
        """The values alone, as a dict."""
        return {key: node.plain() for key, node in self.entries.items()}


YamlNode: TypeAlias = ScalarNode | SequenceNode | MappingNode


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlDocument:
    """A file that is a mapping, and the mistakes found on the way that did not hinder reading the rest."""

    source: str
    root: MappingNode
    mistakes: tuple[Mistake, ...]

    def find(self, path: KeyPath) -> YamlNode | None:
        """The node at a path, or None."""
        node: YamlNode | None = self.root
        for part in path:
            node = _child(node, part)
        return node

    def line_of(self, path: KeyPath) -> int:
        """The line of the key or list item at a path, or of the deepest part of the path that exists."""
        node: YamlNode | None = self.root
        line = self.root.line
        for part in path:
            child = _child(node, part)
            if child is None:
                return line
            line = node.key_lines[str(part)] if isinstance(node, MappingNode) else child.line
            node = child
        return line


def plain_scalar(text: str) -> ScalarValue:
    """The value of an unquoted scalar."""
    if len(text) > _LONGEST_LITERAL:
        is_number = _DECIMAL_INTEGER.fullmatch(text) is not None
        return Unreadable(problem=f"a number of {len(text)} digits is not a quantity; check it") if is_number else text
    resolved: str = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    tag = resolved.removeprefix(_TAG_PREFIX)
    if tag == "bool":
        return text.lower() in _TRUE_WORDS
    if tag == "int":
        return int(text) if _DECIMAL_INTEGER.fullmatch(text) else _ambiguous(text)
    if tag == "float":
        return _float(text)
    return _unreadable(tag, text) or text


def plain_decimal(text: str) -> str | None:
    """The number that a person means by `text`, spelled so that every YAML reader sees it; None when it is none.

    `1e3` -> `1000`, `1,500` -> `1500`, `"0.5"` -> `0.5`.
    """
    if len(text) > _LONGEST_LITERAL or not _WRITTEN.fullmatch(text.strip()):
        return None
    try:
        number = Decimal(text.strip().replace(",", ""))
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > _LONGEST_LITERAL:
        return None
    return format(number, "f")


def _child(node: YamlNode | None, part: str | int) -> YamlNode | None:
    if isinstance(node, MappingNode) and isinstance(part, str):
        return node.entries.get(part)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None


def _unreadable(tag: str, text: str) -> Unreadable | None:
    if tag == "null":
        return Unreadable(problem="there is no value here: write one, or remove the key")
    if tag == "timestamp":
        return Unreadable(problem=f"YAML reads {text} as a date: put it in quotes if it is meant as text")
    return None


def _float(text: str) -> float | Unreadable:
    if text.lstrip("+-").lower() in {".inf", ".nan"}:
        return float(text.replace(".", "", 1))
    return float(text) if _DECIMAL_FLOAT.fullmatch(text) else _ambiguous(text)


def _ambiguous(text: str) -> Unreadable:
    return Unreadable(
        problem=f"not every YAML reader sees the same number in {text}: write it in plain decimal digits, "
        "or in quotes if it is meant as text"
    )
