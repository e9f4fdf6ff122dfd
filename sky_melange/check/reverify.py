"""Whether a plan made earlier carries a workload by the profiles of today."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sky_melange import pipeline
from sky_melange.domain.buckets import Bucket
from sky_melange.domain.plan import Plan, ReplicaGroup, Route, max_concurrency
from sky_melange.domain.profile import Capacity, Profile, Skipped, SkipReason
from sky_melange.domain.size_estimate import capacity_of, size_estimates
from sky_melange.domain.workload import Workload
from sky_melange.optimizer import ProfileCapacities
from sky_melange.optimizer.verify import verify

_Capacities = Sequence[Capacity | Skipped]


def violations_of(
    plan: Plan, planned: Workload, wanted: Workload, profiles: Sequence[Profile]
) -> tuple[tuple[str, ...], Plan]:
    """What does not hold, and the plan as it would run today: shares on today's rates, loads by today's profiles.

    `planned` is what the plan was made for, `wanted` what is asked of it now.
    """
    buckets = wanted.traffic.buckets()
    # First what a plan of today would use, then the rest: a group may launch with other engine settings.
    selected = pipeline.selected_profiles(wanted, profiles)
    known = pipeline.capacities_of(wanted, _launched(plan, (*selected, *profiles)))
    chosen = {group.name: _profile_of(group, known) for group in plan.groups}
    capacities = {group.name: _capacities_of(group, chosen[group.name], wanted, buckets) for group in plan.groups}
    routing = _routes_at(plan, wanted, buckets)
    now = plan
    is_same_basis = pipeline.profiles_digest(selected) == plan.inputs.profiles
    same_sizes = planned.traffic.size_sets == wanted.traffic.size_sets
    if routing != plan.routing or not same_sizes or not is_same_basis:
        # Loads that are stated for other rates or profiles are computed anew; otherwise they must be what is stated.
        groups = tuple(
            _group_today(group, chosen[group.name], capacities[group.name], wanted, routing) for group in plan.groups
        )
        now = replace(plan, groups=groups, routing=routing)
    stated = _other_basis(plan, chosen) if is_same_basis else ()
    return (*_other_launch(planned, wanted), *stated, *verify(now, wanted, capacities)), now


def _launched(plan: Plan, profiles: Sequence[Profile]) -> Iterator[Profile]:
    """The profiles of the plan's layouts and engine settings, each once: capacities take time."""
    launched = {group.launched for group in plan.groups}
    seen: set[int] = set()
    for profile in profiles:
        if profile.launched in launched and id(profile) not in seen:
            seen.add(id(profile))
            yield profile


def _other_launch(planned: Workload, wanted: Workload) -> Iterator[str]:
    """What the launch files say and the workload now says otherwise."""
    for key in (
        "name",
        "model.id",
        "model.dtype",
        "model.quantization",
        "model.sizes",
        "model.max_model_len",
        "launch.mode",
        "launch.engine",
        "launch.engine_args",
    ):
        before, after = (_at(workload, key) for workload in (planned, wanted))
        if before != after:
            yield f"the plan was made for {key} {_shown(before)}, the workload says {_shown(after)}; plan again"


def _other_basis(plan: Plan, chosen: Mapping[str, ProfileCapacities | None]) -> Iterator[str]:
    """What groups say of profiles that have not changed since, and that those do not say."""
    for group in plan.groups:
        entry = chosen[group.name]
        if entry is not None and (group.profile, group.engine_version) != (
            entry.profile.provenance,
            entry.profile.engine_version,
        ):
            yield f"{group.name} states another origin or engine version of its profile than the profile itself"


def _at(value: object, key: str) -> object:
    for part in key.split("."):
        value = getattr(value, part)
    return value


def _shown(value: object) -> str:
    return " ".join(map(str, value)) or "(none)" if isinstance(value, tuple) else str(value)


def _profile_of(group: ReplicaGroup, known: Sequence[ProfileCapacities]) -> ProfileCapacities | None:
    """Today's profile of the layout and engine settings that the group launches; of several, the first."""
    return next((entry for entry in known if entry.profile.launched == group.launched), None)


def _capacities_of(
    group: ReplicaGroup, entry: ProfileCapacities | None, workload: Workload, buckets: Sequence[Bucket]
) -> _Capacities:
    if entry is not None:
        return (*entry.capacities, *entry.strays)
    model = f"{workload.model.profiled_id} ({workload.model.dtype})"
    detail = f"no profile of {model} on {group.accelerator} {group.layout_text} has these engine settings today"
    return tuple(
        Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail=detail) for _ in (*buckets, *size_estimates(workload).strays)
    )


def _routes_at(plan: Plan, workload: Workload, buckets: Sequence[Bucket]) -> tuple[Route, ...]:
    """The plan's shares at the rates of the workload; buckets without traffic any more are left out."""
    planned = {(route.input_tokens, route.output_tokens): route for route in plan.routing}
    if len(planned) != len(plan.routing):
        return plan.routing
    rates: Mapping[tuple[int, int], float] = {(b.input_tokens, b.output_tokens): b.rate_rps for b in buckets}
    if all(size in planned and planned[size].rate_rps == rate for size, rate in rates.items()):
        # At the rates that it was made for, what it states of the router must hold as stated.
        return tuple(planned[size] for size in rates)
    taken = size_estimates(workload).taken_rps(buckets) or (None,) * len(buckets)
    routes = tuple(
        replace(planned[size], rate_rps=rate, taken_rps=taken_rps)
        for (size, rate), taken_rps in zip(rates.items(), taken, strict=True)
        if size in planned
    )
    return routes or plan.routing


def _group_today(
    group: ReplicaGroup,
    entry: ProfileCapacities | None,
    capacities: _Capacities,
    workload: Workload,
    routing: Sequence[Route],
) -> ReplicaGroup:
    """The group with load and limit recomputed and, where there is one, today's provenance of its throughput."""
    shares = {(route.input_tokens, route.output_tokens): dict(route.shares).get(group.name, 0.0) for route in routing}
    buckets = workload.traffic.buckets()
    of_bucket = [shares.get((bucket.input_tokens, bucket.output_tokens), 0.0) for bucket in buckets]
    found: list[tuple[float, float]] = []
    for situation in workload.traffic.in_busiest_hours():
        loads = [
            (
                situation[part.bucket].rate_rps
                * part.fractions[0]
                * of_bucket[part.taken_for]
                / capacity.request_rate_rps,
                capacity.concurrency,
            )
            for part in size_estimates(workload).parts
            if isinstance(capacity := capacity_of(part, capacities), Capacity)
        ]
        busy = math.fsum(load for load, _ in loads)
        found.append((busy, math.fsum(load * concurrency for load, concurrency in loads) / busy if busy else 1.0))
    is_simulated = group.max_utilization is not None
    return replace(
        group,
        utilization=max(busy for busy, _ in found) / group.replicas,
        max_concurrency=max(max_concurrency(running, 1.0, is_simulated=is_simulated) for _, running in found),
        profile=group.profile if entry is None else entry.profile.provenance,
    )
