"""Fleets beside one program of everything: `python -m benchmarks.solver.fleet [--workloads 20] [--seconds 60]`.

20 workloads of 100 candidates and 40 request sizes share quotas of five GPU models, each three fifths of what they
would take. A budget of all together is held against the cost: within it, or proven not to be. The peer is the same
model as a single integer program, given to HiGHS with the time limit.
"""

from __future__ import annotations

import argparse
import random
import time

from benchmarks.solver.instances import plausible
from sky_melange.domain.workload import SolverSettings
from sky_melange.optimizer import FleetProblem, SharedLimit, solve_fleet, solve_problem
from sky_melange.optimizer.solve.fleet import as_one_program

GPUS = 8
SHORT = 5
SHARE = 0.6


def instance(workloads: int, seed: int = 0) -> FleetProblem:
    """Rates are drawn between 20 and 200 requests per second."""
    rng = random.Random(seed)  # noqa: S311 - repeatable numbers, nothing secret
    problems = [
        plausible(seed * 1000 + k, classes=40, candidates=100, rate_rps=rng.uniform(20, 200)) for k in range(workloads)
    ]
    alone = [solve_problem(problem, SolverSettings(break_ties=False)) for problem in problems]
    shared = []
    for gpu in range(GPUS):
        weights = tuple(
            tuple(count if c % GPUS == gpu else 0 for c, count in enumerate(problem.replicas)) for problem in problems
        )
        limit = SharedLimit(name=f"gpu {gpu}", weights=weights, limit=0)
        wanted = sum(limit.used_by(k, found.counts) for k, found in enumerate(alone))
        shared.append((wanted, SharedLimit(name=limit.name, weights=weights, limit=int(wanted * SHARE))))
    scarcest = sorted(shared, key=lambda entry: -entry[0])[:SHORT]
    return FleetProblem.of(problems, [limit for _, limit in scarcest])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0, help="for the single program")
    arguments = parser.parse_args()
    print("| seed | decomposed, USD/h | s | one program, USD/h | s |")
    print("| --- | --- | ---: | --- | ---: |")
    for seed in range(arguments.seeds):
        fleet = instance(arguments.workloads, seed)
        start = time.perf_counter()
        found = solve_fleet(fleet, SolverSettings())
        apart_s = time.perf_counter() - start
        start = time.perf_counter()
        one = as_one_program(fleet, SolverSettings(time_limit_s=arguments.seconds))
        one_s = time.perf_counter() - start
        single = "none found" if one is None else f"{one.cost_usd_per_hour:,.2f}, gap {one.mip_gap:.2%}"
        apart = f"{found.cost_usd_per_hour:,.2f}, gap {found.mip_gap:.2%}"
        print(f"| {seed} | {apart} | {apart_s:.1f} | {single} | {one_s:.1f} |", flush=True)


if __name__ == "__main__":
    main()
