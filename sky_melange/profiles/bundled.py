"""The profiles that ship with the package: catalogs/profiles/<model>/<accelerator>-tp<N>-<dtype>-<engine>.json."""

from __future__ import annotations

import csv
from collections.abc import Collection
from functools import cache
from pathlib import Path

from sky_melange.domain.profile import Profile
from sky_melange.profiles.profile_json import read_profile
from sky_melange.resources import data_path


def models() -> tuple[tuple[str, str], ...]:
    """(model id, dtype) of every bundled profile, sorted; read from the index, not from the profiles."""
    return tuple(sorted({(row["model"], row["dtype"]) for row in _index()}))


def load(model: str, dtype: str, engine: str, accelerators: Collection[str] | None = None) -> tuple[Profile, ...]:
    """The bundled profiles of a model at a precision, sorted by accelerator and tensor parallel size."""
    rows = [
        row
        for row in _index()
        if (row["model"], row["dtype"], row["engine"]) == (model, dtype, engine)
        and (accelerators is None or row["accelerator"] in accelerators)
    ]
    profiles = (read_profile(_folder() / row["file"]) for row in rows)
    return tuple(sorted(profiles, key=lambda profile: profile.key))


def _folder() -> Path:
    return data_path("catalogs", "profiles")


@cache
def _index() -> tuple[dict[str, str], ...]:
    """catalogs/profiles/index.csv: model, accelerator, tensor_parallel, dtype, engine, file."""
    with (_folder() / "index.csv").open(newline="", encoding="utf-8") as stream:
        return tuple(csv.DictReader(stream))
