"""Throughput profiles: where they come from and what they say about a request size.

`PROFILE_SOURCES` names every source; a source is a function (model, dtype, engine, accelerators) -> profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from sky_melange.domain.profile import Profile
from sky_melange.profiles import bundled
from sky_melange.profiles.bundled import models as known_models
from sky_melange.profiles.capacity import max_capacity

__all__ = ["PROFILE_SOURCES", "known_models", "load_profiles", "max_capacity"]

ProfileSource = Callable[[str, str, str, Collection[str] | None], tuple[Profile, ...]]

PROFILE_SOURCES: Final[dict[str, ProfileSource]] = {"bundled": bundled.load}


def load_profiles(
    model: str, dtype: str, engine: str, accelerators: Collection[str] | None = None
) -> tuple[Profile, ...]:
    """All profiles of a model at a precision, from every source, sorted by key; empty when there is none."""
    found = [profile for source in PROFILE_SOURCES.values() for profile in source(model, dtype, engine, accelerators)]
    return tuple(sorted(found, key=lambda profile: profile.key))
