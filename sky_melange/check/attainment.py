"""Whether enough of the requests meet their targets: the plan simulated again, by today's profiles and traffic.

Also without the instances whose loss it is to survive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sky_melange.check.checks import within
from sky_melange.domain.check import Check, Unit, Verdict
from sky_melange.domain.plan import Plan, SimulatedPlan
from sky_melange.domain.profile import MatrixForm, Profile
from sky_melange.domain.simulation import Simulation
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.verify import hours_of, in_period

if TYPE_CHECKING:
    from sky_melange.pipeline.simulator import Simulator
    from sky_melange.traces.request_log import RequestLog

_SAME = 1e-9
_SAYS = "the share of simulated requests that miss a target"


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
