"""The smallest change of each limit alone, or of all together, that makes a problem feasible; found by solving."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import pulp

from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.charges import Charges
from sky_melange.optimizer.limits import limits_of
from sky_melange.optimizer.problem import Limit, Problem, Terms
from sky_melange.optimizer.solve.losses import survival, with_first_cut
from sky_melange.optimizer.solve.lp import IntegerProgram, build_lp, run, split, whole
from sky_melange.optimizer.solve.session import Session
from sky_melange.optimizer.solve.spread import FixedCounts

Measure = Callable[[IntegerProgram], Terms]
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
    for limit in limits_of(problem):
        try:
            relaxation = _relaxation(problem, limit, session)
        except (InfeasibleError, NotOptimalError):
            continue
        if relaxation is not None:
            found.append(relaxation)
    return sorted(found, key=lambda relaxation: (relaxation.relative_change, relaxation.name))


def joint_relaxation(problem: Problem, session: Session) -> list[Relaxation]:
    """Limits to change together so that there is a plan: the least sum of relative changes; [] when none suffices.

    Only limits that have a measure.
    """
    limits = [
        (limit, bound)
        for limit in limits_of(problem)
        if (bound := limit.bound()) is not None and not limit.looser(problem)
    ]
    reached: list[tuple[pulp.LpAffineExpression, float]] = []

    def excess(program: IntegerProgram) -> Terms:
        reached.clear()
        total: list[tuple[object, float]] = []
        for limit, bound in limits:
            over = program.variable("over_#")
            terms = limit.measure(program)
            reached.append(split(terms))
            sign = -1 if limit.is_minimum else 1
            program.at_most("elastic_#", [*((v, sign * f) for v, f in terms), (over, -1)], sign * bound)
            total.append((over, 1.0 / max(abs(bound), 1.0)))
        return total

    try:
        _least_without([limit for limit, _ in limits], problem, excess, session)
    except (InfeasibleError, NotOptimalError):
        return []
    changes = []
    for (limit, bound), (expression, known) in zip(limits, reached, strict=True):
        value = float(pulp.value(expression) or 0.0) + known
        if (bound - value if limit.is_minimum else value - bound) > 1e-6:
            changes.append(Relaxation(name=limit.name, now=bound, needed=limit.needed(value)))
    return changes


def _relaxation(problem: Problem, limit: Limit, session: Session) -> Relaxation | None:
    bound = limit.bound()
    if bound is None:
        return None
    if settings := limit.looser(problem):
        return _by_trying(limit.name, bound, settings, session)
    sign = -1 if limit.is_minimum else 1
    least = _least_without(
        [limit], problem, lambda program: [(v, sign * f) for v, f in limit.measure(program)], session
    )
    return Relaxation(name=limit.name, now=bound, needed=limit.needed(sign * least))


def _least_without(gone: Collection[Limit], problem: Problem, measure: Measure, session: Session) -> float:
    """The minimum without some limits. Minima stay in the problem, for the room that they make, without their rows."""
    for limit in gone:
        if not limit.is_minimum:
            problem = limit.without(problem)
    return minimum(problem, measure, session, unlimited_by=gone)


def _by_trying(name: str, now: float, settings: Sequence[tuple[float, Problem]], session: Session) -> Relaxation | None:
    """The first of ever looser settings with which there is a plan, by bisection."""
    if not is_feasible(settings[len(settings) - 1][1], session):
        return None
    low, high = -1, len(settings) - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_feasible(settings[middle][1], session) else (middle, high)
    return Relaxation(name=name, now=now, needed=settings[high][0])


def minimum(problem: Problem, measure: Measure, session: Session, *, unlimited_by: Collection[Limit] = ()) -> float:
    """The least value of a measure over all plans of a problem, the losses survived; `unlimited_by` some limits.

    Raises InfeasibleError, NotOptimalError.
    """
    problem = with_first_cut(replace(problem, keep=None))
    while True:
        program = build_lp(problem, session.slices, unlimited_by=unlimited_by)
        goal, known = split(measure(program))
        program.lp.setObjective(goal)
        solution = run(problem, program.variables, program.lp, session)
        if solution.status != "optimal":
            raise NotOptimalError(session.too_late())
        cuts = survival(problem, solution.counts, session).cuts if problem.losses else ()
        if not cuts:
            return float(pulp.value(goal) or 0.0) + known
        problem = replace(problem, loss_cuts=(*problem.loss_cuts, *cuts))


def is_feasible(problem: Problem, session: Session) -> bool:
    """Whether there is any plan. Raises NotOptimalError when the time does not suffice to say."""
    try:
        minimum(problem, lambda _: (), session)
    except InfeasibleError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Unserved:
    """`fractions[r]` (0..1) of class r that the limits leave without a server, when they serve as much as they can.

    `counts` are the instances then; the minima (replicas, losses) are not asked for.
    """

    fractions: tuple[float, ...]
    counts: tuple[int, ...]


def least_unserved(problem: Problem, session: Session) -> Unserved:
    """Minimises Σ_r w_r·(1 − Σ_c x_rc) within the upper limits alone. Raises NotOptimalError."""
    # The router is left out: what is served without it bounds what is served with it.
    relaxed = replace(problem, keep=None, charges=Charges(base_usd_per_hour=problem.charges.base_usd_per_hour))
    for limit in limits_of(problem):
        if limit.is_minimum:
            relaxed = limit.without(relaxed)
    program = build_lp(relaxed, None, without=("assignment", "coverage"))
    lp, variables = program.lp, program.variables
    left = [lp.add_variable(f"left_{r}", lowBound=0, upBound=1) for r in range(problem.class_count)]
    for r, row in enumerate(variables.shares):
        terms = [variable for variable in row if variable is not None]
        lp.addConstraint(pulp.lpSum(terms) + left[r] == 1, f"assign_{r}")
        # As in `coverage`: next to no load still needs an instance.
        present = [variables.counts[c] for c, load in enumerate(problem.loads[r]) if load is not None]
        lp.addConstraint(pulp.lpSum(present) + left[r] >= 1, f"cover_{r}")
    weights = problem.weights or (1.0 / problem.class_count,) * problem.class_count
    lp.setObjective(pulp.LpAffineExpression(list(zip(left, weights, strict=True))))
    outcome = session.solve(lp)
    if outcome.status != "optimal":
        raise NotOptimalError(session.too_late())
    return Unserved(
        fractions=tuple(_clean(variable.varValue) for variable in left),
        counts=whole([variable.varValue for variable in variables.counts]),
    )


def _clean(fraction: float) -> float:
    return 0.0 if fraction < 1e-6 else min(1.0, fraction)


def in_the_way(problem: Problem, counts: Sequence[int], c: int) -> tuple[str, ...]:
    """The limits that one more instance of c would break, by name."""
    more = [count + (position == c) for position, count in enumerate(counts)]
    found: list[str] = []
    for limit in limits_of(problem):
        program = FixedCounts(problem, more)
        if not limit.is_minimum:
            limit.rows(program)
        found += limit.in_the_way(problem, counts, c, breaks=not program.holds)
    return tuple(found)
