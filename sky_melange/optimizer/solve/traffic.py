"""The most traffic that a budget buys, on the same model: Σ_c x_rc = t for every class r, and t is maximised."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import pulp

from sky_melange.domain.workload import SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve.dominance import undominated
from sky_melange.optimizer.solve.losses import survival, with_first_cut
from sky_melange.optimizer.solve.lp import build_lp, whole
from sky_melange.optimizer.solve.reduction import class_values, reduce_problem
from sky_melange.optimizer.solve.session import Session

_SMALL: Final = 24
_FIRST_LOOK: Final = 16
_NOTHING: Final = 1e-9
_MOST_FACTOR: Final = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class MostTraffic:
    """`factor` on the traffic of the problem, by a plan of `counts`; no plan within the budget serves `bound` or more.

    `status` is `optimal` (within the gap asked for) or `feasible`.
    """

    factor: float
    bound: float
    status: str
    counts: tuple[int, ...]


def most_traffic(problem: Problem, settings: SolverSettings) -> MostTraffic:
    """The largest factor on all traffic whose plan costs at most `problem.max_cost_usd_per_hour`.

    Raises InfeasibleError when the budget buys no plan at all, NotOptimalError when the time limit comes before one.
    """
    budget = problem.max_cost_usd_per_hour
    if budget is None:
        raise ValueError("the most traffic is sought within max_cost_usd_per_hour")
    if budget <= problem.charges.base_usd_per_hour:
        raise InfeasibleError("nothing is left of the budget after the controller")
    session = Session(settings)
    kept = undominated(problem)
    reduced = problem.restricted_to(kept)
    if len(kept) > _SMALL:
        # A plan that serves more than t costs at least the bound at t: what that prices over the budget can go.
        looked_at = reduced.restricted_to(reduce_problem(reduced).most_promising(reduced, _FIRST_LOOK))
        try:
            first = _search(looked_at, session, budget).factor
        except InfeasibleError:
            first = 0.0
        if first > 0:
            kept = tuple(kept[c] for c in reduce_problem(reduced.at_traffic(first)).keep(budget))
    found = _search(problem.restricted_to(kept), session, budget)
    counts = [0] * problem.candidate_count
    for position, c in enumerate(kept):
        counts[c] = found.counts[position]
    return replace(found, counts=tuple(counts))


def _search(problem: Problem, session: Session, budget: float) -> MostTraffic:
    """With the cuts that losses take."""
    problem = with_first_cut(problem)
    tried: list[tuple[int, ...]] = []
    while True:
        found = _solve(problem, session, budget)
        scaled = problem.at_traffic(found.factor)
        cuts = survival(scaled, found.counts, session).cuts if problem.losses else ()
        if not cuts:
            return found
        if found.counts in tried:
            raise NotOptimalError(session.too_late())
        tried.append(found.counts)
        added = tuple(replace(cut, demand=cut.demand / found.factor) for cut in cuts)
        problem = replace(problem, loss_cuts=(*problem.loss_cuts, *added))


def _solve(problem: Problem, session: Session, budget: float) -> MostTraffic:
    values = math.fsum(class_values(problem))
    # Capacity that is paid for already is worth nothing here: then the bound is a round number.
    most = budget / values if values > 0 else _MOST_FACTOR
    program = build_lp(replace(problem, keep=None), None, most_traffic=most)
    lp, variables = program.lp, program.variables
    lp.setObjective(pulp.LpAffineExpression([(variables.traffic, 1)]))
    outcome = session.solve(lp)
    factor = None if variables.traffic is None else variables.traffic.varValue
    if outcome.status == "infeasible" or (outcome.status == "optimal" and (factor or 0.0) <= _NOTHING * most):
        raise InfeasibleError(f"USD {budget:g} per hour buy no plan that serves every size of request")
    if outcome.status == "unknown" or factor is None or factor <= 0:
        raise NotOptimalError(session.too_late())
    return MostTraffic(
        factor=factor,
        bound=max(factor, most if outcome.bound is None else min(most, outcome.bound)),
        status=outcome.status,
        counts=whole([variable.varValue for variable in variables.counts]),
    )
