"""YAML text -> a tree of nodes.

Built from PyYAML's events, never from its constructors: no object is ever made on behalf of the file, nesting is
bounded without recursion, and aliases are refused, so that no file expands to more than its own size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import yaml

from sky_melange.errors import Mistake
from sky_melange.untrusted import INVISIBLE, invisible_fault
from sky_melange.workload_file.nodes import (
    MappingNode,
    ScalarNode,
    ScalarValue,
    SequenceNode,
    Unreadable,
    YamlDocument,
    YamlNode,
    plain_scalar,
)
from sky_melange.workload_file.report import input_error, quote

MAX_DEPTH: Final = 20
MAX_NODES: Final = 100_000
"""A histogram of 200 x 200 buckets has 40,000."""

_LOADER: Final[type[yaml.SafeLoader | yaml.CSafeLoader]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NOT_PRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ALREADY_REPORTED: Final = Unreadable(problem="")


def parse_yaml(text: str, *, source: str) -> YamlDocument:
    """Read one YAML document.

    Raises:
        InputError: the text is no YAML, holds control characters, is nested too deeply or too large, or is not one
            mapping; with everything else that was found up to there.

    """
    unprintable = _NOT_PRINTABLE.search(text)
    if unprintable is not None:
        message = f"holds the control character U+{ord(unprintable.group()):04X}; remove it"
        line = text.count("\n", 0, unprintable.start()) + 1
        raise input_error([Mistake(source=source, line=line, message=message)])
    invisible = INVISIBLE.search(text)
    if invisible is not None:
        line = text.count("\n", 0, invisible.start()) + 1
        raise input_error([Mistake(source=source, line=line, message=invisible_fault(text))])
    builder = _TreeBuilder(source)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
            if builder.is_stopped:
                break
    except yaml.YAMLError as error:
        builder.report(_line_of_error(error, text), _describe_error(error, text))
        builder.is_stopped = True
    except (ValueError, OverflowError):
        # PyYAML's own (not libyaml's) scanner passes an impossible "\UFFFFFFFF" on to chr().
        builder.report(1, "is not valid YAML: an escape such as \\U names no character")
        builder.is_stopped = True
    return builder.finish()


_MENDS: Final = {
    "mapping values are not allowed": "; write `key: value` with a colon and a space, also on the line above",
    "expected ',' or ']'": "; close the bracket `[` with `]`",
    "expected ',' or '}'": "; close the brace `{` with `}`",
    "expected key": "; the keys of a section begin in the same column",
    "expected <block end>": "; the keys of a section begin in the same column",
}
"""Words that both of PyYAML's scanners use -> what to write."""


def _line_of_error(error: yaml.YAMLError, text: str) -> int:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    # libyaml puts some problems on the line after the last one.
    return min(mark.line + 1, max(1, len(text.splitlines()))) if mark is not None else 1


def _describe_error(error: yaml.YAMLError, text: str) -> str:
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    context = getattr(error, "context", None)
    hint = "; indent with spaces, not with tabs" if _is_at_a_tab(error, text) else ""
    hint = hint or next((mend for words, mend in _MENDS.items() if words in str(problem)), "")
    return f"is not valid YAML: {problem}" + (f" ({context})" if context else "") + hint


