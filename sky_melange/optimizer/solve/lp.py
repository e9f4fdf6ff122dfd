"""Builds the model in PuLP and reads counts and shares from it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

import pulp

from sky_melange.errors import InfeasibleError, NotOptimalError, SkyMelangeError
from sky_melange.optimizer.limits import limits_of
from sky_melange.optimizer.problem import Limit, Problem, Terms
from sky_melange.optimizer.solve.rows import FIRST, LAST, link_groups, links
from sky_melange.optimizer.solve.session import Session
from sky_melange.optimizer.solve.solution import Solution
from sky_melange.optimizer.solve.variables import Variables, cost_terms, make_variables

_MIN_SHARE: Final = 1e-7
_INTEGRALITY: Final = 1e-4


class Labelled:
    """A program whose rows and variables get a label in their names: one of several parts of a program."""

    def __init__(self, lp: pulp.LpProblem, label: str) -> None:
        self._lp: Final = lp
        self._label: Final = label

    def add_variable(self, name: str, *arguments: Any, **options: Any) -> pulp.LpVariable:
        """As PuLP's."""
        return self._lp.add_variable(f"{name}_{self._label}", *arguments, **options)

    def addConstraint(self, constraint: Any, name: str) -> None:  # noqa: N802 - PuLP's name
        """As PuLP's."""
        self._lp.addConstraint(constraint, f"{name}_{self._label}")


class IntegerProgram:
    """The model, as limits add their rows to it (see `problem.Program`)."""

    def __init__(self, problem: Problem, lp: pulp.LpProblem, variables: Variables, *, is_linked: bool = False) -> None:
        self.problem: Final = problem
        self.lp: Final = lp
        self.variables: Final = variables
        self._is_linked = is_linked
        self._numbers = Counter[str]()

    @property
    def counts(self) -> tuple[pulp.LpVariable, ...]:
        """n_c."""
        return self.variables.counts

    @property
    def whole(self) -> Terms:
        """What the x_rk of a class sum to: S, or t where the traffic is sought."""
        return [(1.0 if self.variables.traffic is None else self.variables.traffic, self.variables.slices)]

    def used(self) -> tuple[pulp.LpVariable, ...]:
        """y_c, with the rows that tie them to n_c."""
        if not self._is_linked:
            link_groups(self.lp, self.variables, self.problem)
            self._is_linked = True
        return self.variables.used

    def routed_to(self, members: Sequence[bool]) -> Terms:
        """Σ_{k∈members} Σ_r w_r · x_rk; a kind is counted whole, or not at all (see `Kinds`)."""
        return [
            (variable, self.problem.weights[r])
            for r, row in enumerate(self.variables.shares)
            for first, variable in zip(self.variables.kinds.first, row, strict=True)
            if variable is not None and members[first]
        ]

    def cost(self) -> Terms:
        """The total, USD/h."""
        return [*cost_terms(self.problem, self.variables), (self.problem.charges.base_usd_per_hour, 1.0)]

    def variable(self, name: str) -> pulp.LpVariable:
        """A new variable ≥ 0."""
        return self.lp.add_variable(self._numbered(name), lowBound=0)

    def at_most(self, name: str, terms: Terms, bound: float) -> None:
        """Σ ≤ bound."""
        sought, known = split(terms)
        self.lp.addConstraint(sought <= bound - known, self._numbered(name))

    def at_least(self, name: str, terms: Terms, bound: float) -> None:
        """Σ ≥ bound."""
        sought, known = split(terms)
        self.lp.addConstraint(sought >= bound - known, self._numbered(name))

    def _numbered(self, name: str) -> str:
        number = self._numbers[name]
        self._numbers[name] += 1
        return name.replace("#", str(number))


def split(terms: Terms) -> tuple[pulp.LpAffineExpression, float]:
    """What stands over variables, each of them once, and the sum of those that are plain numbers."""
    sought: dict[object, float] = {}
    for variable, factor in terms:
        if not isinstance(variable, int | float):
            sought[variable] = sought.get(variable, 0.0) + factor
    known = math.fsum(value * factor for value, factor in terms if isinstance(value, int | float))
    return pulp.LpAffineExpression(list(sought.items())), known


