"""One large workload beside HiGHS alone: `python -m benchmarks.solver.large [--busy 4] [--limits]`.

`unstructured` problems of 500 candidates and 240 request sizes (see instances.py), time limit 60 s. HiGHS alone: the
same integer program, given to HiGHS as it is. `--busy`: solved again while so many other processes compute; the column
`plan` has digests. `--clock`: seconds for the clock alone, where the machine does other work; the work allowed stays
that of 60 s. `--limits`: with max_groups 4 and tolerate_replica_losses 1. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

SEEDS = (0, 1, 2)
CANDIDATES, CLASSES = 500, 240
TIME_LIMIT_S = 60.0


def one(seed: int, *, clock_s: float, limited: bool, alone: bool) -> dict[str, Any]:
    """Solves one problem in this process."""
    from benchmarks.solver.instances import unstructured
    from sky_melange.domain.workload import SolverSettings
    from sky_melange.errors import SkyMelangeError
    from sky_melange.optimizer.limits.groups import MaxGroups
    from sky_melange.optimizer.solve.session import Session
    from sky_melange.optimizer.solve.solver import _least_cost, solve_within

    problem = unstructured(seed, classes=CLASSES, candidates=CANDIDATES)
    if limited:
        problem = replace(problem, limits=(MaxGroups(limit=4),), losses=1)
    settings = SolverSettings(mip_gap=1e-4, time_limit_s=TIME_LIMIT_S)
    session = Session(settings, time_limit_s=clock_s)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    found: dict[str, Any] = {"cost": None}
    try:
        solution = _least_cost(problem, session)[0] if alone else solve_within(problem, session)
        found = {
            "cost": solution.cost_usd_per_hour,
            "gap": solution.mip_gap,
            "ended_by": solution.ended_by or "",
            "digest": hashlib.sha256(repr(solution).encode()).hexdigest()[:12],
        }
    except SkyMelangeError as error:
        found["error"] = str(error)
    return {"cpu_s": time.process_time() - cpu_s, "wall_s": time.perf_counter() - wall_s, **found}


def _in_a_process(*options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.solver.large", "--one", *options]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _compute() -> None:
    while True:
        pass


def _text(run: dict[str, Any]) -> str:
    times = f"{run['cpu_s']:.1f} | {run['wall_s']:.1f}"
    return f"none | | {times}" if run["cost"] is None else f"{run['cost']:.4f} | {run['gap']:.2%} | {times}"


def _ended(run: dict[str, Any]) -> str:
    return f"{run.get('ended_by', '')} | {run.get('digest', '')}"


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", metavar="SEED", type=int)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument("--clock", type=float, default=TIME_LIMIT_S)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        print(json.dumps(one(arguments.one, clock_s=arguments.clock, limited=arguments.limits, alone=arguments.alone)))
        return 0
    limits = ["--clock", str(arguments.clock), *(["--limits"] if arguments.limits else [])]
    print("| seed | how | USD/h | gap | CPU s | s | ended by | plan |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- | --- |")
    for seed in arguments.seeds:
        quiet = _in_a_process(str(seed), *limits)
        print(
            f"| {seed} | plan | {_text(quiet)} | {quiet.get('ended_by', '')} | {quiet.get('digest', '')} |", flush=True
        )
        if arguments.busy:
            others = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(arguments.busy)]
            for other in others:
                other.start()
            busy = _in_a_process(str(seed), *limits)
            for other in others:
                other.terminate()
            print(f"| {seed} | beside {arguments.busy} others | {_text(busy)} | {_ended(busy)} |", flush=True)
        alone = _in_a_process(str(seed), "--alone", *limits)
        print(f"| {seed} | HiGHS alone | {_text(alone)} | | |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
