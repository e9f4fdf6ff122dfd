"""What an importer is asked for, what it gives, and what all of them share: identity and provenance."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.profile import (
    LatencyModelForm,
    MatrixForm,
    PartialKey,
    PointsForm,
    Profile,
    ProfileKey,
    ProfileKind,
    ProfileProvenance,
)
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.importers.physics import judge
from sky_melange.untrusted import invisible_fault

_HINTS: Final = {
    "engine-version": "; say 'unknown' if nobody knows",
    "date": " (YYYY-MM-DD): when the runs were made",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest(PartialKey):
    """Files to import, and what the user states; None where the file should say it.

    `slo`, `input_edges` and `output_edges` (tokens) are for sources that do not state them; `entry` names one GPU of a
    file that holds several; `columns` says what a table calls our columns.
    """

    paths: tuple[Path, ...]
    accelerator: str | None = None
    engine_version: str | None = None
    engine_args: Mapping[str, str] = field(default_factory=dict)
    kv_cache_tokens: int | None = None
    kind: ProfileKind | None = None
    date: str | None = None
    source: str | None = None
    slo: Slo | None = None
    input_edges: tuple[int, ...] | None = None
    output_edges: tuple[int, ...] | None = None
    entry: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated(PartialKey):
    """What a file says of its runs; None where it does not. `kind` is that of the source when the user states none.

    `speculative`: tokens were guessed ahead, so that a step gives several.
    """

    source: str
    kind: ProfileKind
    engine_version: str | None = None
    date: str | None = None
    simulated: bool = False
    speculative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A profile, what else the file said (for `provenance.details`), and what the user should know."""

    profile: Profile
    details: Mapping[str, Any]
    warnings: tuple[str, ...] = ()

    def warned(self, *warnings: str) -> Imported:
        """The same with more warnings, which the profile's notes keep too."""
        provenance = self.profile.provenance
        kept = replace(provenance, notes=(*provenance.notes, *warnings))
        return replace(self, profile=replace(self.profile, provenance=kept), warnings=(*self.warnings, *warnings))


def imported(
    request: ImportRequest,
    stated: Stated,
    form: PointsForm | LatencyModelForm | MatrixForm,
    *,
    details: Mapping[str, Any],
    warnings: tuple[str, ...] = (),
) -> Imported:
    """Puts a profile together. Raises InputError with everything that neither the options nor the file say."""
    known = _known(request, stated)
    for name, text in known.items():
        fault = invisible_fault(text or "")
        if fault:
            raise InputError([Mistake(source=f"--{name}", message=f"{text!a} {fault}")])
    key = ProfileKey(
        model=known["model"],
        accelerator=known["accelerator"],
        tensor_parallel=request.tensor_parallel or stated.tensor_parallel or 1,
        dtype=request.dtype or stated.dtype or "bfloat16",
        engine=known["engine"],
    )
    warnings = (*warnings, *_judged(request, stated, key, form))
    provenance = ProfileProvenance(
        kind=request.kind or stated.kind,
        source=request.source or stated.source,
        fetched_at=known["date"],
        error=None,
        notes=(*_notes(request, stated), *warnings),
    )
    profile = Profile(
        key=key,
        engine_version=known["engine-version"],
        engine_args=dict(request.engine_args),
        kv_cache_tokens=request.kv_cache_tokens,
        form=form,
        provenance=provenance,
    )
    return Imported(profile=profile, details=dict(details), warnings=warnings)


def _judged(
    request: ImportRequest, stated: Stated, key: ProfileKey, form: PointsForm | LatencyModelForm | MatrixForm
) -> tuple[str, ...]:
    """Warnings. Raises InputError for what the GPU cannot do, of other than simulated engines."""
    if isinstance(form, LatencyModelForm) or stated.simulated:
        return ()
    speculative = stated.speculative or any("spec" in name.casefold() for name in request.engine_args)
    verdict = judge(key, form, speculative=speculative)
    if verdict.mistakes:
        source = ", ".join(str(path) for path in request.paths[:3])
        raise InputError([Mistake(source=source, message=message) for message in verdict.mistakes])
    return verdict.warnings


def other_gpu(request: ImportRequest, named: str | None) -> tuple[str, ...]:
    """A warning where a file names its GPU and --accelerator does not appear in that name."""
    given = (request.accelerator or "").partition("-")[0]
    if named is None or not given or given.casefold() in named.casefold():
        return ()
    return (f"the file is of {named!r}, which does not look like --accelerator {request.accelerator}: check it",)


def _known(request: ImportRequest, stated: Stated) -> dict[str, str]:
    """What identifies the profile, from the options before the file. Raises InputError with what is missing."""
    values = {
        "model": request.model or stated.model,
        "accelerator": request.accelerator,
        "engine": request.engine or stated.engine,
        "engine-version": request.engine_version or stated.engine_version,
        "date": request.date or stated.date,
    }
    mistakes = [
        Mistake(source=f"--{name}", message=f"is needed: the file does not say{_HINTS.get(name, '')}")
        for name, value in values.items()
        if not value
    ]
    for name, value in values.items():
        fault = invisible_fault(value or "")
        if fault:
            mistakes.append(Mistake(source=f"--{name}", message=f"{value!a} {fault}"))
    if values["date"] and not _is_date(values["date"]):
        mistakes.append(Mistake(source="--date", message=f"want YYYY-MM-DD, found {values['date'][:40]!r}"))
    layouts = (
        ("tensor-parallel", request.tensor_parallel, stated.tensor_parallel),
        ("dtype", request.dtype, stated.dtype),
    )
    for name, given, said in layouts:
        if given is not None and said is not None and given != said:
            mistakes.append(Mistake(source=f"--{name}", message=f"is {given}, but the file says {said}; leave it out"))
    kind = request.kind or stated.kind
    if stated.simulated and kind is not ProfileKind.ESTIMATED:
        message = f"may not be {kind.value}: the runs are of a simulated engine, and so 'estimated'"
        mistakes.append(Mistake(source="--kind", message=message))
    if mistakes:
        raise InputError(mistakes)
    return {name: value for name, value in values.items() if value}


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _notes(request: ImportRequest, stated: Stated) -> list[str]:
    notes = []
    if stated.simulated:
        notes.append("SIMULATED: the runs are of a simulated engine, not of a GPU")
    if stated.model and request.model and stated.model != request.model:
        notes.append(f"the file calls the model {stated.model!r}")
    return notes