def build_lp(  # noqa: PLR0913 - what a program may lack
    problem: Problem,
    slices: int | None,
    *,
    most_traffic: float | None = None,
    without: Collection[str] = (),
    unlimited_by: Collection[Limit] = (),
    linked: bool = False,
    tight: bool = False,
    part_of: Any = None,
) -> IntegerProgram:
    """The model with every row but those called `without` and of the limits `unlimited_by`, and no objective yet.

    `slices` None: continuous shares. `most_traffic`: the traffic is a variable up to this factor. `linked`: y_c is
    tied to n_c whether rows need it or not. `tight`: with the rows `links`. `part_of`: a `Labelled` program that it is
    added to.
    """
    lp = part_of or pulp.LpProblem("sky_melange", pulp.LpMinimize if most_traffic is None else pulp.LpMaximize)
    program = IntegerProgram(problem, lp, make_variables(lp, problem, slices, most_traffic=most_traffic))
    for name, add in FIRST.items():
        if name not in without:
            add(lp, program.variables, problem)
    for limit in limits_of(problem):
        if limit not in unlimited_by:
            limit.rows(program)
    if linked or problem.loss_cuts or problem.charges.depend_on_groups:
        program.used()
    for add in LAST.values():
        add(lp, program.variables, problem)
    if tight:
        links(lp, program.variables, problem)
    return program


def objective_expression(problem: Problem, variables: Variables) -> pulp.LpAffineExpression:
    """The total but for what every plan pays (`charges.base`), and s · Σ_c d_c where a running plan is kept; USD/h."""
    cost = pulp.LpAffineExpression(cost_terms(problem, variables))
    if problem.keep is None:
        return cost
    charge = problem.keep.usd_per_hour
    return cost + pulp.LpAffineExpression([(changed, charge) for changed in variables.changed])


def run(
    problem: Problem, variables: Variables, lp: pulp.LpProblem, session: Session, *, gap_absolute: float = 0.0
) -> Solution:
    """Solves and reads; `mip_gap` is that of the problem's own objective, whatever the model's.

    Raises InfeasibleError when there is no plan, NotOptimalError when the time limit passes before any is found.
    """
    outcome = session.solve(lp, gap_absolute=gap_absolute)
    if outcome.status == "infeasible":
        raise InfeasibleError("no number of instances satisfies the constraints together")
    values = [variable.varValue for variable in variables.counts]
    if outcome.status == "unknown" or any(value is None or not math.isfinite(value) for value in values):
        raise NotOptimalError(session.too_late())
    counts = whole(values)
    objective, base = problem.objective(counts), problem.charges.base_usd_per_hour
    return Solution(
        counts=counts,
        shares=read_shares(problem, variables, counts),
        cost_usd_per_hour=problem.cost(counts),
        status=outcome.status,
        mip_gap=relative_gap(objective, None if outcome.bound is None else outcome.bound + base),
    )


def relative_gap(objective: float, bound: float | None) -> float:
    """How much less than `objective` the optimum may be, as a fraction of it; a bound that is not known counts as 0."""
    if objective <= 0:
        return 0.0
    return min(1.0, max(0.0, (objective - (bound or 0.0)) / objective))


def whole(values: Sequence[float]) -> tuple[int, ...]:
    """The solver's counts, which must be whole but for rounding."""
    counts = tuple(round(value) for value in values)
    if any(abs(value - count) > _INTEGRALITY for value, count in zip(values, counts, strict=True)):
        raise SkyMelangeError(f"the solver returned fractional instance counts: {values}")
    return counts


def read_shares(problem: Problem, variables: Variables, counts: Sequence[int]) -> tuple[tuple[float, ...], ...]:
    """`[class][candidate]`, fractions that sum to 1 by class. A kind's share goes where its instances are."""
    kinds = variables.kinds
    strength = [0.0] * len(kinds.first)
    for c, count in enumerate(counts):
        strength[kinds.of[c]] += kinds.strength[c] * count
    parts = [kinds.strength[c] * count / strength[kinds.of[c]] if count else 0.0 for c, count in enumerate(counts)]
    rows = [
        [
            0.0 if (part := row[kinds.of[c]]) is None else part.varValue / variables.slices * parts[c]
            for c in range(len(counts))
        ]
        for row in variables.shares
    ]
    return tuple(without_dust(row, counts, loads) for row, loads in zip(rows, problem.loads, strict=True))


def without_dust(row: Sequence[float], counts: Sequence[float], loads: Sequence[float | None]) -> tuple[float, ...]:
    """One class's shares without the solver's dust: none below 1e-7, none to an absent group, summing to 1.

    A class so rare that its load is within the solver's tolerance may have been sent to absent groups alone; it goes
    to the present group that it loads least (the coverage constraint sees to it that there is one).
    """
    kept = [share if count > 0 and share > _MIN_SHARE else 0.0 for share, count in zip(row, counts, strict=True)]
    total = math.fsum(kept)
    if total < 1 - 1e-3:
        present = [(load, c) for c, load in enumerate(loads) if load is not None and counts[c] > 0]
        if not present:
            raise SkyMelangeError("the solver left a class of requests without any group that can serve it")
        kept[min(present)[1]] += 1 - total
        total = 1.0
    return tuple(share / total for share in kept)
