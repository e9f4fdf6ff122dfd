"""The linear program over the shares alone: given counts, how evenly can the load be spread, and what limits that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pulp

from sky_melange.errors import NotOptimalError
from sky_melange.optimizer.limits import limits_of
from sky_melange.optimizer.problem import Problem, Terms
from sky_melange.optimizer.solve.lp import split, without_dust
from sky_melange.optimizer.solve.session import Session

_TOLERANCE: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """`peak_utilization`: the least possible value of the largest load ÷ instances over candidates in use and cases.

    `shares[r][c]` attain it. `weights[s][c]` ≥ 0 are the dual values of case s an instance:
    Σ_sc weights[s][c]·counts[c] = 1 and Σ_r min_c Σ_s weights[s][c]·load_src = `peak_utilization`.
    """

    peak_utilization: float
    shares: tuple[tuple[float, ...], ...]
    weights: tuple[tuple[float, ...], ...]


def spread(
    problem: Problem,
    counts: Sequence[int],
    session: Session,
    *,
    limited: bool = True,
    rooms: Sequence[Sequence[float]] | None = None,
) -> Spread | None:
    """Minimises max_c Σ_r load_rc·x_rc ÷ n_c over all cases; None when some class has no instance that serves it.

    `limited`: within all limits, None where they do not allow these counts. Without them there always is an answer.
    `rooms`: what divides the loads of each set of sizes instead of the counts, which the limits count; 0 where nothing
    may be sent.
    """
    rooms = _by_case(problem, (counts,) * problem.sizes if rooms is None else rooms)
    used = [c for c in range(problem.candidate_count) if all(room[c] > 0 for room in rooms)]
    if not all(any(row[c] is not None for c in used) for row in problem.loads):
        return None
    lp = pulp.LpProblem("sky_melange_spread", pulp.LpMinimize)
    peak = lp.add_variable("peak", lowBound=0)
    shares = {
        (r, c): lp.add_variable(f"x_{r}_{c}", lowBound=0)
        for r, row in enumerate(problem.loads)
        for c in used
        if row[c] is not None
    }
    lp.setObjective(peak)
    for r in range(problem.class_count):
        lp.addConstraint(pulp.lpSum(shares[r, c] for c in used if (r, c) in shares) == 1, f"assign_{r}")
    for case, (loads, room) in enumerate(zip(problem.cases, rooms, strict=True)):
        for c in used:
            terms = [(shares[r, c], load / room[c]) for r, load in problem.loads_on(c, loads)]
            lp.addConstraint(pulp.LpAffineExpression([*terms, (peak, -1)]) <= 0, f"load_{c}_{case}")
    if limited:
        program = FixedCounts(problem, counts, lp, shares)
        for limit in limits_of(problem):
            limit.rows(program)
        if not program.holds:
            return None
    if not session.solve_linear(lp):
        if limited:
            return None
        raise NotOptimalError(session.too_late())
    rows = [
        [shares[r, c].varValue if (r, c) in shares else 0.0 for c in range(problem.candidate_count)]
        for r in range(problem.class_count)
    ]
    least = [min(room[c] for room in rooms) for c in range(problem.candidate_count)]
    cleaned = tuple(without_dust(row, least, loads) for row, loads in zip(rows, problem.loads, strict=True))
    return Spread(
        peak_utilization=_peak(problem, rooms, used, cleaned), shares=cleaned, weights=_weights(lp, used, rooms)
    )


def _by_case(problem: Problem, rooms: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    each = len(problem.cases) // problem.sizes
    return [room for room in rooms for _ in range(each)]


class FixedCounts:
    """The program of given counts, as limits add their rows to it (see `problem.Program`): only shares are open.

    `holds`: whether the counts keep every row that no share plays a part in. Without an `lp` those alone are looked at.
    """

    def __init__(
        self,
        problem: Problem,
        counts: Sequence[int],
        lp: pulp.LpProblem | None = None,
        shares: Mapping[tuple[int, int], pulp.LpVariable] | None = None,
    ) -> None:
        self.holds = True
        self.counts: Final = counts
        self.whole: Final[Terms] = [(1.0, 1.0)]
        self._problem: Final = problem
        self._lp: Final = pulp.LpProblem("sky_melange_counts") if lp is None else lp
        self._shares: Final = {} if shares is None else shares
        self._rows = 0

    def used(self) -> Sequence[int]:
        """1 where there are instances."""
        return [int(count > 0) for count in self.counts]

    def routed_to(self, members: Sequence[bool]) -> Terms:
        """Σ_{c∈members} Σ_r w_r · x_rc."""
        return [(share, self._problem.weights[r]) for (r, c), share in self._shares.items() if members[c]]

    def cost(self) -> Terms:
        """The total, USD/h."""
        return [(self._problem.cost(self.counts), 1.0)]

    def variable(self, name: str) -> pulp.LpVariable:  # noqa: ARG002 - numbered, like the rows
        """A new variable ≥ 0."""
        self._rows += 1
        return self._lp.add_variable(f"limit_{self._rows}", lowBound=0)

    def at_most(self, name: str, terms: Terms, bound: float) -> None:  # noqa: ARG002
        """Σ ≤ bound."""
        sought, known = split(terms)
        if sought:
            self._rows += 1
            self._lp.addConstraint(sought <= bound - known, f"limit_{self._rows}")
        elif known > bound + _TOLERANCE * max(1.0, abs(bound)):
            self.holds = False

    def at_least(self, name: str, terms: Terms, bound: float) -> None:
        """Σ ≥ bound."""
        self.at_most(name, [(variable, -factor) for variable, factor in terms], -bound)


def _peak(
    problem: Problem, rooms: Sequence[Sequence[float]], used: Sequence[int], shares: Sequence[Sequence[float]]
) -> float:
    """The largest load ÷ instances over candidates in use and cases, recomputed from the shares."""
    return max(
        math.fsum(load * shares[r][c] for r, load in problem.loads_on(c, loads)) / room[c]
        for loads, room in zip(problem.cases, rooms, strict=True)
        for c in used
    )


def _weights(
    lp: pulp.LpProblem, used: Sequence[int], rooms: Sequence[Sequence[float]]
) -> tuple[tuple[float, ...], ...]:
    duals = {constraint.name: constraint.pi for constraint in lp.constraints()}
    return tuple(
        tuple(
            max(0.0, -(duals[f"load_{c}_{case}"] or 0.0)) / count if c in used else 0.0 for c, count in enumerate(room)
        )
        for case, room in enumerate(rooms)
    )
