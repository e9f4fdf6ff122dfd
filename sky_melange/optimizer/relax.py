"""The smallest change of each limit alone that makes a problem feasible, each found by solving for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Final

import pulp

from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.losses import survival, with_first_cut
from sky_melange.optimizer.lp import build_lp, run
from sky_melange.optimizer.problem import Problem, ShareLimit
from sky_melange.optimizer.session import Session
from sky_melange.optimizer.variables import Variables, cost_expression

BUDGET: Final = "budget (in total, USD per hour)"
_UTILIZATION_STEP: Final = 0.001
Measure = Callable[[pulp.LpProblem, Variables], pulp.LpAffineExpression]
"""What to minimise; may add rows and variables of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaxation:
    """`name` (`constraints.max_accelerators.H100`) must become `needed`; `now` is what it is. Verified by a solve."""

    name: str
    now: float
    needed: float

    @property
    def relative_change(self) -> float:
        """For ordering: the least first."""
        return abs(self.needed - self.now) / max(abs(self.now), 1.0)

    def __str__(self) -> str:
        verb = "raise" if self.needed > self.now else "lower"
        return f"{verb} {self.name} from {self.now:.10g} to {self.needed:.10g}"


def relaxations(problem: Problem, session: Session) -> list[Relaxation]:
    """Every limit whose change alone suffices, the smallest relative change first."""
    found = []
    for attempt in _attempts(problem, session):
        try:
            relaxation = attempt()
        except (InfeasibleError, NotOptimalError):
            continue
        if relaxation is not None:
            found.append(relaxation)
    return sorted(found, key=lambda relaxation: (relaxation.relative_change, relaxation.name))


def _attempts(problem: Problem, session: Session) -> Iterator[Callable[[], Relaxation | None]]:
    for k in range(len(problem.caps)):
        yield lambda k=k: _cap(problem, k, session)  # type: ignore[misc]
    for k in range(len(problem.floors)):
        yield lambda k=k: _floor(problem, k, session)  # type: ignore[misc]
    if problem.max_groups is not None:
        yield lambda: _groups(problem, session)
    if problem.min_replicas > 1:
        yield lambda: _replicas(problem, session)
    for name in sorted({_family(limit) for limit in problem.share_limits}):
        yield lambda name=name: _shares(problem, name, session)  # type: ignore[misc]
    if problem.max_cost_usd_per_hour is not None:
        yield lambda: _budget(problem, session)
    if problem.losses:
        yield lambda: _losses(problem, session)
    if problem.max_utilization < 1:
        yield lambda: _utilization(problem, session)


def minimum(problem: Problem, measure: Measure, session: Session, *, without: Collection[str] = ()) -> float:
    """The least value of a measure over all plans of a problem, the losses survived; `without` some constraints.

    Raises InfeasibleError, NotOptimalError.
    """
    problem = with_first_cut(replace(problem, keep=None))
    while True:
        lp, variables = build_lp(problem, session.slices, without=without)
        goal = measure(lp, variables)
        lp.setObjective(goal)
        solution = run(problem, variables, lp, session)
        if solution.status != "optimal":
            raise NotOptimalError(session.too_late())
        cuts = survival(problem, solution.counts, session).cuts if problem.losses else ()
        if not cuts:
            return float(pulp.value(goal))
        problem = replace(problem, loss_cuts=(*problem.loss_cuts, *cuts))


def _cap(problem: Problem, k: int, session: Session) -> Relaxation:
    cap = problem.caps[k]
    others = tuple(other for index, other in enumerate(problem.caps) if index != k)

    def used(_: pulp.LpProblem, variables: Variables) -> pulp.LpAffineExpression:
        return pulp.LpAffineExpression([(variables.counts[c], usage) for c, usage in enumerate(cap.usage) if usage])

    needed = minimum(replace(problem, caps=others), used, session)
    return Relaxation(name=cap.name, now=cap.limit, needed=round(needed))


