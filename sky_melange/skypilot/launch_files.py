"""The YAML files of a plan folder: found without leaving the folder, and refused when they are no single mapping."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import yaml

from sky_melange.errors import InputError, Mistake
from sky_melange.skypilot.planned import PLAN_FILE_NAME, PlannedGroup

_MAX_FILE_BYTES: Final = 256 * 1024
_MAX_DEPTH: Final = 30


def read_launch_files(folder: Path, groups: Sequence[PlannedGroup]) -> tuple[str, ...]:
    """The text of each group's file, in the order of `groups`.

    Raises InputError, with every mistake found: a name that leaves the folder, a missing or oversized file, text
    that is no UTF-8 or no YAML, several documents, YAML aliases (a few bytes of them expand without bound).
    """
    texts: list[str] = []
    mistakes: list[Mistake] = []
    for group in groups:
        try:
            texts.append(_read(folder, group))
        except InputError as error:
            mistakes.extend(error.mistakes)
    if mistakes:
        raise InputError(mistakes)
    return tuple(texts)


def _read(folder: Path, group: PlannedGroup) -> str:
    path = _inside(folder, group)
    try:
        if not path.is_file():
            raise _refusal(path, f"group {group.name!r} needs this file and it is missing; render the plan again")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise _refusal(path, f"larger than {_MAX_FILE_BYTES // 1024} KiB: no launch file is")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _refusal(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise _refusal(path, f"not UTF-8 (byte {error.start})") from error
    _refuse_broken_yaml(path, text)
    return text


def _inside(folder: Path, group: PlannedGroup) -> Path:
    """The path of the group's file; plan.json may come from anyone, so it must not name a file elsewhere."""
    name = PurePosixPath(group.file)
    path = folder / group.file
    plain = not name.is_absolute() and ".." not in name.parts and "\\" not in group.file
    if not plain or not path.resolve().is_relative_to(folder.resolve()):
        message = f"group {group.name!r}: {group.file!r} leaves the plan's folder; write a name inside it"
        raise InputError([Mistake(source=str(folder / PLAN_FILE_NAME), key="groups", message=message)])
    return path


def _refuse_broken_yaml(path: Path, text: str) -> None:
    try:
        _refuse_expansion(path, text)
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise _refusal(path, f"not YAML: {error.problem or error.context}", line) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refusal(path, f"not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict):
        raise _refusal(path, "not a SkyPilot task: the top level must be a mapping")


def _refuse_expansion(path: Path, text: str) -> None:
    """Aliases expand and nesting slows the parser without bound; reading events stops at the first of either."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            message = "YAML aliases (*name) are not used in launch files; write the value out"
            raise _refusal(path, message, _line(event))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MAX_DEPTH:
            raise _refusal(path, f"nested deeper than {_MAX_DEPTH} levels", _line(event))


def _line(event: yaml.Event) -> int | None:
    return None if event.start_mark is None else event.start_mark.line + 1


def _refusal(path: Path, message: str, line: int | None = None) -> InputError:
    return InputError([Mistake(source=str(path), message=message, line=line)])
