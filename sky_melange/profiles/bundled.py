"""The profiles that ship with the package: catalogs/profiles/<model>/<accelerator>-tp<N>-<dtype>-<engine>.json.

Fitted ones end in `-fitted.json`, and name a layout other than plain tensor parallelism after the size. Two scripts
write them, each with its own index: `index.csv` lists the estimates of scripts/build_profiles.py, `index_fitted.csv`
the fits of scripts/fit_profiles.py. One replica may have a profile in both.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from sky_melange.domain.engine import can_launch
from sky_melange.domain.profile import Profile, ProfileKey, ProfileKind
from sky_melange.profiles.profile_json import read_profile
from sky_melange.resources import data_path

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
