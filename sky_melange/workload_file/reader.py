"""Reads workload.yaml: text -> tree -> schema and checks -> `Workload`, with every mistake at once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sky_melange.errors import InputError, Mistake
from sky_melange.untrusted import read_text
from sky_melange.workload_file.report import Reading, input_error

if TYPE_CHECKING:
    from sky_melange.domain.workload import Workload
    from sky_melange.workload_file.convert import ResolveTraffic
    from sky_melange.workload_file.hours import ReadHours

_LIMIT_BYTES: Final = 1024 * 1024


def file_text(path: Path) -> str:
    """The text of a workload file; of a pipe, which can be read once. Raises InputError as `read_text` does."""
    return read_text(path, limit_bytes=_LIMIT_BYTES, allow_pipe=True)


def file_values(path: Path, text: str) -> object:
    """The keys and values that a workload file's text states. Raises InputError where it is no YAML."""
    from sky_melange.workload_file.yaml_source import parse_yaml

    return parse_yaml(text, source=str(path)).root.plain()


def read_workload(  # noqa: PLR0913 - one keyword for each kind of name
    path: Path,
    *,
    text: str | None = None,
    known_accelerators: Collection[str] | None = None,
    known_clouds: Collection[str] | None = None,
    known_models: Collection[str] | None = None,
    known_presets: Collection[str] | None = None,
    known_regions: Callable[[str], Collection[str]] | None = None,
    tell: Callable[[tuple[Reading, ...]], None] | None = None,
    trace_traffic: ResolveTraffic | None = None,
    read_hours: ReadHours | None = None,
) -> Workload:
    """The workload in a file, checked against the names that exist where they are given.

    `text` is the file's where it was read already. `trace_traffic` counts the log or looks up the preset that `traffic`
    names; without it only histograms are read. `read_hours` reads the file that `traffic.hours` names. `tell` gets what
    is not read as it is spelled. `known_regions` are those of a cloud, asked for only where a file names some.

    Raises:
        InputError: with every mistake in the file, by line, each with its key and what to write instead.

    """
    # PyYAML and pydantic take most of `--help`'s time; they are imported when a file is read.
    from pydantic import ValidationError

    from sky_melange.workload_file.checks import check_document, is_newer, version_mistake
    from sky_melange.workload_file.convert import to_workload
    from sky_melange.workload_file.hours import stated_hours
    from sky_melange.workload_file.schema import WorkloadFile
    from sky_melange.workload_file.traffic_checks import at_key
    from sky_melange.workload_file.understood import KnownNames, understood
    from sky_melange.workload_file.yaml_source import parse_yaml

    document = parse_yaml(file_text(path) if text is None else text, source=str(path))
    if "fleet" in document.root.entries:
        message = "is a fleet, not a workload: `sky-melange plan` takes it, other commands its plans or workloads"
        raise InputError([Mistake(source=document.source, line=document.line_of(("fleet",)), message=message)])
    mistakes: list[Mistake] = list(document.mistakes)
    version = version_mistake(document)
    if version is not None:
        mistakes.append(version)
        if is_newer(document):
            raise input_error(mistakes)
    known = KnownNames(
        accelerators=known_accelerators,
        clouds=known_clouds,
        models=known_models,
        presets=known_presets,
        regions=known_regions,
    )
    document, readings = understood(document, known)
    mistakes.extend(check_document(document, known))
    try:
        file = WorkloadFile.model_validate(document.root.plain())
    except ValidationError as error:
        from sky_melange.workload_file.messages import schema_mistakes

        # What a rule said of a value, the schema need not say again.
        told = {(mistake.line, mistake.key) for mistake in mistakes}
        found = schema_mistakes(error, document)
        mistakes.extend(mistake for mistake in found if (mistake.line, mistake.key) not in told)
        raise input_error(mistakes) from None
    if mistakes:
        raise input_error(mistakes)
    if readings and tell is not None:
        tell(readings)
    try:
        hours = stated_hours(file.traffic, path.name, read_hours)
    except InputError as error:
        raise at_key(document, ("traffic", "hours", "file"), error) from error
    try:
        return to_workload(file, file_name=path.name, trace_traffic=trace_traffic, hours=hours)
    except InputError as error:
        source = "preset" if file.traffic.preset is not None else "trace"
        raise at_key(document, ("traffic", source), error) from error
