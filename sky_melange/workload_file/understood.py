"""What a value means that is not spelled as the schema has it. It is read where only one meaning is possible.

`500ms`, `"40"`, `2e6`, `99%`, `h100`, `bf16`, `amazon` are read. `1,000`, `4_29`, `16k` and `5m` each mean two things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.domain.spelling import accelerator_name, cloud_name, did_you_mean, same_letters
from sky_melange.workload_file.field_types import WORD
from sky_melange.workload_file.nodes import (
    KeyPath,
    MappingNode,
    ScalarNode,
    SequenceNode,
    YamlDocument,
    YamlNode,
    plain_decimal,
)
from sky_melange.workload_file.report import Reading, key_path
from sky_melange.workload_file.schema_lookup import field_at

_DIGITS: Final = r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,2})?"
_SECONDS: Final = {"ms": "0.001", "s": "1", "min": "60", "h": "3600", "d": "86400"}
_UNIT_OF_KEY: Final = {"ms": "0.001", "s": "1", "minutes": "60", "hours": "3600"}
"""Last word of a key -> the seconds in its unit."""

SHARES: Final = frozenset(
    {
        "max_spot_fraction",
        *("attainment", "confidence", "fraction", "max_cloud_share", "max_region_share", "max_spot_share"),
        "share",
        *("max_utilization", "mip_gap", "prefix_hit_fraction", "size_bias", "size_error"),
        "min_running_fraction",
    }
)
"""Keys of fractions, which may be written in percent."""

WORDS: Final = {"bf16": "bfloat16", "fp16": "float16", "half": "float16"}
"""Other words for a choice."""

_WHOLE_BELOW: Final = 10**15


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownNames:
    """The names that exist; None where the caller does not want them checked. Regions by cloud, when they matter."""

    accelerators: Collection[str] | None = None
    clouds: Collection[str] | None = None
    models: Collection[str] | None = None
    presets: Collection[str] | None = None
    regions: Callable[[str], Collection[str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """What stands where in a file. Paths have list items by their places."""

    keys: Callable[[KeyPath], str]
    """Of the mapping at a path, what its keys name: `cloud`, `accelerator`, `region`, `place`; "" where nothing."""
    values: Callable[[KeyPath], str]
    """The same of the value at a path."""
    types: Callable[[KeyPath], frozenset[Any]]
    """The types and the texts of choices of the value at a path."""


def understood(
    document: YamlDocument, known: KnownNames, grammar: Grammar | None = None
) -> tuple[YamlDocument, tuple[Reading, ...]]:
    """The document as the schema has it, and what was read otherwise than it is spelled.

    `grammar` is that of the file; None: of workload.yaml.
    """
    reader = _Reader(document.source, known, grammar or _WORKLOAD)
    root = reader.mapping(document.root, ())
    return replace(document, root=root), tuple(reader.readings)


def text_pattern(key: str, *, is_whole: bool) -> str:
    """The texts that are read as numbers where `key` stands, for the JSON Schema, which cannot state their ranges."""
    digits = r"[-+]?(0|[1-9][0-9]*)([eE][+]?[0-9]{1,2})?" if is_whole else _DIGITS
    units = _units(key)
    unit = f" ?({'|'.join(units)})" if units else ""
    return f"^{digits}({unit})?$" if unit else f"^{digits}$"


def choice_pattern(choices: Iterable[str]) -> str:
    """The texts that are read as one of `choices`."""
    words = [*choices]
    words += [word for word, meant in WORDS.items() if meant in words]
    spelled = (
        "".join(f"[{c}{c.upper()}]" if c.isalpha() else "[-_]" if c == "_" else c for c in word) for word in words
    )
    return f"^({'|'.join(spelled)})$"


def _units(key: str) -> tuple[str, ...]:
    if key in SHARES:
        return ("%",)
    return tuple(_SECONDS) if key.rpartition("_")[2] in _UNIT_OF_KEY and "_per_" not in key else ()


def units_hint(node: YamlNode, path: KeyPath) -> str:
    """`; units are ms, s …`, where a text stands in place of a quantity of time."""
    units = _units(str(path[-1]))
    is_text = isinstance(node, ScalarNode) and isinstance(node.value, str) and plain_decimal(node.text) is None
    return f"; units are {', '.join(units[:-1])} and {units[-1]}" if is_text and len(units) > 1 else ""


class _Reader:
    def __init__(self, source: str, known: KnownNames, grammar: Grammar) -> None:
        self.readings: list[Reading] = []
        self._source = source
        self._known = known
        self._grammar = grammar

    def mapping(self, node: MappingNode, path: KeyPath) -> MappingNode:
        entries: dict[str, YamlNode] = {}
        lines: dict[str, int] = {}
        for key, child in node.entries.items():
            line, kind = node.key_lines[key], self._grammar.keys(path)
            name = self._name(key, kind, path)
            if name is None or name in node.entries or name in entries:
                name = key
            elif name != key:
                self._note(line, (*path, key), key, name)
            if kind == "place":
                self._doubt_region(line, (*path, name), *name.partition("/")[::2])
            entries[name], lines[name] = self._node(child, (*path, name)), line
        return replace(node, entries=entries, key_lines=lines)

    def _node(self, node: YamlNode, path: KeyPath) -> YamlNode:
        if isinstance(node, MappingNode):
            return self.mapping(node, path)
        if isinstance(node, SequenceNode):
            return replace(node, items=[self._node(item, (*path, place)) for place, item in enumerate(node.items)])
        if not isinstance(node.value, str):
            return node
        kind = self._grammar.values(path)
        value = self._name(node.value, kind, path) or self._literal(node.value, path)
        if kind == "region":
            self._doubt_region(node.line, path, str(path[-2]), node.value if value is None else str(value))
        if value is None or (value == node.value and isinstance(value, str)):
            return node
        self._note(node.line, path, node.text, value)
        return ScalarNode(line=node.line, text=node.text, value=value)

    def _literal(self, text: str, path: KeyPath) -> str | float | None:
        return None if len(text) > 64 else _literal(text, path, self._grammar.types(path))

    def _name(self, text: str, kind: str, path: KeyPath) -> str | None:
        if kind == "accelerator":
            known = self._known.accelerators
            return None if known is None else accelerator_name(text, known)
        if kind == "cloud":
            return self._cloud(text, self._known.clouds)
        if kind == "place":
            cloud, slash, region = text.partition("/")
            known = None if self._known.clouds is None else (*self._known.clouds, *OWN_CLOUDS)
            cloud = self._cloud(cloud, known) or cloud
            return cloud + slash + (self._region(region, cloud) if region else "")
        return self._region(text, str(path[-2])) if kind == "region" else None

    @staticmethod
    def _cloud(text: str, known: Collection[str] | None) -> str | None:
        return None if known is None or not re.fullmatch(WORD, text) else cloud_name(text, known)

    def _region(self, text: str, cloud: str) -> str:
        regions = self._known.regions
        return (same_letters(text, regions(cloud)) if regions is not None else None) or text

    def _doubt_region(self, line: int, path: KeyPath, cloud: str, region: str) -> None:
        """A region that nothing is sold in is not refused: clouds open new ones."""
        regions = self._known.regions(cloud) if self._known.regions is not None and region else ()
        if regions and region not in regions:
            meant = did_you_mean(region, sorted(regions), f"regions of {cloud}")
            doubt = f"is not a region of {cloud} that this release has prices of, so nothing may fit it{meant}"
            reading = Reading(
                source=self._source, line=line, key=key_path(path), text=region, value=region, doubt=doubt
            )
            self.readings.append(reading)

    def _note(self, line: int, path: KeyPath, text: str, value: str | float) -> None:
        self.readings.append(Reading(source=self._source, line=line, key=key_path(path), text=text, value=value))


def _kind_of_keys(path: KeyPath) -> str:
    if path == ("candidates", "regions"):
        return "cloud"
    if path[:2] == ("constraints", "max_accelerators_in"):
        return "place" if len(path) == 2 else "accelerator"
    return "accelerator" if path == ("constraints", "max_accelerators") else ""


def _kind_of_value(path: KeyPath) -> str:
    if path[:2] == ("candidates", "regions") and len(path) == 4:
        return "region"
    if path[:2] in {("candidates", "clouds"), ("prices", "require_clouds")} and len(path) == 3:
        return "cloud"
    if path[:2] == ("candidates", "accelerators") and len(path) == 3:
        return "accelerator"
    if path[:2] == ("candidates", "own") and path[3:] == ("accelerator",):
        return "accelerator"
    of_discount = path[:2] == ("prices", "discounts") and len(path) == 4
    return str(path[3]) if of_discount and path[3] in {"cloud", "accelerator"} else ""


def _literal(text: str, path: KeyPath, kinds: frozenset[Any]) -> str | float | None:
    """The number or the choice that a text means at a path; None where it is a text, or means nothing there."""
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if int in kinds or float in kinds:
        number = _number(text, key)
        whole = number is not None and number == number.to_integral_value() and abs(number) < _WHOLE_BELOW
        if number is not None and (float in kinds or (whole and _is_whole(text))):
            return int(number) if whole else float(number)
    folded = text.casefold().replace("-", "_")
    folded = WORDS.get(folded, folded)
    return folded if folded in kinds else None


def _is_whole(text: str) -> bool:
    return "." not in text and "e-" not in text.casefold()


def _kinds_at(path: KeyPath) -> frozenset[Any]:
    return _kinds_of_key(tuple(0 if isinstance(part, int) else part for part in path))


@cache
def _kinds_of_key(path: KeyPath) -> frozenset[Any]:
    return frozenset(scalar_types(*field_at(path)))


def _number(text: str, key: str) -> Decimal | None:
    found = re.fullmatch(rf"(?P<digits>{_DIGITS})( ?(?P<unit>[a-z]+|%))?", text, re.ASCII)
    if found is None:
        return None
    number, unit = Decimal(found["digits"]), found["unit"]
    if unit is None:
        return number
    if unit not in _units(key):
        return None
    return (
        number / 100
        if unit == "%"
        else number * Decimal(_SECONDS[unit]) / Decimal(_UNIT_OF_KEY[key.rpartition("_")[2]])
    )


def scalar_types(annotation: Any, rest: KeyPath = ()) -> Iterable[Any]:
    """The types, and the texts of choices, that an annotation allows for its item at `rest`."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from scalar_types(inner[0], rest)
    elif origin is Literal:
        yield from inner if not rest else ()
    elif origin in {tuple, dict}:
        if rest and isinstance(rest[0], int) is (origin is tuple):
            yield from scalar_types(inner[0 if origin is tuple else 1], rest[1:])
    elif inner:
        for each in inner:
            yield from scalar_types(each, rest)
    elif not rest and isinstance(annotation, type):
        yield from (each.value for each in annotation) if issubclass(annotation, Enum) else (annotation,)


_WORKLOAD: Final = Grammar(keys=_kind_of_keys, values=_kind_of_value, types=_kinds_at)
