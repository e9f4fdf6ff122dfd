"""Workloads that ask for more of something than there is: plans chosen together, simulated, and chosen again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sky_melange.domain.profile import ProfileKey
from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer import (
    DividedMachine,
    FleetProblem,
    FleetSolution,
    Model,
    SharedLimit,
    SharedShare,
    Solved,
    assembled_of,
    solve_fleet,
)
from sky_melange.optimizer.fleet import left_for, part_caps
from sky_melange.pipeline.answering import Answer, answer_by_means, answer_held, by_means, simulating
from sky_melange.pipeline.dividing import charged
from sky_melange.pipeline.planning import Prepared

if TYPE_CHECKING:
    from sky_melange.pipeline.attaining import Held, Search
    from sky_melange.pipeline.simulator import Simulator

_MOST_ROUNDS: Final = 24
_SAME: Final = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """Plans that were chosen together, by workload, and what the groups of each were taken to carry."""

    found: tuple[Solved, ...]
    solution: FleetSolution
    used_to: tuple[Mapping[ProfileKey, float], ...]

    def is_cheaper_than(self, other: _Chosen) -> bool:
        return self.solution.cost_usd_per_hour < other.solution.cost_usd_per_hour * (1 - _SAME)


@dataclass(slots=True, kw_only=True)
class Coupled:
    """The plans of workloads that ask for more of something than there is, or may divide machines."""

    names: tuple[str, ...]
    ready: Sequence[Prepared]
    shared: tuple[SharedLimit, ...]
    shares: tuple[SharedShare, ...]
    settings: SolverSettings
    searches: list[Search | None]
    machines: tuple[DividedMachine, ...] = ()

    @classmethod
    def of(  # noqa: PLR0913, PLR0917 - what workloads have together
        cls,
        ready: Sequence[Prepared],
        alone: Sequence[Answer],
        shared: tuple[SharedLimit, ...],
        shares: tuple[SharedShare, ...],
        settings: SolverSettings,
        simulator: Simulator | None,
        machines: tuple[DividedMachine, ...] = (),
    ) -> Coupled:
        """`alone`: the answers that share nothing, from which the loads are known that hold."""
        searches = [_search(each, answer, simulator) for each, answer in zip(ready, alone, strict=True)]
        names = tuple(each.workload.name for each in ready)
        return cls(
            names=names,
            ready=ready,
            shared=shared,
            shares=shares,
            settings=settings,
            searches=searches,
            machines=machines,
        )

    def answers(self) -> tuple[list[Answer], FleetSolution]:
        """The answer of each workload. Raises InfeasibleError where they cannot share what there is.

        Plans that hold teach what their groups have to spare; they are the answer when nothing that holds is cheaper
        with that, and what is said of them is of the loads at which they were chosen.
        """
        best: _Chosen | None = None
        for _ in range(_MOST_ROUNDS):
            chosen = self.chosen(is_required=best is None)
            if chosen is None or (best is not None and not chosen.is_cheaper_than(best)):
                break
            pairs = zip(self.searches, chosen.found, strict=True)
            holds = [search is None or _holds(search, found) for search, found in pairs]
            if all(holds):
                best = chosen
        if best is None:
            raise NotOptimalError(
                f"no plans of {', '.join(self.names)} were found within {_MOST_ROUNDS} attempts that share what there "
                "is and hold in simulation; give them more room, or loosen slo"
            )
        for search, used_to in zip(self.searches, best.used_to, strict=True):
            if search is not None:
                search.used_to, search.given = dict(used_to), dict(used_to)
        return [self.answer(k, found, best.solution) for k, found in enumerate(best.found)], best.solution

    def chosen(self, *, is_required: bool) -> _Chosen | None:
        """The plans that cost least together at what is known of their groups; None: there are none.

        Raises InfeasibleError and NotOptimalError where they are required.
        """
        used_to = tuple({} if search is None else dict(search.used_to) for search in self.searches)
        models = [
            by_means(ready.model) if search is None else search.model.used_to(search.parts(search.used_to))
            for ready, search in zip(self.ready, self.searches, strict=True)
        ]
        problems = [model.problem for model in models]
        problem = FleetProblem.of(problems, self.shared, self.names, self.machines, self.shares)
        try:
            solution = solve_fleet(problem, self.settings)
        except (InfeasibleError, NotOptimalError):
            if is_required:
                raise
            return None
        found = tuple(
            Solved(model=model, solution=each, assembled=assembled_of(model, each))
            for model, each in zip(models, solution.solutions, strict=True)
        )
        return _Chosen(found=found, solution=solution, used_to=used_to)

    def answer(self, k: int, found: Solved, solution: FleetSolution) -> Answer:
        """Of workload k, which has what the others leave it."""
        counts = solution.counts
        left: list[float] = [
            limit.limit - sum(limit.used_by(other, each) for other, each in enumerate(counts) if other != k)
            for limit in self.shared
        ]
        for share in self.shares:
            used = [
                share.used_by(other, ready.model.problem, each.shares)
                for other, (ready, each) in enumerate(zip(self.ready, solution.solutions, strict=True))
            ]
            # What it has is its own, whatever rounding says of the others.
            left.append(max(share.limit_fraction - (sum(used) - used[k]), used[k]))
        caps = (
            *left_for(self.shared, self.shares, k, left),
            *part_caps(self.machines, k, [machine.taken_by(k, counts[k]) for machine in self.machines]),
        )

        def allotted(model: Model) -> Model:
            model = charged(model, k, self.machines, counts)
            return replace(model, problem=replace(model.problem, limits=(*model.problem.limits, *caps)))

        def priced(model: Model) -> Solved:
            plan = replace(found.solution, cost_usd_per_hour=model.problem.cost(counts[k]))
            return Solved(model=model, solution=plan, assembled=assembled_of(model, plan))

        search, ready = self.searches[k], self.ready[k]
        if search is None:
            model = allotted(by_means(ready.model))
            return answer_by_means(model, priced(model))
        from sky_melange.pipeline.attaining import Held

        search.judge = replace(search.judge, model=allotted(search.model))
        simulated = search.summary(found)
        model = search.model.used_to(search.parts(search.used_to))
        held = Held(solved=priced(model), simulated=simulated, known=search.known, used_to=search.used_to)
        return answer_held(search.model, held, search.judge.simulate, ready.log)


def _holds(search: Search, found: Solved) -> bool:
    """Simulates a plan, and learns from it; a plan that is known to fail gets less."""
    if search.is_known_to_fail(found):
        search.lower(found)
        return False
    return search.holds(found)


def _search(ready: Prepared, alone: Answer, simulator: Simulator | None) -> Search | None:
    """The search for plans of a workload, with what is known from planning it alone; None: nothing is simulated."""
    held: Held | None = alone.held
    if held is None or simulator is None:
        return None
    from sky_melange.pipeline.attaining import Search
    from sky_melange.pipeline.judging import Judge

    return Search(
        judge=Judge(model=ready.model, simulate=simulating(simulator, ready.workload), log=ready.log),
        known={key: dict(known) for key, known in held.known.items()},
        used_to=dict(held.used_to),
        has_held=True,
    )
