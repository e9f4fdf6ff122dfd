"""The YAML files of a plan folder, refused when they are no single mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from sky_melange.errors import InputError, Mistake
from sky_melange.plan_file import PlanDocument, read_files_beside
from sky_melange.untrusted import mistake

_MAX_DEPTH: Final = 30


def read_launch_files(document: PlanDocument) -> tuple[str, ...]:
    """The text of each group's file, in the order of the groups that have machines of their own.

    Raises InputError, with every mistake found: a missing or oversized file, a link, text that is no UTF-8 or no YAML,
    several documents, YAML aliases (a few bytes of them expand without bound).
    """
    return read_texts(document.path, [(group.name, group.file) for group in document.plan.whole_groups])


def read_texts(plan_file: Path, named: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """The same of any files beside a plan's; `named`: (who needs it, its name)."""
    found = read_files_beside(plan_file, [file for _, file in named])
    mistakes: list[Mistake] = []
    texts: list[str] = []
    for name, file in named:
        path, text = plan_file.parent / file, found[file]
        try:
            if text is None:
                raise mistake(path, f"group {name!r} needs this file and it is missing; render the plan again")
            if "\ufffd" in text:
                raise mistake(path, "not UTF-8")
            _refuse_broken_yaml(path, text)
            texts.append(text)
        except InputError as error:
            mistakes.extend(error.mistakes)
    if mistakes:
        raise InputError(mistakes)
    return tuple(texts)


def sections(text: str) -> dict[str, Any]:
    """A launch file or configuration as SkyPilot reads it; {} for what is no mapping. Raises ValueError for no YAML."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    return document if isinstance(document, dict) else {}


def written(document: Mapping[str, Any]) -> str:
    """The text of these sections, in their order."""
    return yaml.safe_dump(document, sort_keys=False)


def _refuse_broken_yaml(path: Path, text: str) -> None:
    try:
        _refuse_expansion(path, text)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise mistake(path, f"not YAML: {error.problem or error.context}", line=line) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise mistake(path, f"not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict):
        raise mistake(path, "not a SkyPilot task: the top level must be a mapping")


def _refuse_expansion(path: Path, text: str) -> None:
    """Aliases expand and nesting slows the parser without bound; reading events stops at the first of either."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            message = "YAML aliases (*name) are not used in launch files; write the value out"
            raise mistake(path, message, line=_line(event))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise mistake(path, f"nested deeper than {_MAX_DEPTH} levels", line=_line(event))


def _line(event: yaml.Event) -> int | None:
    return None if event.start_mark is None else event.start_mark.line + 1
