"""Models of the same architecture share profiles: an engine does the same work for a base model and its fine-tunes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Final

from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import Model
from sky_melange.errors import MissingDataError
from sky_melange.profiles import bundled
from sky_melange.profiles.estimates import shape_of

_NOTE: Final = "Profile of {}, same architecture."


def twins(model: Model) -> tuple[str, ...]:
    """Other models with bundled profiles that have a model's sizes, sorted; none where its sizes are not known."""
    try:
        own = replace(shape_of(model), model="", unread_weights=0)
    except MissingDataError:
        return ()
    others = sorted({entry.key.model for entry in bundled.entries()} - {model.profiled_id})
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
        for profile in bundled.load(other, model.dtype, engine, accelerators):
            notes = (_NOTE.format(other), *profile.provenance.notes)
            provenance = replace(profile.provenance, notes=notes)
            found.append(replace(profile, key=replace(profile.key, model=model.profiled_id), provenance=provenance))
    return tuple(found)


def borrowed_from(profile: Profile) -> str | None:
    """The note of a profile that is of another model; None where it is the model's own."""
    before, after = _NOTE.split("{}")
    notes = profile.provenance.notes
    return next((note for note in notes if note.startswith(before) and note.endswith(after)), None)