def _floor(problem: Problem, k: int, session: Session) -> Relaxation:
    floor = problem.floors[k]

    def lacking(_: pulp.LpProblem, variables: Variables) -> pulp.LpAffineExpression:
        return pulp.LpAffineExpression([(variables.counts[c], -each) for c, each in enumerate(floor.supply) if each])

    reached = -minimum(problem, lacking, session, without=("floors",))
    return Relaxation(name=floor.name, now=floor.minimum, needed=round(reached))


def _replicas(problem: Problem, session: Session) -> Relaxation:
    def lacking(_: pulp.LpProblem, variables: Variables) -> pulp.LpAffineExpression:
        return pulp.LpAffineExpression([(variables.counts[c], -each) for c, each in enumerate(problem.replicas)])

    reached = -minimum(problem, lacking, session, without=("replicas",))
    return Relaxation(name="constraints.min_replicas", now=problem.min_replicas, needed=round(reached))


def _groups(problem: Problem, session: Session) -> Relaxation:
    now = problem.max_groups or 0

    def used(_: pulp.LpProblem, variables: Variables) -> pulp.LpAffineExpression:
        return pulp.lpSum(variables.used)

    needed = minimum(replace(problem, max_groups=problem.candidate_count), used, session)
    return Relaxation(name="constraints.max_groups", now=now, needed=round(needed))


def _family(limit: ShareLimit) -> str:
    return limit.name.partition(" ")[0]


def _shares(problem: Problem, name: str, session: Session) -> Relaxation:
    """One key limits every cloud, or every region: all of them are raised together."""
    family = [limit for limit in problem.share_limits if _family(limit) == name]
    others = tuple(limit for limit in problem.share_limits if _family(limit) != name)

    def largest(lp: pulp.LpProblem, variables: Variables) -> pulp.LpAffineExpression:
        level = lp.add_variable("level", lowBound=0, upBound=1)
        for k, limit in enumerate(family):
            terms = [
                (variable, problem.weights[r] / variables.slices)
                for r, row in enumerate(variables.shares)
                for first, variable in zip(variables.kinds.first, row, strict=True)
                if variable is not None and limit.members[first]
            ]
            lp.addConstraint(pulp.LpAffineExpression([*terms, (level, -1)]) <= 0, f"level_{k}")
        return pulp.LpAffineExpression([(level, 1)])

    needed = minimum(replace(problem, share_limits=others), largest, session)
    return Relaxation(name=name, now=family[0].limit_fraction, needed=min(1.0, math.ceil(needed * 1e4 - 1e-3) / 1e4))


def _budget(problem: Problem, session: Session) -> Relaxation:
    now = problem.max_cost_usd_per_hour or 0.0
    free = replace(problem, max_cost_usd_per_hour=None)
    needed = minimum(free, lambda _, variables: cost_expression(free, variables), session)
    needed += problem.charges.base_usd_per_hour
    return Relaxation(name=BUDGET, now=round(now, 4), needed=math.ceil(needed * 100 - 1e-6) / 100)


def _losses(problem: Problem, session: Session) -> Relaxation | None:
    for losses in range(problem.losses - 1, -1, -1):
        if is_feasible(replace(problem, losses=losses, loss_cuts=()), session):
            return Relaxation(name="constraints.tolerate_replica_losses", now=problem.losses, needed=losses)
    return None


def _utilization(problem: Problem, session: Session) -> Relaxation | None:
    """By bisection, to a thousandth, since it multiplies the counts."""

    def fits(steps: int) -> bool:
        return is_feasible(replace(problem, max_utilization=steps * _UTILIZATION_STEP, loss_cuts=()), session)

    low, high = math.floor(problem.max_utilization / _UTILIZATION_STEP), round(1 / _UTILIZATION_STEP)
    if not fits(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return Relaxation(name="constraints.max_utilization", now=problem.max_utilization, needed=high * _UTILIZATION_STEP)


def is_feasible(problem: Problem, session: Session) -> bool:
    """Whether there is any plan. Raises NotOptimalError when the time does not suffice to say."""
    try:
        minimum(problem, lambda *_: pulp.LpAffineExpression(), session)
    except InfeasibleError:
        return False
    return True
