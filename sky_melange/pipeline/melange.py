"""The released Mélange solver's JSON, solved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sky_melange.domain.workload import Formulation, SolverSettings
from sky_melange.errors import InfeasibleError, NotOptimalError
from sky_melange.optimizer import Problem, solve_problem
from sky_melange.workload_file import MelangeInput, read_melange


def solve_melange(
    path: Path, settings: SolverSettings, *, require_optimal: bool = False, normalize: bool = False
) -> dict[str, int | float]:
    """Solves the released Mélange solver's JSON: instances by GPU name in the file's order, then `cost` (USD/h)."""
    given = read_melange(path, normalize=normalize)
    if settings.formulation is Formulation.SLICED:
        settings = replace(settings, slices=given.slice_factor)
    solution = solve_problem(_melange_problem(given), settings)
    if require_optimal and solution.status != "optimal":
        raise NotOptimalError(f"the answer is proven to within {solution.mip_gap:.2%} only; raise --time-limit")
    return {**dict(zip(given.gpu_names, solution.counts, strict=True)), "cost": solution.cost_usd_per_hour}


def _melange_problem(given: MelangeInput) -> Problem:
    """Every bucket with traffic is a class of its own; a GPU is fully loaded at its stated rate."""
    cells = [
        (i, j, share * given.total_request_rate)
        for i, row in enumerate(given.workload_distribution)
        for j, share in enumerate(row)
        if share * given.total_request_rate > 0
    ]
    loads = []
    for i, j, rate_rps in cells:
        sustained = [matrix[i][j] for matrix in given.request_rates_rps]
        if all(rate is None for rate in sustained):
            raise InfeasibleError(
                f"no GPU can serve bucket [{i}][{j}]: gpu_info.*.tputs[{i}][{j}] is 0 or null for every GPU"
            )
        loads.append(tuple(None if rate is None else rate_rps / rate for rate in sustained))
    return Problem(loads=tuple(loads), prices=given.cost_usd_per_hour, replicas=(1,) * len(given.gpu_names))
