"""The profiles for a workload, and what one replica of each sustains."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from sky_melange.domain.buckets import Bucket
from sky_melange.domain.engine import ENGINES, can_launch
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import ReplicaGroup
from sky_melange.domain.profile import Capacity, Profile, ProfileKey, ProfileKind, Skipped, SkipReason, attention_ranks
from sky_melange.domain.size_estimate import size_estimates
from sky_melange.domain.workload import Model, Workload
from sky_melange.errors import MissingDataError
from sky_melange.optimizer import ProfileCapacities, context_limited
from sky_melange.pipeline.digests import digest_of
from sky_melange.profiles import (
    bundled,
    continued,
    max_capacity,
    pessimistic,
    profiles_of,
    read_profiles,
    refusals,
    select,
    trusted,
    with_overhead,
)
from sky_melange.profiles.architectures import known_models, nearest
from sky_melange.profiles.bundled import twins
from sky_melange.profiles.gpu_compute import without_kernels
from sky_melange.profiles.loading import disk_gb, host_memory, too_large_to_load
from sky_melange.profiles.roofline import ENGINE as ESTIMATED_ENGINE
from sky_melange.profiles.roofline import has_shape, shape_of
from sky_melange.profiles.selection import gaps_of


def profiles_for(workload: Workload, book: PriceBook, folder: Path) -> tuple[Profile, ...]:
    """Bundled profiles, the workload's own files (relative to `folder`), and estimates unless it forbids them.

    Only accelerators that are on offer and have no other profile of all of the traffic are estimated.
    """
    wanted = workload.candidates.accelerators
    offered = {offer.accelerator for offer in book.offers if offer.accelerators_per_instance > 0}
    offered |= {gpus.accelerator for gpus in workload.candidates.own}
    return profiles_on(workload, wanted, offered if wanted is None else offered & set(wanted), folder)


def profiles_on(
    workload: Workload, wanted: Collection[str] | None, estimable: Collection[str], folder: Path
) -> tuple[Profile, ...]:
    """The profiles of `wanted` accelerators (None: all), and estimates of those `estimable` that have no other.

    Accelerators for which the engine has no kernels have none.

    Each as this traffic is planned with it: laws are continued to its sizes, and all are as slow as the pessimistic end
    of their stated error (`profiles.confidence`), and as adapters make them.
    """
    model, policy, engines = workload.model, workload.profiles, workload.launch.engines
    found = profiles_of(model, engines, wanted)
    paths = [folder / name for name in policy.files]
    found += read_profiles(paths, model.profiled_id, model.dtype, engines, wanted)
    found = tuple(each for each in found if without_kernels(each.key.accelerator, [each.key.engine]) is None)
    sizes = [(b.planned_input_tokens, b.planned_output_tokens, b.rate_rps) for b in workload.traffic.buckets()]
    slo = workload.slo.of_means()
    made = [continued(profile, sizes, slo, is_unlimited=policy.extrapolate) for profile in found]
    shapes = [(inputs, outputs) for inputs, outputs, _ in sizes]
    known = {p.key.accelerator for p in made if policy.extrapolate or not gaps_of(p, shapes)}
    missing = {name for name in estimable if name not in known and without_kernels(name, engines) is None}
    if missing and _may_estimate(workload):
        from sky_melange.profiles.roofline import estimated_profiles

        longest = (max(inputs for inputs, _ in shapes), max(outputs for _, outputs in shapes))
        for engine in engines:
            made += estimated_profiles(shape_of(model), model.dtype, engine, missing, longest)[0]
    overhead = model.adapter_overhead or 0.0
    return tuple(with_overhead(pessimistic(profile, policy.confidence), overhead) for profile in made)


def _may_estimate(workload: Workload) -> bool:
    """Whether estimates are wanted, trusted and possible. Those of accelerators that are named are refused by name."""
    if not workload.profiles.estimate:
        return False
    is_trusted = workload.constraints.min_profile_kind in {None, ProfileKind.ESTIMATED}
    is_named = workload.candidates.accelerators is not None
    return (is_trusted or is_named) and has_shape(workload.model)


def capacities_of(workload: Workload, profiles: Iterable[Profile]) -> list[ProfileCapacities]:
    """What one replica of each profile sustains on each bucket; layouts that cannot hold the context are left out."""
    buckets = workload.traffic.buckets()
    strays = size_estimates(workload).strays
    max_model_len = workload.model.max_model_len
    places = {(bucket.input_index, bucket.output_index): place for place, bucket in enumerate(buckets)}
    own = [places[stray.input_index, stray.output_index] for stray in strays]
    memory = host_memory(workload.model)
    found = []
    for profile in profiles:
        capacities = [_capacity(profile, bucket, workload) for bucket in buckets]
        # What can be served at its bucket's size needs no second look.
        capacities += [
            capacities[place] if isinstance(capacities[place], Capacity) else _capacity(profile, stray, workload)
            for place, stray in zip(own, strays, strict=True)
        ]
        if max_model_len is not None:
            capacities = [*context_limited(profile, capacities, (*buckets, *strays), max_model_len)]
        if (reason := too_large_to_load(workload.model, profile.key)) is not None:
            capacities = [Skipped(reason=SkipReason.MEMORY, detail=reason)] * len(capacities)
        split = len(buckets)
        found.append(
            ProfileCapacities(
                profile=profile,
                capacities=tuple(capacities[:split]),
                strays=tuple(capacities[split:]),
                host_memory=memory,
            )
        )
    return found


def _capacity(profile: Profile, bucket: Bucket, workload: Workload) -> Capacity | Skipped:
    size = (bucket.planned_input_tokens, bucket.planned_output_tokens)
    return max_capacity(
        profile,
        *size,
        workload.slo.of_means(),
        cached_tokens=int(workload.traffic.cached_tokens(bucket.planned_input_tokens)),
        extrapolate=workload.profiles.extrapolate,
    )


def selected_profiles(workload: Workload, profiles: Iterable[Profile]) -> tuple[Profile, ...]:
    """The profiles that a plan rests on: one for each layout, see `profiles.select`."""
    found = trusted(profiles, workload.constraints.min_profile_kind).profiles
    return select(found, planned_sizes(workload), extrapolate=workload.profiles.extrapolate).profiles


def trusted_profiles(workload: Workload, profiles: Sequence[Profile]) -> tuple[tuple[Profile, ...], tuple[str, ...]]:
    """The profiles that `constraints.min_profile_kind` lets through, and sentences about what it refuses.

    Raises MissingDataError with the kinds that there are when none is left.
    """
    weakest = workload.constraints.min_profile_kind
    found = trusted(profiles, weakest)
    refused = tuple(refusals(found, weakest))
    if not found.profiles:
        listed = "\n".join(f"  {sentence}" for sentence in refused)
        raise MissingDataError(f"every profile of {_profiled(workload)} is of too weak a kind:\n{listed}")
    return found.profiles, refused


def no_profile(workload: Workload) -> MissingDataError:
    """The error where there is no profile at all: what to write in its first line, then what there is."""
    model, engines, wanted = workload.model, workload.launch.engines, workload.candidates.accelerators
    where = "" if wanted is None else f" on any of {', '.join(wanted)}"
    entries = bundled.entries()
    same = {model.profiled_id, *twins(model)}
    of_model = [entry.key for entry in entries if entry.key.model in same]
    usable = [key for key in of_model if _launchable(key, engines)]
    lines = [
        f"{_way_out(workload, where)}: there is no profile of {_profiled(workload)}{where} that "
        f"{' or '.join(engines)} can launch"
    ]
    fitting = sorted({key.accelerator for key in usable if key.dtype == model.dtype})
    if fitting:
        lines.append(f"There are profiles on {', '.join(fitting)}; add one of them to candidates.accelerators.")
    others = sorted({key.dtype for key in usable} - {model.dtype})
    if others:
        lines.append(f"There are profiles of it in {' and '.join(others)}, for checkpoints that have that dtype.")
    unused = [key for key in of_model if key not in usable]
    elsewhere = sorted({key.engine for key in unused if _launchable(key, ENGINES) and key.dtype == model.dtype})
    if elsewhere:
        lines.append(
            f"There are profiles of {' and '.join(elsewhere)}: write `launch.engine: {elsewhere[0]}`, or `any`."
        )
    if unused:
        counts = Counter(f"{key.engine} {key.dtype}{f', {key.layout}' if key.layout else ''}" for key in unused)
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
        lines.append(f"{len(unused)} bundled profiles of it are of other engines or layouts: {listed}.")
    if unused and not any(_launchable(key, ENGINES) for key in of_model):
        lines.append("No launch files are written for any of these: they serve as evidence only.")
    near = _nearest(model, {e.key.model for e in entries if _launchable(e.key, engines)} - same)
    if near:
        lines.append(f"The nearest models with profiles: {', '.join(near)}.")
    return MissingDataError("\n  ".join(lines))


def _way_out(workload: Workload, where: str) -> str:
    wanted = workload.candidates.accelerators or ()
    reasons = [without_kernels(name, workload.launch.engines) for name in wanted]
    if wanted and None not in reasons:
        return f"name other candidates.accelerators: {', '.join(filter(None, reasons))}"
    if _size(workload.model) is None:
        also = "" if workload.profiles.estimate else " and `profiles: {estimate: true}`"
        return f"write `model.config: config.json` with the model's public configuration{also}"
    if not workload.profiles.estimate:
        return "write `profiles: {estimate: true}` to estimate it from datasheets"
    if ESTIMATED_ENGINE not in workload.launch.engines:
        return (
            f"write `launch.engine: {ESTIMATED_ENGINE}`, of which estimates are, or name profiles under profiles.files"
        )
    return f"name other candidates.accelerators{'' if where else ' or clouds'}: none on offer can be estimated for it"


def _nearest(model: Model, others: Collection[str]) -> list[str]:
    """Other models: those of the nearest size where it is known, else those that share words of the name."""
    own = _size(model)
    if own is None:
        return nearest(model.profiled_id, others)
    shapes = known_models()
    return sorted(others, key=lambda other: (abs(math.log(shapes[other].parameters / own)), other))[:3]


def _size(model: Model) -> int | None:
    try:
        return shape_of(model).parameters
    except MissingDataError:
        return None


def _launchable(key: ProfileKey, engines: Collection[str]) -> bool:
    return key.engine in engines and can_launch(key.engine, key.layout)


def _profiled(workload: Workload) -> str:
    return f"{workload.model.profiled_id} ({workload.model.dtype})"


def launched_groups(groups: Iterable[ReplicaGroup], model: Model) -> tuple[ReplicaGroup, ...]:
    """The groups with what their launch files must know of the model: how its weights are spread, and their disk.

    Data-parallel ranks of one vLLM share the experts of a mixture: another layout than that of any profile, which is of
    one replica alone. Ranks of SGLang are replicas of their own, unless each has ranks of attention itself.
    """
    shape = shape_of(model) if has_shape(model) else None
    is_dense = shape is not None and shape.experts == 0
    found = []
    for group in groups:
        has_ranks = attention_ranks(group.layout, group.tensor_parallel) > 1
        shares = has_ranks or (group.engine == "vllm" and not is_dense)
        runs_apart = shares and group.replicas_per_instance > 1
        found.append(replace(group, disk_gb=disk_gb(model), runs_apart=runs_apart))
    return tuple(found)


def planned_sizes(workload: Workload) -> list[tuple[int, int]]:
    """(input tokens, output tokens) at which each bucket is planned."""
    return [(b.planned_input_tokens, b.planned_output_tokens) for b in workload.traffic.buckets()]


def profiles_digest(profiles: Iterable[Profile]) -> str:
    """sha256 (hex) of profiles, in whatever order they come."""
    return digest_of(repr(profile) for profile in profiles)
