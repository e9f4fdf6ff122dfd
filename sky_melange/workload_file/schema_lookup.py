"""What the schema says about a place in the file: its valid keys and an example."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sky_melange.domain.spelling import nearest
from sky_melange.workload_file.nodes import KeyPath
from sky_melange.workload_file.report import key_path
from sky_melange.workload_file.schema import WorkloadFile

_OTHER_NAMES: Final = {
    "sla": "slo",
    "latency": "slo",
    "workload": "traffic",
    "cost": "budget",
    "rate": "traffic.request_rate",
    "qps": "traffic.request_rate",
    "rps": "traffic.request_rate",
    "requests_per_second": "traffic.request_rate",
    "itl": "slo.tpot_ms",
    "itl_ms": "slo.tpot_ms",
    "model.name": "model.id",
    "model.model": "model.id",
    "quantization": "model.dtype",
    "precision": "model.dtype",
    "context_length": "model.max_model_len",
    "max_tokens": "model.max_model_len",
    "gpu": "candidates.accelerators",
    "gpus": "candidates.accelerators",
    "cloud": "candidates.clouds",
    "region": "candidates.regions",
    "provider": "candidates.clouds",
    "providers": "candidates.clouds",
    "on_demand": "candidates.spot",
    "candidates.own.usd_per_hour": "candidates.own.usd_per_gpu_hour",
    "candidates.own.price": "candidates.own.usd_per_gpu_hour",
    "kubernetes": "candidates.own",
    "commitments": "candidates.purchase",
    "reservations": "candidates.purchase",
    "max_gpus": "constraints.max_accelerators",
    "max_replicas": "constraints.max_accelerators",
    "max_instances": "constraints.max_accelerators",
    "replicas": "constraints.min_replicas",
    "scale_to_zero": "constraints.min_replicas",
    "max_cost": "budget.usd_per_hour",
    "timeout": "solver.time_limit_s",
    "percent": "prices.discounts.fraction",
}
"""What other programs call a key, with the section where the name alone is not enough -> its path here."""


def valid_keys(path: KeyPath) -> tuple[str, ...]:
    """The keys of the section at a path; empty when there is no such section."""
    section = _SECTIONS.get(_by_section(path))
    return tuple(section.model_fields) if section is not None else ()


_LISTS: Final = (("prices", "discounts"), ("candidates", "own"), ("traffic", "hours", "sizes"))
"""Sections that stand in lists: their keys are meant only there."""


def sections_with(key: str) -> tuple[KeyPath, ...]:
    """The paths of the sections that have a key of this name."""
    return tuple(path for path, section in _SECTIONS.items() if key in section.model_fields)


def meant_key(key: str, section: KeyPath) -> str | None:
    """The valid key that was probably meant, by its path where it stands in another section; None: nobody knows."""
    section = tuple(part for part in section if isinstance(part, str))
    meant = _OTHER_NAMES.get(key_path((*section, key.casefold())), _OTHER_NAMES.get(key.casefold()))
    if meant is not None:
        place, _, name = meant.rpartition(".")
        return name if place == key_path(section) else meant
    keys = valid_keys(section)
    near = nearest(key, keys)
    elsewhere = [path for path in sections_with(key) if path not in _LISTS]
    if elsewhere and (near is None or len(key) + 1 != len(near)):
        return key_path((*elsewhere[0], key))
    return near


def example_of(path: KeyPath) -> object:
    """An example of what may stand at a path, list items and mapping values included."""
    items = [part for part in path if isinstance(part, int)]
    path = _by_section(path)
    items = items[len([part for part in path if isinstance(part, int)]) :]
    depth = max((depth for depth in range(len(path)) if path[:depth] in _SECTIONS), default=0)
    field = _SECTIONS[path[:depth]].model_fields.get(str(path[depth])) if path else None
    example: object = field.examples[0] if field is not None and field.examples else "a value"
    for _ in path[depth + 1 :]:
        if isinstance(example, Mapping):
            example = next(iter(example.values()))
        elif isinstance(example, list):
            example = example[0]
    for _ in items if path in _SECTIONS else ():
        example = example[0] if isinstance(example, list) else example
    return example


def field_at(path: KeyPath) -> tuple[Any, KeyPath]:
    """The type of the key that a path leads to, or through, and the way on within it; None for an unknown key."""
    path = _by_section(path)
    depth = max((depth for depth in range(len(path)) if path[:depth] in _SECTIONS), default=0)
    field = _SECTIONS[path[:depth]].model_fields.get(str(path[depth])) if path else None
    return (None if field is None else field.annotation), path[depth + 1 :]


def _by_section(path: KeyPath) -> KeyPath:
    """The path without the places of items in lists of sections: each item is the same section."""
    kept: KeyPath = ()
    for part in path:
        if not (isinstance(part, int) and kept in _SECTIONS):
            kept = (*kept, part)
    return kept


def flow(value: object) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _walk(section: type[BaseModel], path: KeyPath) -> Iterator[tuple[KeyPath, type[BaseModel]]]:
    yield path, section
    for name, field in section.model_fields.items():
        inner = section_of(field)
        if inner is not None:
            yield from _walk(inner, (*path, name))


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that stands at a key, alone or in a list."""
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


_SECTIONS: Final[dict[KeyPath, type[BaseModel]]] = dict(_walk(WorkloadFile, ()))
