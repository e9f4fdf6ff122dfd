"""How SkyServe must be told to follow the hours, so that enough requests meet their targets: found by replaying them.

The replay goes through the windows of `Hours.windows_rps`, or through the hours where these are not known, by the rules
of SkyServe's autoscaler (`simulation/autoscaler.py`). What instances carry is what the periods of the schedule were
planned for; what becomes of requests when more come than that is asked of the simulation once, on the busiest period.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from sky_melange.domain.explanation import ClockValue
from sky_melange.domain.hours import WINDOW_MINUTES, Autoscaling, Scaling, Schedule, hour_name
from sky_melange.domain.plan import Plan, terms_of
from sky_melange.domain.scaling import DECISION_SECONDS, ReplicaPolicy, scaling_of
from sky_melange.domain.workload import Workload
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.render.router_haproxy import health_checks_rps
from sky_melange.render.skypilot_yaml import replica_policies
from sky_melange.simulation.autoscaler import autoscaled

if TYPE_CHECKING:
    from sky_melange.domain.profile import Profile
    from sky_melange.optimizer import Model
    from sky_melange.pipeline.simulator import Simulator
    from sky_melange.traces.request_log import RequestLog

HEADROOMS: Final = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 1.0, 1.5, 2.0)
LEAST: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Tried in this order: of those that hold, the cheapest is taken. No reserve is less than that of the hours."""

HALF: Final = 0.5
"""Of LEAST: what is priced against traffic that stops and comes back at once, of which known weeks need say nothing."""

LOADS: Final = (0.8, 0.9, 1.0, 1.05, 1.1, 1.2, 1.35, 1.5)
"""Of the rate that the instances are planned for; beyond the last every request misses."""

_FASTER_MINUTES: Final = 5.0
_USUAL_TARGET: Final = 0.99
"""Of the requests, where the workload asks for means alone."""

Held = tuple[tuple[float, float], ...]
"""(load as in LOADS, the share of the requests that meet every target then), rising."""

