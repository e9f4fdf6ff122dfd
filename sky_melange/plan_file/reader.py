"""Reads plan.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.digest import json_sha256
from sky_melange.domain.plan import PLAN_SCHEMA_VERSION, Plan
from sky_melange.domain.workload import Workload
from sky_melange.errors import InputError, Mistake
from sky_melange.plan_file.decode import Decoder, shown
from sky_melange.plan_file.rules import check_plan
from sky_melange.untrusted import decoded, mistake, parse_json, read_bytes

FILE_NAME: Final = "plan.json"
SEAL: Final = "plan_sha256"

MAX_BYTES: Final = 32 * 1024 * 1024
"""A plan over 100 x 100 buckets has about 3 MiB."""

_ADVICE: Final = "`sky-melange plan WORKLOAD --out FOLDER` writes FOLDER/plan.json"
_DIGESTS: Final = {name: f"{name}_sha256" for name in ("workload", "prices", "profiles")}
_PLACES: Final = {
    "policy": "routing.policy",
    "routing": "routing.buckets",
    "missing_clouds": "prices.missing_clouds",
}
"""Fields of a plan that stand in a section of the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument:
    """A plan.json: where it stands, the plan, and the workload that it was made for as it then was.

    `is_sealed`: it holds the digest of its own content; files of earlier releases do not.
    """

    path: Path
    plan: Plan
    workload: Workload
    is_sealed: bool = True


def read_plan(path: Path) -> PlanDocument:
    """Reads a plan.json, or the one in a folder.

    Raises InputError with every mistake: no such file, truncated, larger than 32 MiB, of a newer schema, a figure that
    is not finite, a field that is missing or of another type, a workload that no workload.yaml can ask for, counts and
    prices that do not add up to the costs, or anything that is not as `plan` wrote it.
    """
    path = path / FILE_NAME if path.is_dir() else path
    # `diff <(git show main:plan/plan.json) plan`: a pipe that somebody named, not one that lies in a plan's place.
    document = read_document(path, allow_pipe=path.name != FILE_NAME)
    _check_version(document, str(path))
    decoder = Decoder(source=str(path))
    plan = decoder.record(Plan, _flat(document), "", _PLACES)
    workload = decoder.value(Workload, document.get("workload"), "workload")
    if plan is not None and workload is not None:
        check_plan(plan, workload, document, decoder)
    if decoder.mistakes:
        raise InputError(decoder.mistakes)
    is_sealed = SEAL in document
    if is_sealed and document[SEAL] != json_sha256({key: document[key] for key in document if key != SEAL}):
        message = "is not the digest of this file: it was edited after it was planned; plan again, or restore it"
        raise InputError([Mistake(source=str(path), key=SEAL, message=message)])
    return PlanDocument(path=path, plan=plan, workload=workload, is_sealed=is_sealed)


def read_document(
    path: Path, *, what: str = "plan", advice: str = _ADVICE, allow_pipe: bool = False
) -> Mapping[str, Any]:
    """The top-level object of a file; for messages, `what` it should be and what to do where it cannot be read.

    Raises InputError: missing, a pipe or device (unless `allow_pipe`), too long, not UTF-8, truncated or otherwise no
    JSON, NaN, repeated keys, no object.
    """
    try:
        content = read_bytes(path, limit_bytes=MAX_BYTES, allow_pipe=allow_pipe)
    except InputError as error:
        raise InputError([replace(found, message=f"{found.message}; {advice}") for found in error.mistakes]) from None
    document = parse_json(decoded(content, str(path)), str(path), is_finite=True)
    if not isinstance(document, dict):
        raise mistake(path, f"is no {what}: the top level must be an object")
    return document


def _check_version(document: Mapping[str, Any], source: str) -> None:
    version = document.get("schema_version")
    if type(version) is int and 1 <= version <= PLAN_SCHEMA_VERSION:
        return
    message = f"must be 1 to {PLAN_SCHEMA_VERSION}, found {shown(version)}"
    if type(version) is int and version > PLAN_SCHEMA_VERSION:
        message = (
            f"is {shown(version)}, this release reads 1 to {PLAN_SCHEMA_VERSION}: update sky-melange for newer plans"
        )
    raise InputError([Mistake(source=source, key="schema_version", message=message)])


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with `routing` and `prices` opened and the digests under their field names, for `Decoder.record`."""
    found = dict(document)
    for name in ("routing", "prices"):
        section = found.pop(name, None)
        if isinstance(section, dict):
            found.update({f"{name}.{key}": value for key, value in section.items()})
    explanation = found.get("explanation")
    if isinstance(explanation, dict) and "total_usd_per_hour" not in explanation:
        # Of an earlier release, whose figures were of the replicas alone: as if there were none.
        del found["explanation"]
    inputs = found.get("inputs")
    if isinstance(inputs, dict):
        digests = {name: inputs[key] for name, key in _DIGESTS.items() if key in inputs}
        found["inputs"] = {"workload_file": inputs.get("workload_file"), **digests}
    return found
