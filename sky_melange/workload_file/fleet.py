"""fleet.yaml -> `Fleet`. Every mistake at once, by line."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sky_melange.domain.fleet import Fleet, FleetConstraints, FleetMember
from sky_melange.domain.spelling import did_you_mean
from sky_melange.domain.workload import Budget, Objective
from sky_melange.errors import Mistake
from sky_melange.workload_file.reader import file_text
from sky_melange.workload_file.report import Reading, input_error, key_path, quote

if TYPE_CHECKING:
    from sky_melange.workload_file.nodes import KeyPath, YamlDocument

SCHEMA_ID: Final = "urn:sky-melange:fleet:1"

_LIMITS: Final = ("fleet", "constraints")
_BY_ACCELERATOR: Final = (*_LIMITS, "max_accelerators")
_PLACES: Final = ((*_LIMITS, "max_accelerators_in"), (*_LIMITS, "max_vcpus_in"))
_WORKLOADS: Final = ("fleet", "workloads")


def is_fleet(path: Path, text: str) -> bool:
    """Whether a file's text is that of a fleet: it has a key `fleet`. Raises InputError where it is no YAML."""
    from sky_melange.workload_file.yaml_source import parse_yaml

    return "fleet" in text and "fleet" in parse_yaml(text, source=str(path)).root.entries


def read_fleet(
    path: Path,
    *,
    text: str | None = None,
    known_accelerators: Collection[str] | None = None,
    known_clouds: Collection[str] | None = None,
    known_regions: Callable[[str], Collection[str]] | None = None,
    tell: Callable[[tuple[Reading, ...]], None] | None = None,
) -> Fleet:
    """The fleet in a file, checked against the names that exist where they are given; its workloads are not read.

    `tell` gets what is not read as it is spelled.

    Raises InputError with every mistake in it, by line: unknown keys, values out of range, a workload that is named
    twice, an objective that lacks its budget.
    """
    # PyYAML and pydantic take most of `--help`'s time.
    from pydantic import ValidationError

    from sky_melange.workload_file.fleet_schema import FleetFile
    from sky_melange.workload_file.messages import file_mistakes
    from sky_melange.workload_file.understood import Grammar, KnownNames, understood
    from sky_melange.workload_file.yaml_source import parse_yaml

    document = parse_yaml(file_text(path) if text is None else text, source=str(path))
    _spell_out(document)
    known = KnownNames(accelerators=known_accelerators, clouds=known_clouds, regions=known_regions)
    document, readings = understood(document, known, Grammar(keys=_names_of_keys, values=lambda _: "", types=_types))
    mistakes = [*document.mistakes, *_further_mistakes(document, known_accelerators, known_clouds)]
    try:
        file = FleetFile.model_validate(document.root.plain()).fleet
    except ValidationError as error:
        raise input_error([*mistakes, *file_mistakes(error, document, FleetFile)]) from None
    if mistakes:
        raise input_error(mistakes)
    if readings and tell is not None:
        tell(readings)
    limits, budget = file.constraints, file.budget
    return Fleet(
        name=file.name,
        members=tuple(
            FleetMember(file=member.file, priority=member.priority, min_fraction=member.min_fraction)
            for member in file.workloads
        ),
        constraints=FleetConstraints(
            max_accelerators=limits.max_accelerators,
            max_accelerators_in=limits.max_accelerators_in,
            max_vcpus_in=limits.max_vcpus_in,
            max_cloud_share_fraction=limits.max_cloud_share,
            max_region_share_fraction=limits.max_region_share,
            tolerated_losses=limits.tolerate_replica_losses,
        ),
        budget=None if budget is None else Budget(usd_per_hour=budget.usd_per_hour, usd_per_month=budget.usd_per_month),
        objective=Objective(file.objective),
        share_machines=file.share_machines,
        one_router=file.router == "one",
    )


def _names_of_keys(path: KeyPath) -> str:
    if path == _BY_ACCELERATOR or (path[:-1] == _PLACES[0] and path):
        return "accelerator"
    return "place" if path in _PLACES else ""