def _is_at_a_tab(error: yaml.YAMLError, text: str) -> bool:
    """By the place of the error: its words are PyYAML's, and differ between its releases and its two scanners."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return False
    line = text.split("\n")[mark.line : mark.line + 1]
    return "".join(line)[mark.column : mark.column + 1] == "\t"


@dataclass(slots=True, kw_only=True)
class _OpenNode:
    """A list or mapping whose end has not been seen. `key` is that of the next value of a mapping."""

    node: SequenceNode | MappingNode
    key: ScalarNode | None = None
    awaits_value: bool = False


class _TreeBuilder:
    """Takes events one by one; keeps going after mistakes that leave the rest of the file readable."""

    def __init__(self, source: str) -> None:
        self.is_stopped = False
        self._source = source
        self._mistakes: dict[tuple[int, str], Mistake] = {}
        self._open: list[_OpenNode] = []
        self._root: YamlNode | None = None
        self._nodes = 0
        self._documents = 0

    def report(self, line: int, message: str) -> None:
        """Record a mistake, once a line: a line full of aliases is one mistake."""
        self._mistakes.setdefault((line, message), Mistake(source=self._source, line=line, message=message))

    def finish(self) -> YamlDocument:
        """The document, or an InputError."""
        if not self.is_stopped:
            if self._root is None or (isinstance(self._root, ScalarNode) and self._root.text == ""):
                self.report(1, "is empty; a workload starts with `version: 1`")
            elif not isinstance(self._root, MappingNode):
                kind = "a list" if isinstance(self._root, SequenceNode) else "a single value"
                self.report(self._root.line, f"want a mapping of keys such as `version: 1`, found {kind}")
        mistakes = tuple(self._mistakes.values())
        if self.is_stopped or not isinstance(self._root, MappingNode):
            raise input_error(mistakes)
        return YamlDocument(source=self._source, root=self._root, mistakes=mistakes)

    def take(self, event: yaml.Event) -> None:
        """Handle the next event."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._stop(event, "a second YAML document starts here (`---`); put each workload in its own file")
        elif isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
            self._attach(self._open.pop().node)
        elif isinstance(event, yaml.NodeEvent):
            self._take_node(event)

    def _take_node(self, event: yaml.NodeEvent) -> None:
        line = _line(event)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(event, f"holds more than {MAX_NODES} values, the most that is read")
            return
        if isinstance(event, yaml.AliasEvent):
            self.report(line, "aliases (`*name`) are not supported: write the value out")
            self._attach(ScalarNode(line=line, text=f"*{event.anchor}", value=_ALREADY_REPORTED))
            return
        if event.anchor is not None:
            self.report(line, "anchors (`&name`) are not supported: remove it")
        tag = getattr(event, "tag", None)
        if tag is not None:
            self.report(line, f"tags (here {quote(tag)}) are not supported: write the value without one")
        if isinstance(event, yaml.ScalarEvent):
            fault = invisible_fault(event.value)
            if fault:
                self.report(line, f"{fault} (it is written as an escape)")
            self._attach(_scalar_node(event, line))
        elif len(self._open) >= MAX_DEPTH:
            self._stop(event, f"is nested more than {MAX_DEPTH} levels deep")
        else:
            is_list = isinstance(event, yaml.SequenceStartEvent)
            self._open.append(_OpenNode(node=SequenceNode(line=line) if is_list else MappingNode(line=line)))

    def _attach(self, node: YamlNode) -> None:
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if isinstance(parent.node, SequenceNode):
            parent.node.items.append(node)
        elif parent.awaits_value:
            if parent.key is not None:
                parent.node.entries[parent.key.text] = node
                parent.node.key_lines[parent.key.text] = parent.key.line
            parent.awaits_value = False
        else:
            parent.key = self._checked_key(node, parent.node)
            parent.awaits_value = True

    def _checked_key(self, node: YamlNode, mapping: MappingNode) -> ScalarNode | None:
        if not isinstance(node, ScalarNode):
            self.report(node.line, "a key must be a word, found a list or a mapping; check the brackets and braces")
        elif node.value is _ALREADY_REPORTED:
            pass
        elif node.text == "<<" and not node.quoted:
            self.report(node.line, "merge keys (`<<`) are not supported: write the values out")
        elif node.text in mapping.entries:
            first = mapping.key_lines[node.text]
            self.report(node.line, f"the key {quote(node.text)} is repeated, first on line {first}; keep one of them")
        else:
            return node
        return None

    def _stop(self, event: yaml.Event, message: str) -> None:
        self.report(_line(event), message)
        self.is_stopped = True


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 1


def _scalar_node(event: yaml.ScalarEvent, line: int) -> ScalarNode:
    # Unquoted is None from PyYAML's own parser and "" from libyaml's.
    quoted = bool(event.style)
    value: ScalarValue = _ALREADY_REPORTED
    if event.tag is None:
        value = event.value if quoted else plain_scalar(event.value)
    return ScalarNode(line=line, text=event.value, value=value, quoted=quoted)
