"""What a posted workload or plan may not ask of the server: to read its files, or to fetch an address of choice.

On the command line these keys name the caller's own files. Here they would name the server's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.fleet import FLEET_FILE
from sky_melange.errors import InputError, Mistake
from sky_melange.plan_file import PlanDocument
from sky_melange.plan_file.fleet import FleetDocument, read_fleet_plan, read_member_plans
from sky_melange.workload_file import read_fleet
from sky_melange.workload_file.yaml_source import parse_yaml

_FILE: Final = "fleet.yaml"
_FOLDER: Final = re.compile(r"[a-z][a-z0-9-]{0,99}")

_INSTEAD: Final = "the command line can read it, and its plan can be posted"
REFUSED_KEYS: Final[Mapping[tuple[str, ...], str]] = {
    (
        "traffic",
        "trace",
    ): f"names a file or an address; count it first with `sky-melange workload from-trace`, or {_INSTEAD}",
    (
        "traffic",
        "hours",
        "file",
    ): f"names a file; write its rates into the workload (`hours: {{rates: […]}}`), or {_INSTEAD}",
    ("prices", "overrides"): f"names a file; {_INSTEAD}",
    ("prices", "base_url"): "names an address that the server would fetch; the server's administrator sets it there",
    ("profiles", "files"): f"names files; {_INSTEAD}",
    ("model", "config"): f"names a file; {_INSTEAD}",
    ("constraints", "keep"): f"names a plan file; {_INSTEAD}",
}
"""Keys of workload.yaml that lead to files or addresses, and what to do instead."""

_OF_PLANS: Final = (("prices", "overrides"), ("prices", "base_url"), ("profiles", "files"))
_PROSE: Final = frozenset({"assumptions", "warnings", "notes", "note", "explanation", "origin", "engine_args"})
_UNPLAIN: Final = re.compile(r"[<>\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MOST_MISTAKES: Final = 20


def check_workload_text(text: str, *, source: str) -> None:
    """Raises InputError for every refused key that has a value; what is no YAML is left to the workload's reader."""
    try:
        document = parse_yaml(text, source=source)
    except InputError:
        return
    root = document.root.plain()
    mistakes = [
        Mistake(source=source, line=document.line_of(path), key=".".join(path), message=_message(why))
        for path, why in REFUSED_KEYS.items()
        if _has(root, path)
    ]
    if mistakes:
        raise InputError(mistakes)


def check_plan_document(document: object, *, source: str) -> None:
    """Raises InputError for a plan whose workload leads to files or addresses, or whose names hold markup."""
    if not isinstance(document, dict):
        return
    mistakes = [
        Mistake(source=source, key=".".join(("workload", *path)), message=_message(REFUSED_KEYS[path]))
        for path in _OF_PLANS
        if _has(document.get("workload"), path)
    ]
    for key in _marked_up(document, ""):
        if len(mistakes) >= _MOST_MISTAKES:
            break
        mistakes.append(Mistake(source=source, key=key, message="holds a character that no name of a plan has"))
    if mistakes:
        raise InputError(mistakes)


def write_fleet_files(text: str, workloads: Mapping[str, str], folder: Path) -> Path:
    """Writes a fleet and its workloads, whose names are plain, into the empty folder of a job.

    Raises InputError for a workload that is not among them, or asks for more than the server gives.
    """
    fleet = read_fleet(Path(_FILE), text=text)
    mistakes = [
        Mistake(source=_FILE, key="fleet.workloads", message=f"{member.file[:100]!r} is not among `workloads`")
        for member in fleet.members
        if member.file not in workloads or member.file == _FILE
    ]
    for name, workload in workloads.items():
        try:
            check_workload_text(workload, source=name)
        except InputError as error:
            mistakes += error.mistakes
    if mistakes:
        raise InputError(mistakes)
    for name, workload in {**workloads, _FILE: text}.items():
        (folder / name).write_bytes(workload.encode())
    return folder / _FILE


def fleet_documents(text: str, folder: Path) -> tuple[FleetDocument, tuple[PlanDocument, ...]]:
    """A fleet.json with its `plans` by name, strictly read in the folder of a job. Raises InputError."""
    document: Any = json.loads(text)
    plans = document.get("plans") if isinstance(document, dict) else None
    if not isinstance(plans, dict) or not all(_FOLDER.fullmatch(name) for name in plans):
        message = "want the plans by name: what `sky-melange plan fleet.yaml --format json` prints"
        raise InputError([Mistake(source=FLEET_FILE, key="plans", message=message)])
    alone = {key: value for key, value in document.items() if key != "plans"}
    check_plan_document(alone, source=FLEET_FILE)
    root = folder / "fleet"
    root.mkdir()
    (root / FLEET_FILE).write_text(json.dumps(alone), encoding="utf-8")
    for name, plan in plans.items():
        check_plan_document(plan, source=f"plans.{name}")
        (root / name).mkdir()
        (root / name / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    found = read_fleet_plan(root)
    if {member.name for member in found.plan.members} != set(plans):
        message = (
            f"are {', '.join(plans) or 'none'}; the fleet has {', '.join(each.name for each in found.plan.members)}"
        )
        raise InputError([Mistake(source=FLEET_FILE, key="plans", message=message)])
    return found, read_member_plans(found)


def part_of(text: str, name: str) -> str | None:
    """The plan.json of a workload of a stored fleet."""
    plan = json.loads(text)["plans"].get(name)
    return None if plan is None else json.dumps(plan, indent=2, ensure_ascii=False)


def without_plans(text: str) -> str:
    """The fleet.json itself."""
    return json.dumps({key: value for key, value in json.loads(text).items() if key != "plans"}, ensure_ascii=False)


def _message(why: str) -> str:
    return f"is not taken by the server: it {why}"


def _has(root: object, path: tuple[str, ...]) -> bool:
    found: object = root
    for part in path:
        if not isinstance(found, dict) or part not in found:
            return False
        found = found[part]
    return found is not None and found not in ([], ())


def _marked_up(value: Any, key: str) -> Iterator[str]:
    """Keys of names with markup. Depth is bounded by the JSON reader's."""
    if isinstance(value, str):
        if _UNPLAIN.search(value):
            yield key
    elif isinstance(value, dict):
        for name, entry in value.items():
            if _UNPLAIN.search(name):
                yield f"{key} (a key)".strip()
            if name not in _PROSE:
                yield from _marked_up(entry, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            yield from _marked_up(entry, f"{key}[{index}]")
