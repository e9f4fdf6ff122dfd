"""The solver against exhaustive enumeration, and against the formulation that Mélange published."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from brute_force import cheapest_cost
from hypothesis import assume, example, given
from problems import EXACT, SLICED, SLICES, cost_of, limited, problems, seeded_problem
from property_examples import examples
from published import cost_by_binary_slices

from sky_melange import pipeline
from sky_melange.domain.workload import Formulation, SolverSettings
from sky_melange.optimizer import solve_problem
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.replicas import MinReplicas
from sky_melange.optimizer.problem import Problem

# The solver works to a tolerance of 1e-6; a problem that a tolerance decides says nothing about either side.
_TOLERANCE = 1e-5


def _replicas(limit: int, *weights: int) -> MinReplicas:
    return MinReplicas(weights=weights, limit=limit)


def _agree(problem: Problem, settings: SolverSettings, slices: int | None) -> None:
    expected = cheapest_cost(problem, slices)
    assume(expected == cheapest_cost(problem, slices, slack=_TOLERANCE) == cheapest_cost(problem, slices, slack=-1e-9))
    found = cost_of(problem, settings)
    if expected is None:
        assert found is None
    else:
        assert found == pytest.approx(expected, rel=1e-9)


@examples(150)
@given(problems())
@example(Problem(loads=((0.9, None), (None, 0.9)), prices=(1.0, 1.0), replicas=(1, 1), max_utilization=0.9))
@example(Problem(loads=((2.5,),), prices=(1.0,), replicas=(2,), max_utilization=0.5, limits=(_replicas(5, 2),)))
def test_exact_costs_what_enumeration_finds(problem: Problem) -> None:
    _agree(problem, EXACT, None)


@examples(100)
@given(problems(max_classes=3))
def test_sliced_costs_what_enumeration_finds(problem: Problem) -> None:
    _agree(problem, SLICED, SLICES)


@examples(60)
@given(problems())
def test_exact_is_never_dearer_than_sliced(problem: Problem) -> None:
    sliced = cost_of(problem, SLICED)
    exact = cost_of(problem, EXACT)
    if sliced is not None:
        assert exact is not None
        assert exact <= sliced * (1 + 1e-9)


def test_enumeration_itself_on_an_answer_worked_out_by_hand() -> None:
    # A carries all 2.4 with 3 instances.
    problem = Problem(loads=((1.2, 1.2), (1.2, None)), prices=(1.0, 1.9), replicas=(1, 1))
    assert cheapest_cost(problem, None) == 3.0
    # A cannot serve the second class: one of A takes 1.0 of the first, two of B the remaining 1.4. Undivided, A would
    # need two instances for the first class (5.8), so three of B are cheaper; limited to one group they are anyway.
    partial = replace(problem, loads=((1.2, 1.2), (None, 1.2)))
    assert cheapest_cost(partial, None) == pytest.approx(1.0 + 2 * 1.9)
    assert cheapest_cost(partial, 1) == pytest.approx(3 * 1.9)
    assert cheapest_cost(limited(partial, MaxGroups(limit=1)), None) == pytest.approx(3 * 1.9)
    assert cheapest_cost(limited(partial, MaxGroups(limit=1), _replicas(4, 1, 1)), None) == pytest.approx(4 * 1.9)


@pytest.mark.filterwarnings("ignore:PULP_CBC_CMD is deprecated:DeprecationWarning")
@pytest.mark.parametrize("seed", range(30))
def test_sliced_costs_what_binary_slices_cost(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311
    slices = rng.choice((1, 2, 4))
    problem = seeded_problem(seed, classes=rng.randint(1, 4), candidates=rng.randint(1, 4))
    settings = SolverSettings(formulation=Formulation.SLICED, slices=slices)
    assert cost_of(problem, settings) == pytest.approx(cost_by_binary_slices(problem, slices), rel=1e-6)


def test_the_example_of_the_released_solver(repository: Path) -> None:
    path = repository / "tests" / "data" / "melange" / "example.json"
    sliced = pipeline.solve_melange(path, SolverSettings(formulation=Formulation.SLICED))
    assert list(sliced) == ["A10G", "A100-80GB", "cost"]
    assert sliced == {"A10G": 3, "A100-80GB": 1, "cost": pytest.approx(6.7)}
    exact = pipeline.solve_melange(path, SolverSettings())
    assert exact["cost"] <= sliced["cost"]


@pytest.mark.filterwarnings("ignore:PULP_CBC_CMD is deprecated:DeprecationWarning")
def test_the_published_formulation_gives_the_answer_of_the_released_example(repository: Path) -> None:
    content = json.loads((repository / "tests" / "data" / "melange" / "example.json").read_text(encoding="utf-8"))
    gpus = content["gpu_info"].values()
    cells = [(i, j) for i in range(2) for j in range(2)]
    problem = Problem(
        loads=tuple(
            tuple(30.0 * content["workload_distribution"][i][j] / gpu["tputs"][i][j] for gpu in gpus) for i, j in cells
        ),
        prices=tuple(gpu["cost"] for gpu in gpus),
        replicas=(1, 1),
    )
    assert cost_by_binary_slices(problem, 1) == pytest.approx(6.7)


@pytest.mark.slow
def test_an_instance_on_which_cbc_with_its_heuristics_errs() -> None:
    problem = seeded_problem(17, classes=4, candidates=3)
    solution = solve_problem(problem, SolverSettings(formulation=Formulation.SLICED, slices=4))
    assert solution.counts == (0, 0, 4)
    assert cheapest_cost(problem, 4) == pytest.approx(4 * 2.29) == pytest.approx(solution.cost_usd_per_hour)


@pytest.mark.parametrize("slices", [1, 2, 3, 8])
def test_shares_of_the_sliced_formulation_are_whole_slices(slices: int) -> None:
    problem = seeded_problem(slices, classes=6, candidates=4)
    solution = solve_problem(problem, SolverSettings(formulation=Formulation.SLICED, slices=slices))
    for row in solution.shares:
        assert sum(row) == pytest.approx(1.0)
        for share in row:
            assert share * slices == pytest.approx(round(share * slices), abs=1e-6)
