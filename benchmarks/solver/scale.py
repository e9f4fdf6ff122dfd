"""Time and memory against candidates × buckets: `python -m benchmarks.solver.scale [--limits] [--quick]`.

Each run is a process of its own, so that peak memory is its own; shown are the median and the worst of three seeds.
Families: `plausible` (see instances.py), `quotas` (the same, where every GPU model has a quota in every place, so that
no place makes up for another) and `unstructured`. `--limits`: with max_groups 4 and tolerate_replica_losses 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

GAP = 1e-4
TIME_LIMIT_S = 60.0
SEEDS = (0, 1, 2)
SIZES = ((50, 45), (100, 60), (200, 120), (500, 60), (500, 240), (1000, 240))
FAMILIES = ("plausible", "quotas", "unstructured")


def one(family: str, candidates: int, classes: int, seed: int, *, limited: bool) -> dict[str, object]:
    """Solves one problem in this process."""
    import resource
    import time

    from benchmarks.solver.instances import plausible, unstructured, with_quotas
    from sky_melange.domain.workload import SolverSettings
    from sky_melange.errors import SkyMelangeError
    from sky_melange.optimizer import solve_problem
    from sky_melange.optimizer.limits.groups import MaxGroups

    if family == "unstructured":
        problem = unstructured(seed, classes=classes, candidates=candidates)
    else:
        problem = plausible(seed, classes=classes, candidates=candidates)
    if family == "quotas":
        problem = with_quotas(problem, gpus=4)
    if limited:
        problem = replace(problem, limits=(*problem.limits, MaxGroups(limit=4)), losses=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found: dict[str, object] = {}
    try:
        solution = solve_problem(problem, SolverSettings(mip_gap=GAP, time_limit_s=TIME_LIMIT_S))
        found = {"status": solution.status, "gap": solution.mip_gap, "usd_per_hour": solution.cost_usd_per_hour}
    except SkyMelangeError as error:
        found = {"status": type(error).__name__, "gap": None, "usd_per_hour": None}
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - start, "peak_mib": peak_mib, "before_mib": before / 1024, **found}


def cell(family: str, candidates: int, classes: int, *, limited: bool) -> str:
    """A line of the table."""
    runs = [_in_a_process(family, candidates, classes, seed, limited=limited) for seed in SEEDS]
    seconds = [float(str(run["seconds"])) for run in runs]
    peak = max(float(str(run["peak_mib"])) for run in runs)
    statuses = [run["status"] for run in runs]
    proven = f"{statuses.count('optimal')} of {len(runs)}"
    gaps = [float(str(run["gap"])) for run in runs if run["status"] == "feasible"]
    gap = f", gap ≤ {max(gaps):.2%}" if gaps else ""
    other = sorted({str(status) for status in statuses} - {"optimal", "feasible"})
    return (
        f"| {family} | {candidates} × {classes} | {statistics.median(seconds):.2f} | {max(seconds):.2f} | {peak:.0f} | "
        f"{proven}{gap}{', ' + ', '.join(other) if other else ''} |"
    )


def _in_a_process(family: str, candidates: int, classes: int, seed: int, *, limited: bool) -> dict[str, object]:
    command = [
        sys.executable,
        "-m",
        "benchmarks.solver.scale",
        "--one",
        family,
        str(candidates),
        str(classes),
        str(seed),
    ]
    done = subprocess.run(
        command + (["--limits"] if limited else []),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=4, metavar=("FAMILY", "CANDIDATES", "CLASSES", "SEED"))
    parser.add_argument("--limits", action="store_true")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.one:
        family, *numbers = arguments.one
        candidates, classes, seed = map(int, numbers)
        print(json.dumps(one(family, candidates, classes, seed, limited=arguments.limits)))
        return 0
    print("| family | candidates × buckets | median s | worst s | peak MiB | proven within 1e-4 |")
    print("| --- |" + " --- |" * 5)
    for family in FAMILIES:
        for size in SIZES[:2] if arguments.quick else SIZES:
            print(cell(family, *size, limited=arguments.limits), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
