"""Reads fleet.json, and the plans in the folders beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sky_melange.domain.digest import json_sha256
from sky_melange.domain.fleet import FLEET_FILE, FLEET_SCHEMA_VERSION, MACHINE_FILE, FleetPlan, charged_once
from sky_melange.domain.plan import Plan
from sky_melange.domain.router import router_cluster
from sky_melange.domain.workload import Workload
from sky_melange.errors import InputError, Mistake
from sky_melange.plan_file.decode import Decoder, shown
from sky_melange.plan_file.reader import SEAL, PlanDocument, read_document, read_plan

_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
FLEET_SEAL: Final = "fleet_plan_sha256"
_ADVICE: Final = "`sky-melange plan FLEET.yaml --out FOLDER` writes FOLDER/fleet.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetDocument:
    """A fleet.json: where it stands, and what it says."""

    path: Path
    plan: FleetPlan

    @property
    def folders(self) -> tuple[Path, ...]:
        """Of the plans, in the order of the members."""
        return tuple(self.path.parent / member.name for member in self.plan.members)


def is_fleet_folder(path: Path) -> bool:
    """Whether a path is the folder of a fleet's plans, or its fleet.json."""
    return path.name == FLEET_FILE or (path / FLEET_FILE).is_file()


def read_fleet_plan(path: Path) -> FleetDocument:
    """Reads a fleet.json, or the one in a folder; the plans beside it are not read.

    Raises InputError with every mistake, as `read_plan` does: anything that is not as `plan` wrote it.
    """
    path = path if path.name == FLEET_FILE else path / FLEET_FILE
    document = read_document(path, what="fleet", advice=_ADVICE)
    version = document.get("schema_version")
    if type(version) is not int or version != FLEET_SCHEMA_VERSION:
        message = f"must be {FLEET_SCHEMA_VERSION}, found {shown(version)}"
        raise InputError([Mistake(source=str(path), key="schema_version", message=message)])
    decoder = Decoder(source=str(path))
    plan = decoder.record(FleetPlan, document, "")
    if decoder.mistakes:
        raise InputError(decoder.mistakes)
    if document.get(FLEET_SEAL) != json_sha256({key: document[key] for key in document if key != FLEET_SEAL}):
        message = "is not the digest of this file: it was edited after it was planned; plan again, or restore it"
        raise InputError([Mistake(source=str(path), key=FLEET_SEAL, message=message)])
    # Names lead to folders, and to files.
    unfit = [each.name for each in plan.members if Path(each.name).name != each.name or each.name in {".", ".."}]
    if unfit:
        message = f"{shown(unfit[0])} is no name of a folder"
        raise InputError([Mistake(source=str(path), key="members", message=message)])
    for each in plan.machines:
        if MACHINE_FILE.fullmatch(each.file) is None or each.file != f"{each.name}.sky.yaml":
            message = f"{shown(each.file)} is no name of the launch file of {shown(each.name)}"
            raise InputError([Mistake(source=str(path), key="machines", message=message)])
    # These are written into the router's configuration.
    if plan.router_machine is not None and (
        _NAME.fullmatch(plan.name) is None or plan.router_machine.cluster != router_cluster(plan.name)
    ):
        cluster = shown(plan.router_machine.cluster)
        message = f"{cluster} is not the name that the router's cluster has in the fleet {shown(plan.name)}"
        raise InputError([Mistake(source=str(path), key="router_machine.cluster", message=message)])
    return FleetDocument(path=path, plan=plan)


def read_charged(path: Path) -> list[tuple[Plan, Workload]]:
    """A plan, or the plans of a fleet as they are paid for together. Raises InputError as the readers of both do."""
    if not is_fleet_folder(path):
        document = read_plan(path)
        return [(document.plan, document.workload)]
    fleet = read_fleet_plan(path)
    plans = [(document.plan, document.workload) for document in read_member_plans(fleet)]
    return charged_once(plans, fleet.plan.router_machine)


def read_member_plans(document: FleetDocument) -> tuple[PlanDocument, ...]:
    """The plans of a fleet. Raises InputError where one is missing, broken, or not what the fleet was made of."""
    mistakes: list[Mistake] = []
    found = []
    for member, folder in zip(document.plan.members, document.folders, strict=True):
        try:
            plan = read_plan(folder)
            if read_document(plan.path).get(SEAL) != member.plan_sha256:
                message = f"is not the plan that {document.path} was made of: plan the fleet again, or restore both"
                raise InputError([Mistake(source=str(plan.path), key=SEAL, message=message)])
        except InputError as error:
            mistakes += error.mistakes
            continue
        if plan.workload.router.of_fleet is (document.plan.router_machine is None):
            message = f"does not agree with {document.path} on who routes its requests; plan the fleet again"
            mistakes.append(Mistake(source=str(plan.path), key="workload.router.of_fleet", message=message))
        found.append(plan)
    parts = {(plan.plan.name, group.name) for plan in found for group in plan.plan.groups if group.part is not None}
    for machine in document.plan.machines if not mistakes else ():
        unknown = [engine for engine in machine.engines if (engine.workload, engine.group) not in parts]
        if unknown or not machine.engines:
            message = f"{shown(machine.name)} has engines that are no part of a plan, or none; plan the fleet again"
            mistakes.append(Mistake(source=str(document.path), key="machines", message=message))
    if mistakes:
        raise InputError(mistakes)
    return tuple(found)
