"""Throughput profiles: where they come from and what they say about a request size.

`PROFILE_SOURCES` names every source.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from sky_melange.domain.engine import ENGINES, can_launch
from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import Model
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles import bundled
from sky_melange.profiles.bundled import models as known_models
from sky_melange.profiles.capacity import max_capacity
from sky_melange.profiles.continuation import continued
from sky_melange.profiles.pessimism import pessimistic, with_overhead
from sky_melange.profiles.profile_json import read_profile
from sky_melange.profiles.remarks import (
    beyond_laws,
    elsewhere_measured,
    profile_assumptions,
    profile_remarks,
    refusals,
    unprofiled,
)
from sky_melange.profiles.selection import Selection, select, trusted

__all__ = [
    "PROFILE_SOURCES",
    "Selection",
    "beyond_laws",
    "continued",
    "elsewhere_measured",
    "known_models",
    "load_profiles",
    "max_capacity",
    "pessimistic",
    "profile_assumptions",
    "profile_remarks",
    "profiles_of",
    "read_profiles",
    "refusals",
    "select",
    "trusted",
    "unprofiled",
    "with_overhead",
]

ProfileSource = Callable[[str, str, str, Collection[str] | None], tuple[Profile, ...]]
"""(model, dtype, engine, accelerators or all) -> profiles, each with its provenance; () where it has none."""

PROFILE_SOURCES: Final[dict[str, ProfileSource]] = {
    "bundled": bundled.load,
}


def load_profiles(
    model: str, dtype: str, engine: str, accelerators: Collection[str] | None = None
) -> tuple[Profile, ...]:
    """All profiles of a model at a precision, from every source, sorted by key; empty when there is none.

    One replica may have several, of different kinds: `select` chooses.
    """
    found = [profile for source in PROFILE_SOURCES.values() for profile in source(model, dtype, engine, accelerators)]
    return tuple(sorted(found, key=lambda profile: profile.key))


def profiles_of(
    model: Model, engines: Collection[str], accelerators: Collection[str] | None = None
) -> tuple[Profile, ...]:
    """All profiles of a workload's model, its own before those of models with the same architecture."""
    from sky_melange.profiles.bundled import twin_profiles

    own = [each for engine in engines for each in load_profiles(model.profiled_id, model.dtype, engine, accelerators)]
    return (*own, *(each for engine in engines for each in twin_profiles(model, engine, accelerators)))


def read_profiles(
    paths: Collection[Path],
    model: str,
    dtype: str,
    engines: Collection[str],
    accelerators: Collection[str] | None = None,
) -> tuple[Profile, ...]:
    """The user's own profile files.

    Raises InputError when one cannot be read, is of another model or precision, or cannot be launched.
    """
    profiles: list[Profile] = []
    mistakes: list[Mistake] = []
    for path in paths:
        try:
            profile = read_profile(path)
        except InputError as error:
            mistakes += error.mistakes
            continue
        key = profile.key
        if (key.model, key.dtype) != (model, dtype) or key.engine not in engines:
            found = f"{key.model} ({key.dtype}, {key.engine})"
            message = f"is a profile of {found}; the workload asks for {model} ({dtype}, {' or '.join(engines)})"
            mistakes.append(Mistake(source=str(path), message=message))
        elif not can_launch(key.engine, key.layout):
            known = ", ".join(sorted(filter(None, ENGINES[key.engine].layouts)))
            message = f"there are no launch files for it with {key.engine}: leave it out for plain tensor parallelism"
            mistakes.append(Mistake(source=str(path), key="layout", message=f"{message}, or write one of {known}"))
        elif accelerators is None or key.accelerator in accelerators:
            profiles.append(profile)
    if mistakes:
        raise InputError(mistakes)
    return tuple(sorted(profiles, key=lambda profile: profile.key))