def _types(path: KeyPath) -> frozenset[Any]:
    """The types of the value at a path."""
    from sky_melange.workload_file.fleet_schema import FleetFile
    from sky_melange.workload_file.schema_lookup import section_of
    from sky_melange.workload_file.understood import scalar_types

    section: type[Any] | None = FleetFile
    for depth, part in enumerate(path):
        field = None if section is None or isinstance(part, int) else section.model_fields.get(part)
        if field is not None and section_of(field) is None:
            return frozenset(scalar_types(field.annotation, path[depth + 1 :]))
        section = section if isinstance(part, int) else (None if field is None else section_of(field))
    return frozenset()


def fleet_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of version 1 of fleet.yaml."""
    from sky_melange.workload_file.fleet_schema import FleetFile
    from sky_melange.workload_file.schema_export import schema_of

    return schema_of(FleetFile, SCHEMA_ID)


def _spell_out(document: YamlDocument) -> None:
    """A workload that is only named gets the mapping that it stands for."""
    from sky_melange.workload_file.nodes import MappingNode, ScalarNode, SequenceNode

    workloads = document.find(_WORKLOADS)
    if isinstance(workloads, SequenceNode):
        workloads.items[:] = [
            MappingNode(line=item.line, entries={"file": item}, key_lines={"file": item.line})
            if isinstance(item, ScalarNode)
            else item
            for item in workloads.items
        ]


def _further_mistakes(
    document: YamlDocument, accelerators: Collection[str] | None, clouds: Collection[str] | None
) -> Iterator[Mistake]:
    """What the schema cannot express."""
    from sky_melange.workload_file.nodes import MappingNode, ScalarNode, SequenceNode

    def mistake(path: tuple[str | int, ...], message: str) -> Mistake:
        return Mistake(source=document.source, line=document.line_of(path), key=key_path(path), message=message)

    def unknown(path: tuple[str | int, ...], noun: str, known: Collection[str] | None) -> Iterator[Mistake]:
        name = str(path[-1]).partition("/")[0] if noun == "cloud" else str(path[-1])
        if known is not None and name not in known:
            meant = did_you_mean(name, sorted(known), f"known {noun}s")
            yield mistake(path, f"unknown {noun} {quote(name)}{meant}")

    def keys(path: tuple[str | int, ...]) -> list[tuple[str | int, ...]]:
        node = document.find(path)
        return [(*path, name) for name in list(node.entries)[:100]] if isinstance(node, MappingNode) else []

    for named in keys(_BY_ACCELERATOR):
        yield from unknown(named, "accelerator", accelerators)
    for section in _PLACES:
        for place in keys(section):
            yield from unknown(place, "cloud", clouds)
            for named in keys(place) if section == _PLACES[0] else ():
                yield from unknown(named, "accelerator", accelerators)
    workloads = document.find(_WORKLOADS)
    seen: set[str] = set()
    for index, item in enumerate(workloads.items[:1000] if isinstance(workloads, SequenceNode) else ()):
        file = item.entries.get("file") if isinstance(item, MappingNode) else None
        if isinstance(file, ScalarNode):
            if file.text in seen:
                yield mistake((*_WORKLOADS, index), f"{quote(file.text)} is named twice; raise its traffic instead")
            seen.add(file.text)
    objective = document.find(("fleet", "objective"))
    is_most = isinstance(objective, ScalarNode) and objective.value == Objective.MOST_TRAFFIC.value
    if is_most and not isinstance(document.find(("fleet", "budget")), MappingNode):
        message = "most_traffic needs a budget to stay within: write `budget: {usd_per_hour: 40}`"
        yield mistake(("fleet", "objective"), message)
    shares = document.find(("fleet", "share_machines"))
    if is_most and isinstance(shares, ScalarNode) and shares.value is True:
        message = "is only of the least cost yet; leave it out, or write `objective: least_cost`"
        yield mistake(("fleet", "share_machines"), message)
    for key in ("max_cloud_share", "max_region_share"):
        if is_most and document.find((*_LIMITS, key)) is not None:
            # What a workload costs alone weighs its requests, and that is less for less traffic, by jumps.
            message = "is only of the least cost yet; leave it out, or write `objective: least_cost`"
            yield mistake((*_LIMITS, key), message)
    losses = document.find((*_LIMITS, "tolerate_replica_losses"))
    if isinstance(shares, ScalarNode) and shares.value is True and isinstance(losses, ScalarNode) and losses.value:
        message = "a shared machine takes engines of several replicas with it: leave out this, or share_machines"
        yield mistake((*_LIMITS, "tolerate_replica_losses"), message)
