"""Fleets that are posted: their files in a folder of the job, and nothing of the server's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.fleet import FLEET_FILE
from sky_melange.errors import InputError, Mistake
from sky_melange.plan_file import PlanDocument
from sky_melange.plan_file.fleet import FleetDocument, read_fleet_plan, read_member_plans
from sky_melange.skypilot.plugin.refuse import check_plan_document, check_workload_text
from sky_melange.workload_file import read_fleet

_FILE: Final = "fleet.yaml"
_FOLDER: Final = re.compile(r"[a-z][a-z0-9-]{0,99}")


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
