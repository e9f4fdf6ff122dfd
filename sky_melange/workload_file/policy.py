"""policy.yaml -> `Policy`: the rules of an organisation, beside the budget. Every mistake at once, by line."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.spelling import did_you_mean
from sky_melange.domain.spending import Policy
from sky_melange.errors import Mistake
from sky_melange.untrusted import read_text
from sky_melange.workload_file.report import Reading, input_error, key_path, quote

if TYPE_CHECKING:
    from sky_melange.workload_file.nodes import KeyPath, YamlDocument, YamlNode

READ_VERSION: Final = 1
_LIMIT_BYTES: Final = 1024 * 1024
_MOST_NAMES: Final = 100
_MOST_USD: Final = 1e6


@dataclass(slots=True, kw_only=True)
class _Reading:
    """A policy file while it is read."""

    document: YamlDocument
    accelerators: Collection[str]
    clouds: Collection[str]
    mistakes: list[Mistake] = field(default_factory=list)

    def mistake(self, path: tuple[str | int, ...], message: str) -> None:
        line = self.document.line_of(path)
        self.mistakes.append(Mistake(source=self.document.source, line=line, key=key_path(path), message=message))


_Key = Callable[[_Reading, str, Any], Any]
"""Reads the value of one key, a node's plain value; None, and a mistake noted, when it is wrong."""


def read_policy(
    path: Path,
    *,
    known_accelerators: Collection[str],
    known_clouds: Collection[str],
    known_regions: Callable[[str], Collection[str]] | None = None,
    tell: Callable[[tuple[Reading, ...]], None] | None = None,
) -> Policy:
    """The policy in a file. `tell` gets what is not read as it is spelled.

    Raises InputError with every mistake in it, by line: unknown keys, values out of range, names that do not exist.
    """
    # PyYAML takes most of `--help`'s time.
    from sky_melange.workload_file.understood import Grammar, KnownNames, understood
    from sky_melange.workload_file.yaml_source import parse_yaml

    document = parse_yaml(read_text(path, limit_bytes=_LIMIT_BYTES, allow_pipe=True), source=str(path))
    known = KnownNames(accelerators=known_accelerators, clouds=known_clouds, regions=known_regions)
    document, readings = understood(document, known, Grammar(keys=_names_of_keys, values=_names_of, types=_types))
    reading = _Reading(document=document, accelerators=known_accelerators, clouds=known_clouds)
    values: dict[str, Any] = {}
    if "version" not in document.root.entries:
        reading.mistake(("version",), f"is missing; write `version: {READ_VERSION}`")
    for key, node in document.root.entries.items():
        if key not in _KEYS:
            instead = _INSTEAD.get(key) or f"unknown key{did_you_mean(key, _KEYS, 'valid keys')}"
            reading.mistake((key,), instead)
            continue
        value = _KEYS[key](reading, key, _plain(node))
        if key != "version" and value is not None:
            values[key] = value
    if document.mistakes or reading.mistakes:
        raise input_error([*document.mistakes, *reading.mistakes])
    if readings and tell is not None:
        tell(readings)
    return Policy(**values)


def _plain(node: YamlNode) -> Any:
    return node.plain()


def _version(reading: _Reading, key: str, value: Any) -> None:
    if type(value) is not int or value != READ_VERSION:
        newer = "; update sky-melange to read newer files" if type(value) is int and value > READ_VERSION else ""
        reading.mistake((key,), f"this release reads version {READ_VERSION}, found {_shown(value)}{newer}")


def _usd(reading: _Reading, key: str, value: Any) -> float | None:
    return _number(reading, key, value, _MOST_USD, "USD per million tokens, such as 0.5", least_is_allowed=False)


def _fraction(reading: _Reading, key: str, value: Any) -> float | None:
    return _number(reading, key, value, 1.0, "a fraction from 0 to 1, such as 0.5", least_is_allowed=True)


def _number(
    reading: _Reading, key: str, value: Any, most: float, wanted: str, *, least_is_allowed: bool
) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if fits and (0 < value <= most or (value == 0 and least_is_allowed)):
        return float(value)
    reading.mistake((key,), f"want {wanted}, found {_shown(value)}")
    return None


