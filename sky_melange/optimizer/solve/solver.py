"""Solves a problem: shrinks it with proofs, finds the least cost, then settles ties and evens out the load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeVar

from sky_melange.domain.workload import Formulation, SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve.dominance import undominated
from sky_melange.optimizer.solve.lagrange import relax
from sky_melange.optimizer.solve.losses import survival, with_first_cut
from sky_melange.optimizer.solve.lp import build_lp, objective_expression, relative_gap, run
from sky_melange.optimizer.solve.reduction import Reduction, reduce_problem
from sky_melange.optimizer.solve.session import Session
from sky_melange.optimizer.solve.solution import Contingency, Solution
from sky_melange.optimizer.solve.spread import spread
from sky_melange.optimizer.solve.ties import balance, break_ties
from sky_melange.optimizer.solve.variables import kinds_of

_Number = TypeVar("_Number", int, float)

_SMALL: Final = 24
"""Up to this many candidates the integer program is solved as it is."""

_FIRST_LOOK: Final = 16
"""Candidates among which a first good plan is looked for in a larger problem."""

_LARGE: Final = 50_000
"""Pairs of classes and kinds of candidates from which on a problem is solved by `solve_large`."""

_LOOKS: Final = ((32, 1.6), (32, 2.0))
"""(candidates among which a plan of a large problem is sought, by how much less their other work may be worth)."""

_FEW_GROUPS: Final = 16
_GROUP_LOOKS: Final = (2, 3)
"""Candidates a group where no more groups than that are allowed: each must serve much, so nothing is thinned out."""

_WORK_PER_S: Final = 4 / 3
"""A second of the time limit allows each search of `solve_large` so many questions of HiGHS whether to go on, of which
about 25 come before the first branch. A quiet machine needs about a third of the time limit for all searches."""

_LEAST_WORK: Final = 40
_PAIRS_PER_S: Final = 100
"""Pairs of classes and candidates that a last search among all candidates may have for a second of the time limit."""

_LEAST_GAP: Final = 1e-6
"""Relative: no solver's tolerances prove less."""

_FITTING_SHARE_OF_TIME: Final = 0.2
"""For the counts of the exact optimum in whole slices."""

_TIE_BREAK_MAX_PAIRS: Final = 5_000
"""Beyond this many (class, candidate) pairs ties stay as the solver, which is deterministic, breaks them."""


def solve(problem: Problem, settings: SolverSettings) -> Solution:
    """The counts and shares whose total, charges included, is least.

    Ties: fewer endpoints, then fewer groups, then fewer instances, then the earlier candidates. Raises InfeasibleError
    when no counts satisfy the constraints, NotOptimalError when the time limit passes without any plan.
    """
    return solve_within(problem, Session(settings))


def solve_within(problem: Problem, session: Session) -> Solution:
    """The same within a session, whose time it uses up."""
    kept = undominated(problem)
    if _is_large(problem.restricted_to(kept)):
        found = solve_large(problem, kept, session)
        if found is not None:
            return found
    ended_by = "time" if session.is_late else None
    kept, first = _promising(problem, kept, session)
    try:
        found = widened(problem, kept, _solve_reduced(problem.restricted_to(kept), session))
    except NotOptimalError:
        if first is None:
            raise
        return replace(first, ended_by=ended_by)
    if first is None or found.status == "optimal":
        return found
    return first if problem.objective(first.counts) < problem.objective(found.counts) * (1 - 1e-9) else found


def _is_large(problem: Problem) -> bool:
    pairs = problem.class_count * problem.candidate_count
    return pairs > _LARGE and problem.class_count * len(kinds_of(problem).first) > _LARGE


def solve_large(problem: Problem, kept: Sequence[int], session: Session) -> Solution | None:
    """A good plan of the candidates `kept`, and a proof of how good, within limits of work instead of seconds.

    Plans are sought in thinned problems, each cheaper than the one before; then among all candidates that a cheaper
    plan may have, where these are few, which may prove the best. None where no plan is found so.
    """
    reduced = problem.restricted_to(kept)
    relaxation = relax(reduced, session, spare_s=_spare_s(session))
    reduction = relaxation.reduction
    bound = reduction.lower_bound
    best: Solution | None = None
    few = relaxation.groups if relaxation.groups <= _FEW_GROUPS else None
    looks = _LOOKS if few is None else tuple((few * candidates, math.inf) for candidates in _GROUP_LOOKS)
    for candidates, detour in looks:
        looked_at = reduction.most_promising(reduced, candidates)
        thinned = relaxation.thinned(reduced, looked_at, detour)
        best, _ = _cheaper(reduced, thinned, looked_at, best, session)
    if best is None:
        return None
    left = reduction.keep(reduced.objective(best.counts))
    if len(left) * reduced.class_count <= _PAIRS_PER_S * session.settings.time_limit_s:
        cheaper, proven = _cheaper(reduced, reduced.restricted_to(left), left, best, session)
        best, bound = cheaper or best, max(bound, proven)
    gap = relative_gap(reduced.objective(best.counts), bound)
    is_proven = gap <= 2 * max(session.settings.mip_gap, _LEAST_GAP)
    status, ended_by = ("optimal", None) if is_proven else ("feasible", "time" if session.is_late else "work")
    if session.slices is None and session.settings.break_ties:
        best = balance(reduced, best, session)
    return replace(widened(problem, kept, best), status=status, mip_gap=gap, ended_by=ended_by)


