"""What a plan must say about the profiles behind it: better ones that were passed over, and extrapolation."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from sky_melange.domain.engine import ENGINES, version_gap
from sky_melange.domain.plan import Route
from sky_melange.domain.profile import LatencyModelForm, Profile, ProfileKind
from sky_melange.domain.workload import Model, Workload
from sky_melange.profiles import bundled
from sky_melange.profiles.architectures import architecture_of
from sky_melange.profiles.bundled import borrowed_from, twins
from sky_melange.profiles.capacity import covers
from sky_melange.profiles.gpu_compute import without_kernels
from sky_melange.profiles.latency_model import NEAR_FRACTION
from sky_melange.profiles.loading import adapters_bytes
from sky_melange.profiles.selection import RANKS, PassedOver, Trusted

_MOST_SIZES = 3
_TITLES = {"trtllm": "TensorRT-LLM"}


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


def beyond_laws(used: Mapping[str, Profile], inputs: Sequence[int]) -> Iterator[str]:
    """How many of the replayed requests, by their input tokens, are longer than a group's law is continued to."""
    ends: dict[int, list[str]] = {}
    for name, profile in sorted(used.items()):
        if inputs and isinstance(profile.form, LatencyModelForm):
            ends.setdefault(profile.form.ranges.input_tokens[1], []).append(name)
    for end, names in sorted(ends.items()):
        share = sum(tokens > end * (1 + NEAR_FRACTION) for tokens in inputs) / len(inputs)
        if share:
            yield (
                f"Throughput of {', '.join(names)}: {share:.2%} of the requests have more than {end} input tokens, to "
                "which the fitted law is continued at most; they are simulated by it all the same, and may take longer."
            )


def elsewhere_measured(workload: Workload, used: Mapping[str, Profile]) -> Iterator[str]:
    """A sentence for groups that are estimated though another engine was measured on their GPUs, by engine."""
    model, dtype = workload.model, workload.model.dtype
    same = {model.profiled_id, *twins(model)}
    groups: dict[tuple[str, str], list[str]] = {}
    for name, profile in sorted(used.items()):
        if profile.provenance.kind is not ProfileKind.ESTIMATED:
            continue
        measured = {
            entry.key.engine
            for entry in bundled.entries()
            if entry.key.model in same and (entry.key.dtype, entry.key.accelerator) == (dtype, profile.key.accelerator)
            if RANKS.index(entry.kind) < RANKS.index(ProfileKind.ESTIMATED)
        }
        for engine in sorted(measured - set(workload.launch.engines)):
            groups.setdefault((engine, profile.key.accelerator), []).append(name)
    for (engine, accelerator), names in sorted(groups.items()):
        known = ENGINES.get(engine)
        way_out = (
            "for which no launch files are written: those runs serve as evidence only"
            if known is None
            else f"write `launch.engine: {engine}`, or `any`, to plan with that"
        )
        yield (
            f"Throughput of {', '.join(names)} is estimated; on {accelerator} "
            f"{_TITLES.get(engine, known.title if known else engine)} was measured, {way_out}."
        )


def engine_versions(used: Mapping[str, Profile]) -> Iterator[str]:
    """A sentence for each version that is launched and the versions that its profiles are of."""
    apart: dict[str, dict[str, list[str]]] = {}
    for name, profile in sorted(used.items()):
        gap = version_gap(profile.key.engine, profile.engine_version)
        if gap is not None:
            apart.setdefault(profile.key.engine, {}).setdefault(gap, []).append(name)
    for engine, gaps in sorted(apart.items()):
        listed = "; ".join(f"the profile of {', '.join(names)} is {gap}" for gap, names in sorted(gaps.items()))
        yield (
            f"Engine: {ENGINES[engine].title} {ENGINES[engine].version} is launched, and taken to be as fast as the "
            f"version that was profiled: {listed}."
        )


def unprofiled(wanted: Iterable[str] | None, profiles: Iterable[Profile], engines: Collection[str]) -> Iterator[str]:
    """Sentences about accelerators that the workload names and that are no candidates."""
    known = {profile.key.accelerator for profile in profiles}
    reasons = {name: without_kernels(name, engines) for name in sorted(set(wanted or ()) - known)}
    yield from (f"{name} is not considered: {reason}." for name, reason in reasons.items() if reason is not None)
    missing = [name for name, reason in reasons.items() if reason is None]
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
    if model.adapters:
        yield (
            f"Engines are taken to be {model.adapter_overhead or 0.0:.0%} slower for the {len(model.adapters)} "
            "adapters, as model.adapter_overhead says, whichever of them a request asks for; the "
            f"{adapters_bytes(model) / 1e9:.1f} GB that they take of the KV cache's memory are not counted there."
        )
    yield from engine_versions(used)
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
