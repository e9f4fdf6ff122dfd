"""Very small, very large, very many, and no answer at all."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import cache

import pytest
from problems import EXACT, SLICED, SLICES, seeded_problem
from test_properties import assert_holds

from sky_melange.domain.workload import Formulation, SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer import Solution, solve_problem
from sky_melange.optimizer.charges import Charges, RouterCharge
from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.replicas import MinReplicas
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve import solver
from sky_melange.optimizer.solve.dominance import undominated
from sky_melange.optimizer.solve.session import Session

_FORMULATIONS = pytest.mark.parametrize("formulation", [EXACT, SLICED], ids=["exact", "sliced"])


@_FORMULATIONS
@pytest.mark.parametrize("scale", [1e-300, 1e-12, 1e-6, 1e-3])
def test_next_to_no_traffic_still_needs_an_instance(formulation: SolverSettings, scale: float) -> None:
    problem = Problem(
        loads=((scale, 2 * scale), (scale, None)), prices=(1.0, 0.3), replicas=(1, 1), max_utilization=0.9
    )
    solution = solve_problem(problem, formulation)
    assert solution.counts == (1, 0)
    assert solution.status == "optimal"


@_FORMULATIONS
@pytest.mark.parametrize("scale", [1e4, 1e6])
def test_huge_traffic(formulation: SolverSettings, scale: float) -> None:
    problem = Problem(
        loads=((scale, 0.95 * scale), (0.5 * scale, 0.3 * scale), (0.1 * scale, 0.2 * scale)),
        prices=(1.0, 1.13),
        replicas=(1, 1),
        max_utilization=0.9,
    )
    solution = solve_problem(problem, formulation)
    assert_holds(problem, solution)
    # The relaxation bounds the cost: each class where it is cheaper, fractions of instances allowed.
    bound = sum(min(row[0] * 1.0, row[1] * 1.13) for row in problem.loads if row[0] and row[1]) / 0.9
    assert bound <= solution.cost_usd_per_hour * (1 + 1e-6)
    if formulation is EXACT:
        assert solution.cost_usd_per_hour <= bound * (1 + 2e-6) + 2.13


def _replicas(limit: int, *weights: int) -> MinReplicas:
    return MinReplicas(weights=weights, limit=limit)


@pytest.mark.parametrize("scale", [1e4, 1e6, 5e6])
def test_max_groups_holds_at_huge_counts(scale: float) -> None:
    problem = Problem(
        loads=((0.3 * scale, 0.35 * scale), (0.5 * scale, 0.3 * scale)),
        prices=(1.0, 1.01),
        replicas=(1, 1),
        max_utilization=0.9,
        limits=(MaxGroups(limit=1),),
    )
    solution = solve_problem(problem, EXACT)
    assert solution.counts[0] == 0
    assert solution.counts[1] == pytest.approx(math.ceil(0.65 * scale / 0.9), abs=max(2, 1e-6 * scale))


@_FORMULATIONS
def test_one_bucket_one_candidate(formulation: SolverSettings) -> None:
    problem = Problem(loads=((2.5,),), prices=(0.7,), replicas=(1,), max_utilization=0.9)
    solution = solve_problem(problem, formulation)
    assert solution.counts == (3,)
    assert solution.shares == ((1.0,),)
    assert solution.cost_usd_per_hour == pytest.approx(2.1)


@_FORMULATIONS
def test_load_that_fills_instances_exactly_needs_no_more(formulation: SolverSettings) -> None:
    problem = Problem(loads=((0.9,), (0.9,), (0.9,)), prices=(1.0,), replicas=(1,), max_utilization=0.9)
    assert solve_problem(problem, formulation).counts == (3,)


@_FORMULATIONS
def test_a_candidate_that_serves_nothing_is_not_bought(formulation: SolverSettings) -> None:
    problem = Problem(loads=((0.5, None), (0.2, None)), prices=(3.0, 0.01), replicas=(1, 8))
    assert solve_problem(problem, formulation).counts == (1, 0)


@_FORMULATIONS
def test_a_candidate_that_serves_nothing_does_not_count_towards_min_replicas(formulation: SolverSettings) -> None:
    problem = Problem(
        loads=((0.5, None), (0.2, None)),
        prices=(3.0, 0.01),
        replicas=(1, 8),
        limits=(_replicas(2, 1, 8),),
    )
    assert solve_problem(problem, formulation).counts == (2, 0)


@_FORMULATIONS
def test_min_replicas_counts_replicas_not_instances(formulation: SolverSettings) -> None:
    problem = Problem(loads=((0.5, 0.1),), prices=(1.0, 3.5), replicas=(1, 8), limits=(_replicas(4, 1, 8),))
    assert solve_problem(problem, formulation).counts == (0, 1)
    assert solve_problem(
        Problem(loads=((0.5,),), prices=(1.0,), replicas=(1,), limits=(_replicas(4, 1),)), EXACT
    ).counts == (4,)


@_FORMULATIONS
def test_a_cap_that_binds_sends_the_rest_elsewhere(formulation: SolverSettings) -> None:
    cap = Cap(name="constraints.max_accelerators.A", weights=(8, 0), limit=23)
    problem = Problem(loads=((3.0, 3.0), (3.0, 3.0)), prices=(1.0, 1.5), replicas=(1, 1), limits=(cap,))
    solution = solve_problem(problem, formulation)
    assert solution.counts[0] == 2
    assert_holds(problem, solution)


@_FORMULATIONS
@pytest.mark.parametrize(
    "problem",
    [
        Problem(loads=((3.0,),), prices=(1.0,), replicas=(1,), limits=(Cap(name="cap", weights=(1,), limit=2),)),
        Problem(loads=((1.0, None), (None, 1.0)), prices=(1.0, 1.0), replicas=(1, 1), limits=(MaxGroups(limit=1),)),
        Problem(
            loads=((0.1,),),
            prices=(1.0,),
            replicas=(1,),
            limits=(_replicas(3, 1), Cap(name="cap", weights=(1,), limit=2)),
        ),
        Problem(loads=((1.0,),), prices=(1.0,), replicas=(1,), limits=(Cap(name="cap", weights=(1,), limit=0),)),
        Problem(loads=((None,),), prices=(1.0,), replicas=(1,)),
    ],
    ids=["cap", "groups", "cap and replicas", "cap of zero", "class that nothing serves"],
)
def test_infeasible(formulation: SolverSettings, problem: Problem) -> None:
    with pytest.raises(InfeasibleError):
        solve_problem(problem, formulation)


@cache
def _optimum_of_seed_1(formulation: Formulation) -> float:
    problem = seeded_problem(1, classes=20, candidates=12)
    return solve_problem(problem, SolverSettings(formulation=formulation)).cost_usd_per_hour


@pytest.mark.parametrize("time_limit_s", [1e-4, 1e-3, 5e-3, 2e-2])
@pytest.mark.parametrize("name", ["exact", "sliced"])
def test_a_time_limit_is_answered_honestly(name: str, time_limit_s: float) -> None:
    """Whether an incumbent is found in time depends on the machine; what is said about it must be true on any."""
    problem, formulation = seeded_problem(1, classes=20, candidates=12), Formulation(name)
    optimum = _optimum_of_seed_1(formulation)
    try:
        solution = solve_problem(problem, SolverSettings(formulation=formulation, time_limit_s=time_limit_s))
    except NotOptimalError:
        return
    assert_holds(problem, solution)
    assert solution.cost_usd_per_hour >= optimum * (1 - 1e-9)
    if solution.status == "optimal":
        assert solution.cost_usd_per_hour == pytest.approx(optimum, rel=1e-6)
    else:
        assert solution.status == "feasible"
        # Relative to the incumbent: the optimum lies within the gap.
        assert solution.cost_usd_per_hour * (1 - min(1.0, solution.mip_gap)) <= optimum * (1 + 1e-9)


def test_a_sliced_answer_that_is_not_proven_still_divides_into_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    least = solver._least_cost

    def unproven(problem: Problem, session: Session) -> tuple[Solution, Problem]:
        solution, cut = least(problem, session)
        return replace(solution, status="feasible", mip_gap=0.1), cut

    monkeypatch.setattr(solver, "_least_cost", unproven)
    solution = solve_problem(seeded_problem(3, classes=12, candidates=8), SLICED)
    assert solution.status == "feasible"
    assert all(
        share * SLICES == pytest.approx(round(share * SLICES), abs=1e-5) for row in solution.shares for share in row
    )


def test_thousands_of_candidates_with_a_router_are_compared_quickly() -> None:
    """None replaces another, so each is compared with all that are cheaper; a minute and more in pairs."""
    count = 2000
    prices = tuple(1 + 0.9 * c / count for c in range(count))
    near = tuple(None if c % 2 else 0.1 for c in range(count))
    charges = Charges(router=RouterCharge(near_usd_per_hour=near, elsewhere_usd_per_hour=0.2))
    loads = (tuple(1 / price for price in prices),)
    problem = Problem(loads=loads, prices=prices, replicas=(1,) * count, charges=charges)
    start = time.process_time()
    assert len(undominated(problem)) == count
    assert time.process_time() - start < 5
