"""JSON values -> frozen dataclasses, by the annotations of the dataclasses themselves.

A field that is added to `domain` and written by `render.plan_json` under its own name is read without a line here.
Keys that no field has are left alone: later releases of the same schema version may add some.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sky_melange.errors import Mistake

MAX_NUMBER: Final = 1e15
"""Beyond it sums of money lose cents; nothing in a plan is that large, or negative."""

MAX_MISTAKES: Final = 100

_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_PROSE: Final = re.compile(r"(^|\.)(notes?|assumptions|warnings)(\[\d+\])?$")


@functools.cache
def _fields(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    hints = typing.get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))


class Decoder:
    """Collects mistakes while decoding. What is wrong comes back as None: look at `mistakes` before using it."""

    def __init__(self, *, source: str) -> None:
        self.source = source
        self.mistakes: list[Mistake] = []

    def mistake(self, key: str, message: str) -> None:
        """Notes a mistake, up to a bound: a binary file has thousands."""
        if len(self.mistakes) < MAX_MISTAKES:
            self.mistakes.append(Mistake(source=self.source, key=key, message=message))

    def record(self, kind: Any, found: object, key: str, names: Mapping[str, str] | None = None) -> Any:
        """A dataclass from an object; `names` gives the JSON name of fields that have another there."""
        if not isinstance(found, dict):
            return self._wrong(key, "an object", found)
        before = len(self.mistakes)
        values: dict[str, Any] = {}
        for field, hint in _fields(kind):
            name = (names or {}).get(field.name, field.name)
            place = f"{key}.{name}" if key else name
            if name in found:
                values[field.name] = self.value(hint, found[name], place)
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                self.mistake(place, "is missing; plan again, or restore it from version control")
        return kind(**values) if len(self.mistakes) == before else None

    def value(self, hint: Any, found: object, key: str) -> Any:
        """A value of an annotated type."""
        origin = typing.get_origin(hint)
        arguments = typing.get_args(hint)
        if origin in (types.UnionType, typing.Union):
            (inner,) = (argument for argument in arguments if argument is not type(None))
            return None if found is None else self.value(inner, found, key)
        if origin is tuple:
            return self._sequence(arguments, found, key)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return self._mapping(arguments[1], found, key)
        if dataclasses.is_dataclass(hint):
            return self.record(typing.cast("type[Any]", hint), found, key)
        return self._scalar(hint, found, key)

    def _sequence(self, arguments: Sequence[Any], found: object, key: str) -> Any:
        item, *rest = arguments
        if rest != [Ellipsis]:
            if not isinstance(found, list) or len(found) != len(arguments):
                return self._wrong(key, f"a list of {len(arguments)}", found)
            return tuple(
                self.value(each, entry, f"{key}[{i}]")
                for i, (each, entry) in enumerate(zip(arguments, found, strict=True))
            )
        pair = typing.get_args(item) if typing.get_origin(item) is tuple else ()
        if len(pair) == 2 and pair[0] is str and pair[1] is not Ellipsis:
            # Pairs of (name, value) are written as an object.
            entries = self._mapping(pair[1], found, key)
            return None if entries is None else tuple(entries.items())
        if not isinstance(found, list):
            return self._wrong(key, "a list", found)
        return tuple(self.value(item, entry, f"{key}[{index}]") for index, entry in enumerate(found))

    def _mapping(self, item: Any, found: object, key: str) -> dict[str, Any] | None:
        if not isinstance(found, dict):
            self._wrong(key, "an object", found)
            return None
        for name in found:
            if _CONTROL.search(name) or "\n" in name:
                self.mistake(key, f"the key {shown(name)} holds control characters")
        return {name: self.value(item, entry, f"{key}.{name[:60]}") for name, entry in found.items()}

    def _scalar(self, hint: Any, found: object, key: str) -> Any:
        if hint is str or hint is Path:
            text = self._text(found, key)
            return None if text is None else hint(text)
        if hint is bool:
            return found if isinstance(found, bool) else self._wrong(key, "true or false", found)
        if issubclass(hint, StrEnum):
            known = isinstance(found, str) and found in set(hint)
            return hint(str(found)) if known else self._wrong(key, f"one of {', '.join(hint)}", found)
        number = isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= MAX_NUMBER
        if hint is int:
            return (
                found if number and isinstance(found, int) else self._wrong(key, "a whole number, not negative", found)
            )
        return float(typing.cast("float", found)) if number else self._wrong(key, "a number, not negative", found)

    def _text(self, found: object, key: str) -> str | None:
        if not isinstance(found, str):
            self._wrong(key, "a text", found)
        elif _CONTROL.search(found) or ("\n" in found and not _PROSE.search(key)):
            self._wrong(key, "one line of text without control characters", found)
        else:
            return found
        return None

    def _wrong(self, key: str, wanted: str, found: object) -> None:
        self.mistake(key, f"want {wanted}, found {shown(found)}")


def shown(value: object) -> str:
    """A value for a message, at most one short line of it."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, int) and abs(value) > MAX_NUMBER:
        return "a number of absurd size"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = ascii(value[:80]) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