def _kind(reading: _Reading, key: str, value: Any) -> ProfileKind | None:
    if isinstance(value, str) and value in set(ProfileKind):
        return ProfileKind(value)
    reading.mistake((key,), f"must be one of {', '.join(ProfileKind)}, found {_shown(value)}")
    return None


def _accelerators(reading: _Reading, key: str, value: Any) -> tuple[str, ...] | None:
    return _names(reading, (key,), value, "accelerator", reading.accelerators)


def _clouds(reading: _Reading, key: str, value: Any) -> tuple[str, ...] | None:
    return _names(reading, (key,), value, "cloud", reading.clouds)


def _regions(reading: _Reading, key: str, value: Any) -> Mapping[str, tuple[str, ...]] | None:
    if not isinstance(value, dict) or not value:
        reading.mistake((key,), f"want regions by cloud, such as {{aws: [us-east-1]}}, found {_shown(value)}")
        return None
    for cloud in value:
        if cloud not in reading.clouds:
            near = did_you_mean(cloud, sorted(reading.clouds), "known clouds")
            reading.mistake((key, cloud), f"unknown cloud {quote(cloud)}{near}")
    found = {cloud: _names(reading, (key, cloud), regions, "region", None) for cloud, regions in value.items()}
    return {cloud: regions for cloud, regions in found.items() if regions is not None}


def _names(
    reading: _Reading, path: tuple[str, ...], value: Any, noun: str, known: Collection[str] | None
) -> tuple[str, ...] | None:
    """A list of names; `known` None: any text."""
    if not isinstance(value, list) or not 1 <= len(value) <= _MOST_NAMES:
        reading.mistake(path, f"want a list of 1 to {_MOST_NAMES} {noun}s, found {_shown(value)}")
        return None
    for index, name in enumerate(value):
        if not isinstance(name, str) or not name:
            reading.mistake((*path, index), f"want the name of a {noun}, found {_shown(name)}")
        elif known is not None and name not in known:
            near = did_you_mean(name, sorted(known), f"known {noun}s")
            reading.mistake((*path, index), f"unknown {noun} {quote(name)}{near}")
        elif name in value[:index]:
            reading.mistake((*path, index), f"{quote(name)} is listed twice; remove one")
    return tuple(name for name in value if isinstance(name, str))


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else f"a list of {len(value)}"
    problem = getattr(value, "problem", None)
    if problem is not None:
        return f"something else ({problem})"
    return quote(value) if isinstance(value, str) else str(value)


_KEYS: Final[Mapping[str, _Key]] = {
    "version": _version,
    "max_usd_per_million_tokens": _usd,
    "max_usd_per_million_input_tokens": _usd,
    "max_usd_per_million_output_tokens": _usd,
    "banned_clouds": _clouds,
    "banned_regions": _regions,
    "allowed_accelerators": _accelerators,
    "max_spot_fraction": _fraction,
    "min_profile_kind": _kind,
}
"""Every key of the file and how it is read; the fields of `Policy` and `version`."""

_NAMED: Final = {"banned_clouds": "cloud", "allowed_accelerators": "accelerator", "banned_regions": "region"}
_TYPES: Final[Mapping[object, frozenset[Any]]] = {
    _usd: frozenset({float}),
    _fraction: frozenset({float}),
    _kind: frozenset(kind.value for kind in ProfileKind),
}


def _names_of_keys(path: KeyPath) -> str:
    return "cloud" if path == ("banned_regions",) else ""


def _names_of(path: KeyPath) -> str:
    """Of the items of lists, those of regions one mapping deeper."""
    depth = 3 if path[0] == "banned_regions" else 2
    return _NAMED.get(str(path[0]), "") if len(path) == depth else ""


def _types(path: KeyPath) -> frozenset[Any]:
    return _TYPES.get(_KEYS.get(str(path[0])), frozenset()) if len(path) == 1 else frozenset()


_BUDGET: Final = "is not a key of a policy; give `check --budget` or --monthly-budget, or `budget` in the workload"
_ALLOWED: Final = "unknown key; a policy names what may be used: allowed_accelerators"
_INSTEAD: Final = {
    "max_usd_per_hour": _BUDGET,
    "max_usd_per_month": _BUDGET,
    "budget": _BUDGET,
    "banned_accelerators": _ALLOWED,
    "banned_gpus": _ALLOWED,
    "max_drift": "is not a key of a policy; give `check --max-drift`",
}
"""What stands near these means something else."""