BY_MEANS: Final[Held] = ((1.0, 1.0), (1.0, 0.0))
"""Where nothing is simulated: all hold at what is planned, none beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """`mean_instances` of each group are paid; `serving[interval]` of each group answer, for DECISION_SECONDS each."""

    attainment: float
    mean_instances: tuple[float, ...]
    serving: tuple[tuple[int, ...], ...]


def with_clock(
    plan: Plan,
    fixed: Model,
    workload: Workload,
    used: Mapping[str, Profile],
    simulator: Simulator | None,
    log: RequestLog | None,
) -> Plan:
    """A plan with hours and, where SkyServe follows them, how; where it is explained, what following them is worth.

    `fixed` is what the fleet around the clock was chosen from, `used` the profile of each group.
    """
    is_autoscaled = scaling_of(plan, workload) is Scaling.AUTOSCALE
    if not is_autoscaled and plan.explanation is None:
        return plan
    hours = workload.traffic.hours
    held = BY_MEANS if hours and hours.sizes else _held_at_loads(plan, workload, used, simulator, log)
    plan = with_autoscaling(plan, workload, held) if is_autoscaled else plan
    if plan.explanation is None:
        return plan
    value = clock_value(plan, workload, held)
    if value is not None and simulator is not None and workload.slo.attainment is not None:
        value = _with_next_nine(value, fixed, simulator, log)
    return replace(plan, explanation=replace(plan.explanation, clock=value))


def held_at_loads(attained: Callable[[float], float]) -> Held:
    """`attained(rate / planned rate)` at LOADS; a load is never better than a lower one."""
    found: list[tuple[float, float]] = []
    for load in LOADS:
        found.append((load, min(attained(load), found[-1][1] if found else 1.0)))
    return tuple(found)


def with_autoscaling(plan: Plan, workload: Workload, held: Held) -> Plan:
    """The plan with the cheapest policies found of which the replay holds; those that hold most where none does."""
    schedule, hours = plan.schedule, workload.traffic.hours
    if schedule is None or hours is None:
        return plan
    target = workload.slo.attainment or _USUAL_TARGET
    windows_rps, minutes = (hours.windows_rps, WINDOW_MINUTES) if hours.windows_rps else (hours.rates_rps, 60)
    best: tuple[tuple[bool, float, float], Plan] | None = None
    known: dict[object, Replay] = {}
    own = schedule.headroom_fraction

    def tried(least: float, headroom: float) -> Plan:
        like = _told(plan, schedule, least=least, headroom=headroom)
        same = tuple(sorted(replica_policies(like, workload).items(), key=lambda each: each[0]))
        if same not in known:
            known[same] = replayed(like, workload, windows_rps, minutes=minutes, held=held)
        return _counted(like, schedule, known[same])

    headrooms = (own, *(headroom for headroom in HEADROOMS if headroom > own))
    asked = workload.launch.min_running_fraction
    for least in (asked, *(least for least in LEAST if least > asked)):
        for headroom in headrooms:
            found = tried(least, headroom)
            attainment = _autoscaling(found).attainment
            is_held = attainment >= target
            rank = (not is_held, found.mean_usd_per_hour if is_held else -attainment, headroom)
            if best is None or rank < best[0]:
                best = (rank, found)
            if is_held:
                break
    if best is None:
        return plan
    plan, told = best[1], _autoscaling(best[1])
    half = tried(max(HALF, told.least_fraction), told.headroom_fraction)
    if replica_policies(half, workload) == replica_policies(plan, workload) or workload.constraints.may_stop:
        return plan
    told = replace(told, half_usd_per_hour=half.mean_usd_per_hour)
    return replace(plan, schedule=None if plan.schedule is None else replace(plan.schedule, autoscaling=told))


def _autoscaling(plan: Plan) -> Autoscaling:
    if plan.schedule is None or plan.schedule.autoscaling is None:
        raise ValueError("a plan that is not autoscaled")
    return plan.schedule.autoscaling


def clock_value(plan: Plan, workload: Workload, held: Held) -> ClockValue | None:
    """What following the hours is worth; without the next nine. None for a plan without a schedule."""
    schedule, hours = plan.schedule, workload.traffic.hours
    if schedule is None or hours is None:
        return None
    told = schedule.autoscaling
    by_clock = replace(schedule, autoscaling=None)
    if told is not None:
        by_clock = replace(by_clock, usd_per_hour=told.scheduled_usd_per_hour)
    sooner = replace(by_clock, startup_minutes=max(0.0, schedule.startup_minutes - _FASTER_MINUTES))
    follows = faster = None
    if not hours.sizes:  # SkyServe counts requests whatever their size
        asked = replace(workload, launch=replace(workload.launch, scaling=Scaling.AUTOSCALE))
        follows, faster = (with_autoscaling(replace(plan, schedule=each), asked, held) for each in (by_clock, sooner))
    alike = [hour for hour, period in enumerate(_sizes_of_hours(schedule)) if period == schedule.periods[0].sizes]
    busiest, *others = sorted(alike, key=lambda hour: (-hours.rates_rps[hour], hour))
    return ClockValue(
        fixed_usd_per_hour=schedule.fixed_usd_per_hour,
        scheduled_usd_per_hour=by_clock.usd_per_hour,
        autoscaled_usd_per_hour=None if follows is None else follows.mean_usd_per_hour,
        autoscaled_attainment=None if follows is None else _autoscaling(follows).attainment,
        busiest_hour=hour_name(busiest, len(hours.rates_rps)),
        busiest_rps=hours.rates_rps[busiest],
        next_rps=hours.rates_rps[others[0]] if others else None,
        faster_minutes=schedule.startup_minutes - sooner.startup_minutes,
        faster_scheduled_usd_per_hour=_usd_per_hour(plan, sooner),
        faster_autoscaled_usd_per_hour=None if faster is None else faster.mean_usd_per_hour,
        sizes=schedule.periods[0].sizes,
    )


def _sizes_of_hours(schedule: Schedule) -> list[str | None]:
    return [schedule.periods[period].sizes for period in schedule.period_of_hour]


def _usd_per_hour(plan: Plan, schedule: Schedule) -> float:
    prices = [group.price_usd_per_hour for group in plan.groups]
    return schedule.mean_usd_per_hour(prices, plan.cost.overhead_usd_per_hour, terms_of(plan.groups))


def _told(plan: Plan, schedule: Schedule, *, least: float, headroom: float) -> Plan:
    told = Autoscaling(
        headroom_fraction=headroom,
        least_fraction=least,
        mean_instances=tuple(float(group.instances) for group in plan.groups),
        attainment=0.0,
        scheduled_usd_per_hour=schedule.usd_per_hour,
    )
    return replace(plan, schedule=replace(schedule, autoscaling=told))


def _counted(plan: Plan, schedule: Schedule, found: Replay) -> Plan:
    told = replace(_autoscaling(plan), mean_instances=found.mean_instances, attainment=found.attainment)
    now = replace(schedule, autoscaling=told, bound_usd_per_hour=None)
    return replace(plan, schedule=replace(now, usd_per_hour=_usd_per_hour(plan, now)))


def replayed(plan: Plan, workload: Workload, windows_rps: Sequence[float], *, minutes: int, held: Held) -> Replay:
    """What the plan's policies make of windows of so many `minutes` each; they begin with what their rate wants."""
    schedule = plan.schedule
    if schedule is None:
        raise ValueError("a plan without hours is not autoscaled")
    workload = replace(workload, launch=replace(workload.launch, scaling=Scaling.AUTOSCALE))
    policies, checks_rps = replica_policies(plan, workload), health_checks_rps(plan, workload)
    each = minutes * 60 // DECISION_SECONDS
    intervals = len(windows_rps) * each
    shares = group_shares(plan)
    peak_rps = schedule.periods[0].rate_rps
    serving: list[Sequence[int]] = []
    means: list[float] = []
    for group in plan.groups:
        policy = policies.get(group.name)
        if policy is None:
            serving.append((group.instances,) * intervals)
            means.append(float(group.instances))
            continue
        routed_rps = math.fsum(r.routed_rps * dict(r.shares).get(group.name, 0.0) for r in plan.routing)
        seen_rps = [rate / peak_rps * routed_rps + checks_rps.get(group.name, 0.0) for rate in windows_rps]
        fleets = list(
            autoscaled(
                policy,
                tuple(_requests(seen_rps, each)),
                startup_seconds=schedule.startup_minutes * 60,
                ready_at_start=_wanted(policy, seen_rps[0]),
            )
        )
        serving.append([fleet.serving for fleet in fleets])
        means.append(math.fsum(fleet.paid for fleet in fleets) / intervals)
    met = total = 0.0
    known: dict[tuple[int, int, int], float] = {}
    carried = [carried_rps(schedule, index) for index in range(len(plan.groups))]
    for number, rate in enumerate(windows_rps):
        for interval in range(number * each, (number + 1) * each):
            for index, counts in enumerate(serving):
                key = (number, index, counts[interval])
                if key not in known:
                    known[key] = rate * shares[index] * _share(held, rate / carried[index](counts[interval]))
                met += known[key]
        total += rate * each
    return Replay(
        attainment=min(1.0, met / total) if total else 1.0,
        mean_instances=tuple(means),
        serving=tuple(zip(*serving, strict=True)),
    )


