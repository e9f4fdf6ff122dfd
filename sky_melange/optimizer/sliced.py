"""The sliced formulation, by way of the exact one: whole slices can only cost more.

If the counts of the exact optimum carry whole slices too, they are the sliced optimum and nothing needs to be
searched. Otherwise the exact cost bounds the search from below.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from sky_melange.domain.workload import Formulation
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.lp import build_lp, objective_expression, run
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.session import Session
from sky_melange.optimizer.solution import Solution

_FITTING_SHARE_OF_TIME: Final = 0.2
_BOUND_SLACK: Final = 1e-9


def in_whole_slices(problem: Problem, exact: Solution, session: Session) -> Solution | None:
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


def exactly(session: Session) -> Session:
    """A session of the exact formulation, within the same time."""
    settings = replace(session.settings, formulation=Formulation.EXACT)
    return Session(settings, time_limit_s=session.left_s)


def bounded_below(problem: Problem, exact: Solution) -> float:
    """USD/h that no plan in slices undercuts: the bound proven for the exact formulation."""
    return problem.objective(exact.counts) * (1 - exact.mip_gap) * (1 - _BOUND_SLACK)
