"""What a plan must say about the profiles behind it: better ones that were passed over, and extrapolation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sky_melange.domain.plan import Route
from sky_melange.domain.profile import Profile, ProfileKind
from sky_melange.domain.workload import Model, Workload
from sky_melange.profiles.architectures import architecture_of
from sky_melange.profiles.capacity import covers
from sky_melange.profiles.selection import RANKS, PassedOver, Trusted
from sky_melange.profiles.twins import borrowed_from

_MOST_SIZES = 3


def profile_remarks(
    used: Mapping[str, Profile],
    routing: Sequence[Route],
    sizes: Sequence[tuple[int, int]],
    passed_over: Iterable[PassedOver],
) -> Iterator[str]:
    """Sentences about the profile of each group, by the group's name.

    `sizes` are the (input, output) tokens that each route's bucket is planned at, in the order of `routing`.
    """
    missed = {item.key: item for item in passed_over}
    for name, profile in sorted(used.items()):
        item = missed.get(profile.key)
        if item is not None:
            yield (
                f"Throughput of {name}: the {item.kind} profile does not cover the traffic ({item.reason}); the "
                f"{profile.provenance.kind} one is used."
            )
        outside = [
            reason
            for route, size in zip(routing, sizes, strict=True)
            if any(group == name and share > 0 for group, share in route.shares)
            for reason in [covers(profile, *size)]
            if reason is not None
        ]
        if outside:
            more = f", and {len(outside) - _MOST_SIZES} more sizes" if len(outside) > _MOST_SIZES else ""
            yield f"Throughput of {name} is extrapolated beyond its profile: {'; '.join(outside[:_MOST_SIZES])}{more}."
        if profile.provenance.continued_from:
            yield (
                f"Throughput of {name} is that of {profile.provenance.continued_from}, continued by the fitted law to "
                "the sizes of this traffic, which nobody measured on this layout; its error is that of held-out sizes."
            )


def unprofiled(wanted: Iterable[str] | None, profiles: Iterable[Profile]) -> Iterator[str]:
    """A sentence about accelerators that the workload names and nothing is known of."""
    known = {profile.key.accelerator for profile in profiles}
    missing = sorted(set(wanted or ()) - known)
    if missing:
        yield (
            f"No profile of this model on {', '.join(missing)}, so not considered: they are not estimated either "
            "(profiles: {estimate: false}, unknown sizes of the model, or incomplete datasheets)."
        )


def profile_assumptions(workload: Workload, used: Mapping[str, Profile]) -> Iterator[str]:
    """What the plan believes about profiles; `used`: the profile of each group, by the group's name."""
    model = workload.model
    borrowed: dict[str, list[str]] = {}
    for name, profile in sorted(used.items()):
        note = borrowed_from(profile)
        if note is not None:
            borrowed.setdefault(note, []).append(name)
    yield from (f"Throughput of {', '.join(names)}: {note[0].lower()}{note[1:]}" for note, names in borrowed.items())
    if model.dtype == "fp8" and model.quantization is None and model.id == model.profiled_id:
        yield from _online(model)
    if model.profiled_id != model.id:
        yield (
            f"Throughput is that of {model.profiled_id}, as model.profile_as says: {model.id} is taken to be as fast "
            "and to need as much memory."
        )
    confidence = workload.profiles.confidence
    yield (
        f"Throughput: replicas are taken to be as slow as the pessimistic end of their profile's stated error: "
        f"{confidence:.0%} sure, as profiles.confidence says."
        if confidence > 0.5
        else "Throughput is as predicted, whatever the error of the profiles (profiles.confidence: 0.5)."
    )
    weakest = workload.constraints.min_profile_kind
    if weakest is not None:
        yield f"Profiles weaker than {weakest} are not used, as constraints.min_profile_kind says."


def _online(model: Model) -> Iterator[str]:
    """Where it is known that the checkpoint has 16 bits."""
    row = architecture_of(model.id)
    if model.sizes is not None or (row is not None and row.model.lower() == model.id.lower()):
        yield f"The engine quantises {model.id} to fp8 while loading: the checkpoint has 16 bits."


def refusals(found: Trusted, weakest: ProfileKind | None) -> Iterator[str]:
    """One sentence for each accelerator with layouts that only refused profiles describe, sorted by name."""
    kept = {profile.key for profile in found.profiles}
    kinds: dict[str, dict[int, set[ProfileKind]]] = {}
    for key, kind in found.refused:
        if key not in kept:
            kinds.setdefault(key.accelerator, {}).setdefault(key.tensor_parallel, set()).add(kind)
    known = {key.accelerator for key in kept}
    for accelerator, layouts in sorted(kinds.items()):
        there = [kind.value for kind in RANKS if any(kind in of_layout for of_layout in layouts.values())]
        sizes = f" TP {', '.join(map(str, sorted(layouts)))}" if accelerator in known else ""
        yield (
            f"{accelerator}{sizes}: only {' and '.join(there)} profiles, weaker than constraints.min_profile_kind: "
            f"{weakest}; not considered."
        )