def _spare_s(session: Session) -> float:
    """Kept for the ordinary search while there is no plan: where the clock strikes, it finds a poor one sooner."""
    return session.settings.time_limit_s / 6


def _cheaper(
    problem: Problem, part: Problem, members: Sequence[int], best: Solution | None, session: Session
) -> tuple[Solution | None, float]:
    """(the cheaper of `best` and a plan of `part`, what any plan of `part` that is cheaper costs at least)."""
    most = math.inf if best is None else problem.objective(best.counts) * (1 - session.settings.mip_gap)
    allowed = min(most, math.inf if part.max_cost_usd_per_hour is None else part.max_cost_usd_per_hour)
    part = replace(part, max_cost_usd_per_hour=None if math.isinf(allowed) else allowed)
    work = max(_LEAST_WORK, round(_WORK_PER_S * session.settings.time_limit_s))
    given_s = session.left_s - (_spare_s(session) if best is None else 0.0)
    counted = Session(session.settings, time_limit_s=given_s, work=work)
    try:
        found = widened(problem, members, _least_cost(part, counted)[0])
    except InfeasibleError:
        return best, most
    except NotOptimalError:
        found = None
    finally:
        session.left_s -= given_s - counted.left_s
        session.is_late |= counted.left_s <= 0
    bound = 0.0 if counted.bound is None else min(most, counted.bound + problem.charges.base_usd_per_hour)
    return best if found is None or problem.objective(found.counts) > most else found, bound


def _promising(problem: Problem, kept: tuple[int, ...], session: Session) -> tuple[tuple[int, ...], Solution | None]:
    """Of the candidates `kept`, those that may be part of an optimum, proven by the cost of plans found on the way.

    And the last of these plans, with what is known of the optimum: better than none when the time is up.
    """
    first = None
    for looked_at in (_FIRST_LOOK, 3 * _FIRST_LOOK):
        if len(kept) <= max(_SMALL, looked_at):
            break
        reduced = problem.restricted_to(kept)
        reduction = reduce_problem(reduced)
        found = _among(reduced, reduction, looked_at, session)
        if found is None:
            break
        upper_bound = reduced.objective(found.counts)
        gap = relative_gap(upper_bound, reduction.lower_bound)
        first = replace(widened(problem, kept, found), status="feasible", mip_gap=gap)
        kept = tuple(kept[position] for position in reduction.keep(upper_bound))
    return kept, first


def _among(problem: Problem, reduction: Reduction, count: int, session: Session) -> Solution | None:
    """A good plan made of the most promising candidates alone; None when they allow none."""
    promising = reduction.most_promising(problem, count)
    settings = session.settings
    hurried = Session(
        replace(settings, mip_gap=max(settings.mip_gap, 1e-4)),
        time_limit_s=min(session.left_s, settings.time_limit_s / 6),
    )
    given_s = hurried.left_s
    try:
        return widened(problem, promising, _least_cost(problem.restricted_to(promising), hurried)[0])
    except (InfeasibleError, NotOptimalError):
        return None
    finally:
        session.left_s -= given_s - hurried.left_s


def _least_cost(problem: Problem, session: Session) -> tuple[Solution, Problem]:
    """The cheapest plan that survives its losses, and the problem with the cuts that this took.

    Whole slices can only cost more. If the counts of the exact optimum carry them too, they are the sliced optimum and
    nothing needs to be searched; otherwise the exact cost bounds the search from below.
    """
    if session.slices is None:
        return _search(problem, session, 0.0)
    settings = replace(session.settings, formulation=Formulation.EXACT)
    exact_session = Session(settings, time_limit_s=session.left_s, work=session.work)
    try:
        exact, problem = _search(problem, exact_session, 0.0)
    finally:
        session.left_s, session.work = exact_session.left_s, exact_session.work
    found = _in_whole_slices(problem, exact, session)
    if found is not None:
        return found, problem
    return _search(problem, session, problem.objective(exact.counts) * (1 - exact.mip_gap) * (1 - 1e-9))


