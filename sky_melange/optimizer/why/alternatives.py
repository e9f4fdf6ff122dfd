"""What else could be bought: the best plan of each accelerator type alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sky_melange.domain.plan import Alternative
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer.model import Model
from sky_melange.optimizer.problem import Problem
from sky_melange.optimizer.solve.solution import Solution
from sky_melange.optimizer.solve.solver import solve


def single_types(model: Model, plan: Solution) -> tuple[Alternative, ...]:
    """The best plan of each accelerator alone, cheapest first; types that cannot carry the traffic alone come last.

    All on machines of their own.

    Where `plan`, the model's own, is of one type, it is that type's.
    """
    names = sorted({candidate.offer.accelerator for candidate in model.candidates if candidate.offer.part is None})
    found = [_single_type(model, accelerator, plan) for accelerator in names]
    return tuple(sorted(found, key=lambda a: (a.total_usd_per_hour is None, a.total_usd_per_hour or 0.0, a.label)))


def _single_type(model: Model, accelerator: str, plan: Solution) -> Alternative:
    kept = [
        c
        for c, candidate in enumerate(model.candidates)
        if candidate.offer.accelerator == accelerator and candidate.offer.part is None
    ]
    problem = replace(model.problem.restricted_to(kept), keep=None, max_cost_usd_per_hour=None)
    unserved_rps = sum(
        model.buckets[index].rate_rps
        for members, row in zip(model.classes, problem.loads, strict=True)
        if all(load is None for load in row)
        for index in members
    )
    if unserved_rps > 0:
        share = unserved_rps / model.workload.traffic.request_rate_rps
        return _none(accelerator, f"cannot serve {_percent(share)} of the requests within the targets")
    if (
        plan.status == "optimal"
        and model.problem.keep is None
        and sum(plan.counts) == sum(plan.counts[c] for c in kept)
    ):
        return _alternative(model, accelerator, kept, problem, tuple(plan.counts[c] for c in kept), "")
    try:
        solution = solve(problem, replace(model.workload.solver, break_ties=False))
    except (InfeasibleError, NotOptimalError) as error:
        return _none(accelerator, str(error))
    note = "" if solution.status == "optimal" else f"not proven optimal (gap {solution.mip_gap:.2%})"
    return _alternative(model, accelerator, kept, problem, solution.counts, note)


def _alternative(
    model: Model, accelerator: str, kept: Sequence[int], problem: Problem, counts: Sequence[int], note: str
) -> Alternative:
    gpus = [model.candidates[c].offer.accelerators_per_instance for c in kept]
    return Alternative(
        label=accelerator,
        cost_usd_per_hour=problem.replica_cost(counts),
        total_usd_per_hour=problem.cost(counts),
        instances=sum(counts),
        accelerators=sum(count * each for count, each in zip(counts, gpus, strict=True)),
        note=note,
    )


def _none(accelerator: str, note: str) -> Alternative:
    return Alternative(label=accelerator, cost_usd_per_hour=None, instances=None, accelerators=None, note=note)


def _percent(fraction: float) -> str:
    """Never 0.0% of what is more."""
    return f"{fraction:.1%}" if fraction >= 0.0005 else "less than 0.1%"
