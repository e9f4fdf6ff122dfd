"""A plan made earlier by the profiles and traffic of today: whether it carries the workload, and whether enough of the
requests meet their targets in simulation, also without the instances whose loss it is to survive.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sky_melange import pipeline
from sky_melange.check.checks import within
from sky_melange.domain.buckets import Bucket
from sky_melange.domain.check import Check, Unit, Verdict
from sky_melange.domain.plan import Plan, ReplicaGroup, Route, SimulatedPlan, max_concurrency
from sky_melange.domain.profile import Capacity, MatrixForm, Profile, Skipped, SkipReason
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.size_estimate import capacity_of, size_estimates
from sky_melange.domain.workload import Workload
from sky_melange.optimizer import ProfileCapacities
from sky_melange.optimizer.verify import hours_of, in_period, verify

if TYPE_CHECKING:
    from sky_melange.pipeline.simulator import Simulator
    from sky_melange.traces.request_log import RequestLog


_SAME = 1e-9
_SAYS = "the share of simulated requests that miss a target"

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


def attainment_checks(
    plan: Plan,
    workload: Workload,
    profiles: Sequence[Profile],
    simulator: Simulator | None,
    log: RequestLog | None,
) -> tuple[tuple[Check, ...], Simulation | SimulatedPlan | None]:
    """One check where the workload sets an attainment, and what was simulated. It fails where nothing is known."""
    wanted = workload.slo.attainment
    stated = plan.simulated
    if wanted is None:
        return (), stated
    found: Simulation | SimulatedPlan | None = stated
    missed = None if stated is None else 1 - stated.attainment
    details: tuple[str, ...] = ("as planned; not simulated again",)
    if stated is None:
        details = ("the plan was made without simulation; plan again without --no-simulate",)
    if simulator is not None:
        by_layout = {
            profile.launched: profile for profile in reversed(profiles) if not isinstance(profile.form, MatrixForm)
        }
        layouts = {group.name: group.launched for group in plan.groups}
        unknown = [name for name, layout in layouts.items() if layout not in by_layout]
        if unknown:
            missed, details = None, (f"there are no latencies today of {', '.join(unknown)}; plan again",)
            found = None
        else:
            chosen = {name: by_layout[layout] for name, layout in layouts.items()}
            found, missed, details = _worst(plan, workload, chosen, simulator, log)
            if stated is not None and plan.schedule is None and abs(1 - stated.attainment - missed) > _SAME:
                details = (*details, f"the plan says {1 - stated.attainment:.4%}: traffic or profiles changed since")
    check = Check(
        name="attainment",
        verdict=Verdict.FAIL if missed is None else within(missed, 1 - wanted),
        figure=missed,
        limit=1 - wanted,
        unit=Unit.FRACTION,
        says=_SAYS,
        details=details,
    )
    return (check,), found


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


def _worst(
    plan: Plan,
    workload: Workload,
    profiles: dict[str, Profile],
    simulator: Simulator,
    log: RequestLog | None,
) -> tuple[Simulation, float, tuple[str, ...]]:
    """The whole fleet, and the share that misses with all instances or after the worst loss that it is to survive.

    Of a schedule the worst of its periods, each at its own rate.

    By the seed and as many requests as the plan was judged by, so that one that has not changed is judged alike.
    """
    from sky_melange.pipeline.judging import final_scenario
    from sky_melange.pipeline.simulating import usual_requests
    from sky_melange.simulation import fleet_of, without

    if plan.schedule is not None:
        views = [in_period(plan, workload, period) for period in plan.schedule.periods if period.rate_rps]
        found = [_worst(view, asked, profiles, simulator, log) for view, asked in views]
        number = max(range(len(found)), key=lambda each: found[each][1])
        return found[0][0], found[number][1], (hours_of(plan.schedule.periods[number]), *found[number][2])
    traffic = workload.traffic
    if len(traffic.size_sets) > 1 and traffic.hours is not None:
        rates_rps = traffic.hours.busiest_rps
        asked = [replace(workload, traffic=traffic.within(*each)) for each in enumerate(rates_rps)]
        found = [_worst(plan, each, profiles, simulator, log) for each in asked]
        number = max(range(len(found)), key=lambda each: found[each][1])
        hours = f"in the busiest hour with the sizes {traffic.size_sets[number].name!r}"
        return found[number][0], found[number][1], (hours, *found[number][2])
    fleet, scenario = fleet_of(plan, workload, profiles), final_scenario(workload, log, usual_requests(plan))
    left = {group.name: group.instances for group in plan.groups}
    whole = simulator(fleet, scenario, workload.slo)
    worst: tuple[float, tuple[str, ...]] = 1 - whole.held, ()
    for lost in (each.lost for each in plan.contingencies):
        after = {**left, **{name: left.get(name, 0) - count for name, count in lost}}
        is_some_left = min(after.values()) >= 0 and any(after.values())
        missed = 1 - simulator(without(fleet, lost), scenario, workload.slo).held if is_some_left else 1.0
        if missed > worst[0]:
            worst = missed, (f"that is without {', '.join(f'{count} of {name}' for name, count in lost)}",)
    return whole, *worst