def _search(problem: Problem, session: Session, at_least_usd_per_hour: float) -> tuple[Solution, Problem]:
    """Adds cuts until the cheapest plan survives its losses. Its objective is known to be `at_least_usd_per_hour`."""
    problem = with_first_cut(problem)
    tried: list[tuple[int, ...]] = []
    bound = at_least_usd_per_hour
    while True:
        try:
            program = build_lp(problem, session.slices, tight=session.work is not None)
            lp, variables = program.lp, program.variables
            objective = objective_expression(problem, variables)
            if bound > 0:
                lp.addConstraint(objective >= bound - problem.charges.base_usd_per_hour, "bound")
            lp.setObjective(objective)
            solution = _as_proven(run(problem, variables, lp, session), session)
        except NotOptimalError:
            if not tried:
                raise
            return _reinforced(problem, tried[-1], bound, session), problem
        if not problem.losses:
            return solution, problem
        bound = max(bound, problem.objective(solution.counts) * (1 - solution.mip_gap) * (1 - 1e-9))
        found = survival(problem, solution.counts, session)
        if not found.cuts:
            return replace(solution, contingencies=found.contingencies), problem
        if solution.counts in tried or session.is_over:
            return _reinforced(problem, solution.counts, bound, session), problem
        tried.append(solution.counts)
        problem = replace(problem, loss_cuts=(*problem.loss_cuts, *found.cuts))


def _as_proven(found: Solution, session: Session) -> Solution:
    """The solver's `optimal` counts only where its bound, held against the exact cost of the counts, agrees."""
    if found.status == "optimal" and found.mip_gap > 2 * max(session.settings.mip_gap, _LEAST_GAP):
        return replace(found, status="feasible")
    return found


def _solve_reduced(problem: Problem, session: Session) -> Solution:
    best, problem = _least_cost(problem, session)
    if not session.settings.break_ties:
        return best
    small = problem.class_count * problem.candidate_count <= _TIE_BREAK_MAX_PAIRS
    if best.status == "optimal" and small:
        best = _without_ties(problem, best, session)
    return best if session.slices is not None else balance(problem, best, session)


def _without_ties(problem: Problem, best: Solution, session: Session) -> Solution:
    """Breaks ties among the plans that survive their losses."""
    while True:
        chosen = break_ties(problem, best, session)
        if not problem.losses or chosen.counts == best.counts:
            return replace(chosen, contingencies=best.contingencies)
        try:
            found = survival(problem, chosen.counts, session)
        except NotOptimalError:
            return best
        if not found.cuts:
            return replace(chosen, contingencies=found.contingencies)
        problem = replace(problem, loss_cuts=(*problem.loss_cuts, *found.cuts))


def widened(problem: Problem, kept: Sequence[int], found: Solution) -> Solution:
    """The solution of the problem restricted to `kept`, as one of the whole problem."""
    size = problem.candidate_count
    counts = _wide(found.counts, kept, size, 0)
    return replace(
        found,
        counts=counts,
        shares=tuple(_wide(row, kept, size, 0.0) for row in found.shares),
        cost_usd_per_hour=problem.cost(counts),
        contingencies=tuple(
            Contingency(
                lost=_wide(contingency.lost, kept, size, 0),
                shares=tuple(_wide(row, kept, size, 0.0) for row in contingency.shares),
                peak_utilization=contingency.peak_utilization,
            )
            for contingency in found.contingencies
        ),
    )


def _wide(values: Sequence[_Number], kept: Sequence[int], size: int, empty: _Number) -> tuple[_Number, ...]:
    """Values of the candidates `kept`, as values of all `size` candidates."""
    wide = [empty] * size
    for position, c in enumerate(kept):
        wide[c] = values[position]
    return tuple(wide)


def _in_whole_slices(problem: Problem, exact: Solution, session: Session) -> Solution | None:
    """The exact plan's counts with shares in whole slices; None when that does not fit, or is not found quickly."""
    program = build_lp(problem, session.slices)
    lp, variables = program.lp, program.variables
    for variable, count in zip(variables.counts, exact.counts, strict=True):
        variable.lowBound = variable.upBound = count
    lp.setObjective(objective_expression(problem, variables))
    given_s = session.left_s * _FITTING_SHARE_OF_TIME
    hurried = Session(session.settings, time_limit_s=given_s)
    try:
        found = run(problem, variables, lp, hurried)
    except (InfeasibleError, NotOptimalError):
        return None
    finally:
        session.left_s -= given_s - hurried.left_s
    return replace(exact, shares=found.shares)


def _reinforced(problem: Problem, counts: Sequence[int], bound: float, session: Session) -> Solution:
    """Adds the k instances that may be lost to every group of a plan, then takes back, dearest first, what it can.

    `bound` (USD/h) is what any plan costs at least. Raises NotOptimalError when a limit forbids it.
    """
    chosen = [count + problem.losses if count else 0 for count in counts]
    for c in sorted(range(len(chosen)), key=lambda c: (-problem.prices[c], c)):
        while chosen[c] > counts[c]:
            fewer = [count - (position == c) for position, count in enumerate(chosen)]
            if survival(problem, fewer, session).cuts:
                break
            chosen = fewer
    found = spread(problem, chosen, session)
    if found is None or found.peak_utilization > problem.max_utilization * (1 + 1e-6):
        raise NotOptimalError(session.too_late())
    return Solution(
        counts=tuple(chosen),
        shares=found.shares,
        cost_usd_per_hour=problem.cost(chosen),
        status="feasible",
        mip_gap=relative_gap(problem.objective(chosen), bound),
        contingencies=survival(problem, chosen, session).contingencies,
    )
