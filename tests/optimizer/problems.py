"""Random problems: by hypothesis for the properties, by seed for comparisons that take longer."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import strategies as st

from sky_melange.domain.workload import Formulation, SolverSettings
from sky_melange.errors import InfeasibleError
from sky_melange.optimizer import solve_problem
from sky_melange.optimizer.charges import Charges, RouterCharge
from sky_melange.optimizer.limits.accelerators import Cap
from sky_melange.optimizer.limits.groups import MaxGroups
from sky_melange.optimizer.limits.replicas import MinReplicas
from sky_melange.optimizer.problem import Limit, Problem

EXACT = SolverSettings(formulation=Formulation.EXACT)
SLICES = 3
SLICED = SolverSettings(formulation=Formulation.SLICED, slices=SLICES)

_LOADS = st.integers(1, 50).map(lambda twentieths: twentieths / 20)
_PRICES = st.integers(10, 900).map(lambda cents: cents / 100)


@st.composite
def problems(draw: st.DrawFn, *, max_classes: int = 4, max_candidates: int = 3, limited: bool = True) -> Problem:
    """Every candidate serves a class and every class is served, with and without charges for controller and router.

    `limited` draws caps, groups and replicas too.
    """
    candidates = draw(st.integers(1, max_candidates))
    classes = draw(st.integers(1, max_classes))
    loads = [[draw(st.none() | _LOADS) for _ in range(candidates)] for _ in range(classes)]
    for row in loads:
        if all(load is None for load in row):
            row[draw(st.integers(0, candidates - 1))] = draw(_LOADS)
    for c in range(candidates):
        if all(row[c] is None for row in loads):
            loads[draw(st.integers(0, classes - 1))][c] = draw(_LOADS)
    usage = tuple(draw(st.integers(0, 4)) for _ in range(candidates))
    charges = draw(charges_of(candidates, limited=limited)) if draw(st.booleans()) else Charges()
    replicas = tuple(draw(st.sampled_from((1, 2, 8))) for _ in range(candidates))
    limits: list[Limit] = []
    if limited and draw(st.booleans()):
        limits.append(Cap(name="cap", weights=usage, limit=draw(st.integers(0, 12))))
    if limited and (least := draw(st.sampled_from((0, 1, 2, 5)))):
        limits.append(MinReplicas(weights=replicas, limit=least))
    if limited and (groups := draw(st.sampled_from((None, None, 1, 2)))) is not None:
        limits.append(MaxGroups(limit=groups))
    return Problem(
        loads=tuple(tuple(row) for row in loads),
        prices=tuple(draw(_PRICES) for _ in range(candidates)),
        replicas=replicas,
        max_utilization=draw(st.sampled_from((0.5, 0.9, 1.0))),
        limits=tuple(limits),
        charges=charges,
    )


def limited(problem: Problem, *limits: Limit) -> Problem:
    """The problem with more limits."""
    return replace(problem, limits=(*problem.limits, *limits))


_SMALL_PRICES = st.integers(0, 120).map(lambda cents: cents / 100)


@st.composite
def charges_of(draw: st.DrawFn, candidates: int, *, limited: bool) -> Charges:
    """A controller that may grow with the groups, and a router at one price, or at one by place."""
    near = st.none() | st.sampled_from((0.05, 0.2, 0.7))
    same = draw(st.sampled_from((None, 0.1)))
    router = RouterCharge(
        near_usd_per_hour=tuple(draw(near) if same is None else same for _ in range(candidates)),
        elsewhere_usd_per_hour=draw(_SMALL_PRICES),
    )
    return Charges(
        base_usd_per_hour=draw(_SMALL_PRICES),
        steps=draw(st.sampled_from(((), ((1, 0.3),), ((1, 0.1), (2, 0.6))))),
        most_groups=draw(st.sampled_from((None, None, 1, 2))) if limited else None,
        instances_are_endpoints=draw(st.booleans()),
        router=draw(st.sampled_from((None, router, router))),
    )


def seeded_problem(seed: int, *, classes: int, candidates: int, most_load: float = 1.5, gaps: float = 0.1) -> Problem:
    rng = random.Random(seed)  # noqa: S311 - repeatable numbers, nothing secret
    loads = [
        [None if rng.random() < gaps else round(rng.uniform(0.05, most_load), 3) for _ in range(candidates)]
        for _ in range(classes)
    ]
    for row in loads:
        if all(load is None for load in row):
            row[0] = 1.0
    return Problem(
        loads=tuple(tuple(row) for row in loads),
        prices=tuple(round(rng.uniform(0.5, 9.0), 2) for _ in range(candidates)),
        replicas=(1,) * candidates,
    )


def cost_of(problem: Problem, settings: SolverSettings = EXACT) -> float | None:
    """The solver's cost, None when it says infeasible."""
    try:
        solution = solve_problem(problem, settings)
    except InfeasibleError:
        return None
    assert solution.status == "optimal"
    return solution.cost_usd_per_hour