def group_shares(plan: Plan) -> tuple[float, ...]:
    """Of all requests, by group."""
    rates = [math.fsum(r.rate_rps * dict(r.shares).get(group.name, 0.0) for r in plan.routing) for group in plan.groups]
    return tuple(rate / math.fsum(rates) for rate in rates)


def carried_rps(schedule: Schedule, index: int) -> Callable[[int], float]:
    """Instances of a group -> the rate of all traffic of which they carry the group's share.

    Between the counts of two periods it is linear, beyond them in proportion.
    """
    of_count: dict[int, float] = {}
    for period in schedule.periods:
        if count := period.instances[index]:
            of_count[count] = max(of_count.get(count, 0.0), period.rate_rps)
    points = sorted(of_count.items())

    def carried(count: int) -> float:
        if count <= points[0][0]:
            return max(points[0][1] * count / points[0][0], 1e-9)
        for (few, low), (many, high) in pairwise(points):
            if count <= many:
                return low + (high - low) * (count - few) / (many - few)
        return points[-1][1] * count / points[-1][0]

    return carried


def _share(held: Held, load: float) -> float:
    if load <= held[0][0]:
        return held[0][1]
    for (one, before), (other, after) in pairwise(held):
        if load <= other:
            return before + (after - before) * (load - one) / (other - one)
    return 0.0


def _requests(seen_rps: Sequence[float], each: int) -> Iterator[int]:
    """Whole requests in each interval, none lost over time."""
    owed = 0.0
    for rate in seen_rps:
        for _ in range(each):
            owed += rate * DECISION_SECONDS
            count = int(owed)
            owed -= count
            yield count


def _wanted(policy: ReplicaPolicy, seen_rps: float) -> int:
    wanted = math.ceil(seen_rps / policy.target_qps_per_replica)
    return max(policy.min_replicas, min(policy.max_replicas, wanted))


def _held_at_loads(
    plan: Plan, workload: Workload, used: Mapping[str, Profile], simulator: Simulator | None, log: RequestLog | None
) -> Held:
    """What becomes of the requests when more, or fewer, come than the busiest hour has."""
    if simulator is None or workload.slo.attainment is None:
        return BY_MEANS
    from sky_melange.pipeline.judging import final_scenario
    from sky_melange.simulation import fleet_of

    fleet, scenario = fleet_of(plan, workload, used), final_scenario(workload, log)

    def attained(load: float) -> float:
        rate_rps = scenario.request_rate_rps * load
        return simulator(fleet, replace(scenario, request_rate_rps=rate_rps), workload.slo).held

    return held_at_loads(attained)


def _with_next_nine(value: ClockValue, model: Model, simulator: Simulator, log: RequestLog | None) -> ClockValue:
    """With the cost of the cheapest fleet around the clock that misses a tenth of the requests."""
    from sky_melange.pipeline.attaining import cheapest_held

    workload = model.workload
    wanted = 1 - (1 - (workload.slo.attainment or 0.0)) / 10
    slo = replace(workload.slo, attainment=round(wanted, 12))
    try:
        held = cheapest_held(
            replace(model, workload=replace(workload, slo=slo)),
            lambda fleet, scenario: simulator(fleet, scenario, slo),
            log,
        )
    except (InfeasibleError, NotOptimalError):
        return replace(value, nines_attainment=slo.attainment)
    cost = held.solved.model.problem.cost(held.solved.solution.counts)
    return replace(value, nines_attainment=slo.attainment, nines_usd_per_hour=cost)
