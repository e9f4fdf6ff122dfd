"""A YAML file as a tree of nodes that know the line they stand on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from sky_melange.errors import Mistake
from sky_melange.workload_file.scalars import ScalarValue

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


def _child(node: YamlNode | None, part: str | int) -> YamlNode | None:
    if isinstance(node, MappingNode) and isinstance(part, str):
        return node.entries.get(part)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.items):
        return node.items[part]
    return None
