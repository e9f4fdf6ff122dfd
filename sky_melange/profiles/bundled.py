"""The profiles that ship with the package: catalogs/profiles/<model>/<accelerator>-tp<N>-<dtype>-<engine>.json.

Fitted ones end in `-fitted.json`, and name a layout other than plain tensor parallelism after the size. Two scripts
write them, each with its own index: `index.csv` lists the estimates of scripts/build_profiles.py, `index_fitted.csv`
the fits of scripts/fit_profiles.py. One replica may have a profile in both.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from sky_melange.domain.engine import can_launch
from sky_melange.domain.profile import Profile, ProfileKey, ProfileKind
from sky_melange.domain.workload import Model
from sky_melange.errors import MissingDataError
from sky_melange.profiles.profile_json import read_profile
from sky_melange.profiles.roofline import shape_of
from sky_melange.resources import data_path

_NOTE: Final = "Profile of {}, same architecture."

_INDEXES: Final = ("index.csv", "index_fitted.csv")


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Entry:
    """One line of an index: what the profile is of, and its file below catalogs/profiles."""

    key: ProfileKey
    kind: ProfileKind
    file: str


def models(engine: str = "vllm") -> tuple[tuple[str, str], ...]:
    """(model id, dtype) of every bundled profile that a plan can launch with an engine, sorted; read from the index."""
    keys = {entry.key for entry in entries() if entry.key.engine == engine and can_launch(engine, entry.key.layout)}
    return tuple(sorted({(key.model, key.dtype) for key in keys}))


def load(model: str, dtype: str, engine: str, accelerators: Collection[str] | None = None) -> tuple[Profile, ...]:
    """The bundled profiles of a model at a precision that a plan can launch, sorted by key."""
    found = [
        read(entry)
        for entry in entries()
        if (entry.key.model, entry.key.dtype, entry.key.engine) == (model, dtype, engine)
        and can_launch(engine, entry.key.layout)
        and (accelerators is None or entry.key.accelerator in accelerators)
    ]
    return tuple(sorted(found, key=lambda profile: profile.key))


@cache
def read(entry: Entry) -> Profile:
    """The profile of an entry."""
    return read_profile(_folder() / entry.file, is_bundled=True)


@cache
def entries() -> tuple[Entry, ...]:
    """Every bundled profile, sorted."""
    return tuple(sorted(_entry(row) for name in _INDEXES for row in _rows(_folder() / name)))


def twins(model: Model) -> tuple[str, ...]:
    """Other models with bundled profiles that have a model's sizes, sorted; none where its sizes are not known."""
    try:
        own = replace(shape_of(model), model="", unread_weights=0)
    except MissingDataError:
        return ()
    others = sorted({entry.key.model for entry in entries()} - {model.profiled_id})
    found = []
    for other in others:
        shape = shape_of(Model(id=other, dtype=model.dtype))
        if replace(shape, model="", unread_weights=0) == own:
            found.append(other)
    return tuple(found)


def twin_profiles(model: Model, engine: str, accelerators: Collection[str] | None) -> tuple[Profile, ...]:
    """The bundled profiles of `twins`, under the model's own name, each with a note that says whose it is."""
    found = []
    for other in twins(model):
        for profile in load(other, model.dtype, engine, accelerators):
            notes = (_NOTE.format(other), *profile.provenance.notes)
            provenance = replace(profile.provenance, notes=notes)
            found.append(replace(profile, key=replace(profile.key, model=model.profiled_id), provenance=provenance))
    return tuple(found)


def borrowed_from(profile: Profile) -> str | None:
    """The note of a profile that is of another model; None where it is the model's own."""
    before, after = _NOTE.split("{}")
    notes = profile.provenance.notes
    return next((note for note in notes if note.startswith(before) and note.endswith(after)), None)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _entry(row: dict[str, str]) -> Entry:
    return Entry(
        key=ProfileKey(
            model=row["model"],
            accelerator=row["accelerator"],
            tensor_parallel=int(row["tensor_parallel"]),
            dtype=row["dtype"],
            engine=row["engine"],
            layout=row.get("layout", ""),
        ),
        kind=ProfileKind(row.get("kind", ProfileKind.ESTIMATED.value)),
        file=row["file"],
    )


def _folder() -> Path:
    return data_path("catalogs", "profiles")
