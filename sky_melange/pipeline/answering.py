"""What there is to choose from -> what to launch: by means, or what holds in simulation; by the clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sky_melange.domain.hours import Scaling
from sky_melange.domain.offer import PriceBook
from sky_melange.domain.plan import ReplicaGroup, SimulatedPlan
from sky_melange.domain.profile import Profile
from sky_melange.domain.workload import LaunchMode, Objective, Workload
from sky_melange.errors import InfeasibleError, InputError
from sky_melange.optimizer import (
    Model,
    Optimum,
    ProfileCapacities,
    Solved,
    Surroundings,
    build_model,
    check_servable,
    finished,
    solved,
)
from sky_melange.pipeline.profiling import capacities_of
from sky_melange.plan_file import MAX_INSTANCES
from sky_melange.resources import cloud_features

if TYPE_CHECKING:
    from sky_melange.domain.simulation import Simulation
    from sky_melange.pipeline.attaining import Held
    from sky_melange.pipeline.judging import Simulate
    from sky_melange.pipeline.scheduling import Scheduled
    from sky_melange.pipeline.simulator import Simulator
    from sky_melange.simulation import Fleet, Scenario
    from sky_melange.traces.request_log import RequestLog

NOT_SIMULATED: Final = 0.9
"""The part of its capacity that a replica may use where an attainment is asked for and nothing is simulated."""


def modelled(
    workload: Workload,
    book: PriceBook,
    profiles: Sequence[Profile],
    able: Sequence[ProfileCapacities] | None = None,
) -> Model:
    """What there is to choose from; `able`: what the profiles sustain, where that is known.

    Raises MissingDataError, and InfeasibleError when some bucket has no candidate.
    """
    doubted = (item.offer for item in book.quarantined)
    model = build_model(
        workload,
        book.offers,
        capacities_of(workload, profiles) if able is None else able,
        cloud_features(),
        doubted,
        book.listed,
        book.commitments,
    )
    around = Surroundings(
        capacities=lambda changed: capacities_of(changed, profiles),
        offers=book.offers,
        clouds=cloud_features(),
        quarantined=book.quarantined,
    )
    check_servable(model, around)
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`fixed` runs around the clock; `scheduled` is what is launched instead, None: nothing else is.

    `held`: what the search for `fixed` has learnt, where plans were simulated.
    """

    fixed: Optimum
    simulated: SimulatedPlan | None
    scheduled: Scheduled | None
    held: Held | None = None

    @property
    def optimum(self) -> Optimum:
        """What is launched; the busiest hour's part of it where it goes by the clock."""
        if self.scheduled is None or self.scheduled.solved.solution is self.fixed.solution:
            return self.fixed
        return finished(self.scheduled.solved, is_cheapest=False)


def answer_of(model: Model, simulator: Simulator | None, log: RequestLog | None) -> Answer:
    """The cheapest of the model; by the clock where that is asked for and saves money."""
    workload = model.workload
    if workload.traffic.hours is not None and workload.objective is Objective.MOST_TRAFFIC:
        raise InputError("objective: most_traffic plans for one rate: leave out traffic.hours, or the objective")
    if workload.slo.attainment is None or simulator is None:
        model = by_means(model)
        return answer_by_means(model, solved(model))
    from sky_melange.pipeline.attaining import cheapest_held

    simulate = simulating(simulator, workload)
    return answer_held(model, cheapest_held(model, simulate, log), simulate, log)


def by_means(model: Model) -> Model:
    """The model at the loads that are planned without a simulation."""
    workload = model.workload
    if workload.slo.attainment is None:
        return model
    part = min(NOT_SIMULATED, workload.constraints.utilization_limit)
    return model.used_to([part] * len(model.candidates))


def simulating(simulator: Simulator, workload: Workload) -> Simulate:
    """The simulator with the workload's targets."""

    def simulate(fleet: Fleet, scenario: Scenario) -> Simulation:
        return simulator(fleet, scenario, workload.slo)

    return simulate


def answer_by_means(model: Model, found: Solved) -> Answer:
    """The answer whose fleet around the clock is the one that was found."""
    scheduled = None
    if _by_the_clock(model.workload):
        from sky_melange.pipeline.scheduling import cheapest_by_means

        scheduled = cheapest_by_means(model, found)
    return Answer(fixed=finished(found), simulated=None, scheduled=scheduled)


def answer_held(model: Model, held: Held, simulate: Simulate, log: RequestLog | None) -> Answer:
    """The same of one that holds in simulation."""
    scheduled = None
    if _by_the_clock(model.workload):
        from sky_melange.pipeline.scheduling import cheapest_schedule_held

        scheduled = cheapest_schedule_held(model, held, simulate, log)
    simulated = held.simulated if scheduled is None or scheduled.simulated is None else scheduled.simulated
    return Answer(fixed=finished(held.solved), simulated=simulated, scheduled=scheduled, held=held)


def _by_the_clock(workload: Workload) -> bool:
    # SkyPilot cannot change the number of nodes of a cluster that runs.
    has_hours = workload.traffic.hours is not None and workload.launch.mode is LaunchMode.SERVE
    return has_hours and workload.launch.scaling is not Scaling.FIXED


def check_size(groups: Iterable[ReplicaGroup]) -> None:
    """Raises InfeasibleError for a group that no plan file may hold: a rate in the wrong unit, not a fleet."""
    largest = max(groups, key=lambda group: group.instances)
    if largest.instances > MAX_INSTANCES:
        raise InfeasibleError(
            f"the plan needs {largest.instances:,} instances of {largest.instance_type}, and a group holds at most "
            f"{MAX_INSTANCES:,}: is traffic.request_rate in requests per second?"
        )
