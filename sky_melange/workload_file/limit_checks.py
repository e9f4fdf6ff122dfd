"""Rules on `constraints`, `objective` and `budget` that span several keys, or need to know what there is."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Final

from sky_melange.domain.own_gpus import OWN_CLOUDS
from sky_melange.domain.spelling import did_you_mean
from sky_melange.errors import Mistake
from sky_melange.workload_file.nodes import KeyPath, MappingNode, ScalarNode, YamlDocument
from sky_melange.workload_file.report import key_path, quote

_PLACES: Final = ("constraints", "max_accelerators_in")
_MAX_NAMES: Final = 100


def check_limits(
    document: YamlDocument, accelerators: Collection[str] | None, clouds: Collection[str] | None
) -> Iterator[Mistake]:
    """Names in `max_accelerators_in`, and what `objective: most_traffic` needs."""
    yield from _check_places(document, accelerators, clouds)
    yield from _check_objective(document)


def _check_places(
    document: YamlDocument, accelerators: Collection[str] | None, clouds: Collection[str] | None
) -> Iterator[Mistake]:
    places = document.find(_PLACES)
    if not isinstance(places, MappingNode):
        return
    for place in islice(places.entries, _MAX_NAMES):
        cloud = place.partition("/")[0]
        known = () if clouds is None else (*clouds, *OWN_CLOUDS)
        if known and cloud not in known:
            yield _unknown(document, (*_PLACES, place), "cloud", cloud, known)
        names = document.find((*_PLACES, place))
        if accelerators is None or not isinstance(names, MappingNode):
            continue
        for name in islice(names.entries, _MAX_NAMES):
            if name not in accelerators:
                yield _unknown(document, (*_PLACES, place, name), "accelerator", name, accelerators)


def _check_objective(document: YamlDocument) -> Iterator[Mistake]:
    objective = document.find(("objective",))
    if not isinstance(objective, ScalarNode) or objective.value != "most_traffic":
        return
    if not isinstance(document.find(("budget",)), MappingNode):
        message = "most_traffic needs a budget to stay within: write `budget: {usd_per_hour: 40}`"
        yield _mistake(document, ("objective",), message)
    formulation = document.find(("solver", "formulation"))
    if isinstance(formulation, ScalarNode) and formulation.value == "sliced":
        message = "most_traffic does not support the sliced formulation: remove it, or the objective"
        yield _mistake(document, ("solver", "formulation"), message)


def _unknown(document: YamlDocument, path: KeyPath, noun: str, name: str, known: Collection[str]) -> Mistake:
    message = f"unknown {noun} {quote(name)}{did_you_mean(name, sorted(known), f'known {noun}s')}"
    return _mistake(document, path, message)


def _mistake(document: YamlDocument, path: KeyPath, message: str) -> Mistake:
    return Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)
