"""The published formulation beside ours, in one run: `python -m benchmarks.solver.compare [--quick]`.

Baseline: Mélange's model as published, one binary a slice and GPU type, solved by CBC through PuLP with its defaults
(the released solver calls `problem.solve(PULP_CBC_CMD(msg=0))`). Ours: `sliced` (the same optimum, whole slices),
`exact`, `shipped`: `exact` with ties settled and the load balanced, as plans have it, and `command`: `sky-melange
solve` with the start of Python, the reading of its file and the answer. Where the baseline is cut off, its best answer
counts, its time is a lower bound. Times are CPU seconds of building and solving, so that what else runs on the
machine counts for neither: the median of three runs for ours and one run of the baseline.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pulp

from benchmarks.solver.instances import gpu_types, unstructured
from sky_melange.domain.workload import Formulation, SolverSettings
from sky_melange.errors import NotOptimalError
from sky_melange.optimizer import solve_problem
from sky_melange.optimizer.problem import Problem

TIME_LIMIT_S = 120.0
MATTERS_S = 1.0
"""A baseline this quick needs no speeding up."""

PLAUSIBLE = (
    (4, 1, 2, 4.0),
    (10, 8, 3, 30.0),
    (24, 4, 4, 100.0),
    (60, 4, 4, 60.0),
    (60, 8, 4, 60.0),
    (60, 8, 4, 200.0),
    (60, 8, 8, 100.0),
    (100, 8, 4, 100.0),
    (100, 8, 8, 60.0),
    (100, 8, 8, 200.0),
)
"""(buckets, slices, GPU types, requests/s); the seed is the position."""

UNSTRUCTURED = (
    (4, 8, 2, 4.0),
    (10, 8, 4, 5.0),
    (24, 4, 4, 10.0),
    (24, 8, 4, 20.0),
    (60, 8, 4, 5.0),
    (60, 8, 4, 10.0),
    (60, 8, 4, 40.0),
    (60, 8, 8, 10.0),
    (100, 8, 8, 10.0),
    (100, 8, 8, 40.0),
)
"""(buckets, slices, GPU types, mean load in instances); the seed is the position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One instance: seconds and USD/h."""

    family: str
    buckets: int
    slices: int
    gpu_types: int
    traffic: float
    baseline_s: float
    baseline_status: str
    baseline_usd_per_hour: float | None
    sliced_s: float
    sliced_status: str
    sliced_usd_per_hour: float
    exact_s: float
    exact_usd_per_hour: float
    shipped_s: float
    command_s: float


def baseline(problem: Problem, slices: int, time_limit_s: float) -> tuple[str, float | None]:
    """Status and cost by binary slices and CBC."""
    lp = pulp.LpProblem("published", pulp.LpMinimize)
    gpus = range(problem.candidate_count)
    counts = [lp.add_variable(f"B_{g}", lowBound=0, cat=pulp.LpInteger) for g in gpus]
    carried: list[list[tuple[pulp.LpVariable, float]]] = [[] for _ in gpus]
    for bucket, row in enumerate(problem.loads):
        for part in range(slices):
            choices = []
            for g, load in enumerate(row):
                if load is not None:
                    choice = lp.add_variable(f"A_{bucket}_{part}_{g}", cat=pulp.LpBinary)
                    choices.append(choice)
                    carried[g].append((choice, load / slices))
            lp.addConstraint(pulp.lpSum(choices) == 1)
    for g in gpus:
        lp.addConstraint(pulp.LpAffineExpression([*carried[g], (counts[g], -1)]) <= 0)
    lp.setObjective(pulp.LpAffineExpression(list(zip(counts, problem.prices, strict=True))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        lp.solve(pulp.PULP_CBC_CMD(msg=0, timeLimit=time_limit_s, timeMode="cpu"))
    values = [count.varValue for count in counts]
    status = "optimal" if lp.sol_status == pulp.LpSolutionOptimal else "cut off"
    if any(value is None for value in values):
        return status, None
    return status, problem.cost([round(value) for value in values])


def timed(run: Callable[[], tuple[str, float | None]], times: int) -> tuple[float, str, float | None]:
    """Median CPU seconds, and the answer."""
    seconds = []
    answer: tuple[str, float | None] = ("", None)
    for _ in range(times):
        start = _cpu_s()
        answer = run()
        seconds.append(_cpu_s() - start)
    return statistics.median(seconds), *answer


def _cpu_s() -> float:
    """Of this process and of those that it started, which have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def ours(
    problem: Problem, formulation: Formulation, slices: int, *, break_ties: bool = False
) -> tuple[str, float | None]:
    """Status and cost; the baseline does not settle ties either."""
    settings = SolverSettings(formulation=formulation, slices=slices, time_limit_s=TIME_LIMIT_S, break_ties=break_ties)
    try:
        solution = solve_problem(problem, settings)
    except NotOptimalError:
        return "cut off", None
    return solution.status, solution.cost_usd_per_hour


def by_command(problem: Problem, slices: int) -> tuple[str, float | None]:
    """Status and cost of `sky-melange solve`, from a file of one request/s in each bucket to its answer."""
    rate = float(len(problem.loads))
    columns = list(zip(*problem.loads, strict=True))
    document = {
        "gpu_info": {
            f"gpu-{number}": {"cost": price, "tputs": [[0.0 if load is None else 1 / load for load in loads]]}
            for number, (price, loads) in enumerate(zip(problem.prices, columns, strict=True))
        },
        "workload_distribution": [[1 / rate] * len(problem.loads)],
        "total_request_rate": rate,
        "slice_factor": slices,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "melange.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        command = [sys.executable, "-m", "sky_melange", "solve", str(path)]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return "", answer["cost"]


def measure(family: str, seed: int, given: tuple[int, int, int, float], time_limit_s: float) -> Row:
    """One instance, all of them."""
    buckets, slices, types, traffic = given
    if family == "plausible":
        problem = gpu_types(seed, buckets=buckets, types=types, rate_rps=traffic)
    else:
        problem = unstructured(seed, classes=buckets, candidates=types, total_load=traffic)
    sliced_s, sliced_status, sliced = timed(lambda: ours(problem, Formulation.SLICED, slices), 3)
    exact_s, _, exact = timed(lambda: ours(problem, Formulation.EXACT, slices), 3)
    shipped_s, _, shipped = timed(lambda: ours(problem, Formulation.EXACT, slices, break_ties=True), 3)
    command_s, _, command = timed(lambda: by_command(problem, slices), 3)
    baseline_s, status, cost = timed(lambda: baseline(problem, slices, time_limit_s), 1)
    assert sliced is not None
    assert exact is not None
    assert shipped is not None
    # Its file holds rates, not loads, so the last digit may differ.
    assert command is not None and math.isclose(command, shipped, rel_tol=1e-3), (command, shipped)  # noqa: PT018
    return Row(
        family=family,
        buckets=buckets,
        slices=slices,
        gpu_types=types,
        traffic=traffic,
        baseline_s=baseline_s,
        baseline_status=status,
        baseline_usd_per_hour=cost,
        sliced_s=sliced_s,
        sliced_status=sliced_status,
        sliced_usd_per_hour=sliced,
        exact_s=exact_s,
        exact_usd_per_hour=exact,
        shipped_s=shipped_s,
        command_s=command_s,
    )


def text(row: Row) -> str:
    """A line of the table in docs/benchmarks.md."""
    more = "> " if row.baseline_status != "optimal" else ""
    cost = "none" if row.baseline_usd_per_hour is None else f"{row.baseline_usd_per_hour:.4f}"
    return (
        f"| {row.family} | {row.buckets} × {row.slices} × {row.gpu_types} | {row.traffic:g} | "
        f"{more}{row.baseline_s:.2f} | {cost} | {row.sliced_s:.3f} | {row.sliced_usd_per_hour:.4f} | "
        f"{row.exact_s:.3f} | {row.exact_usd_per_hour:.4f} | {row.shipped_s:.3f} | "
        f"{more}{row.baseline_s / row.exact_s:,.0f} | {more}{row.baseline_s / row.shipped_s:,.0f} | "
        f"{more}{row.baseline_s / row.sliced_s:,.0f} | "
        f"{row.command_s:.2f} | {more}{row.baseline_s / row.command_s:,.0f} |"
    )


def _summarise(rows: list[Row], family: str) -> None:
    """How much faster where it matters; "" sums up both families."""
    slow = [row for row in rows if row.baseline_s > MATTERS_S and family in ("", row.family)]
    for name in ("exact", "shipped", "sliced", "command") if slow else ():
        ratios = [row.baseline_s / getattr(row, f"{name}_s") for row in slow]
        print(
            f"{family or 'both'}: {len(slow)} instances on which the baseline takes more than {MATTERS_S:g} s: "
            f"{name} is "
            f"{statistics.median(ratios):,.0f} times faster in the median, at least {min(ratios):,.0f} times.",
            file=sys.stderr,
        )


def main() -> int:
    """Prints the table and whether the targets hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Only the first three of each family.")
    parser.add_argument("--json", action="store_true", help="One JSON object an instance instead of a table.")
    parser.add_argument(
        "--time-limit", type=float, default=TIME_LIMIT_S, metavar="S", help="For the baseline.  [default: 120]"
    )
    parser.add_argument("--only", metavar="BUCKETS", type=int, nargs="+", help="Only instances of so many buckets.")
    arguments = parser.parse_args()
    most = 3 if arguments.quick else None
    chosen = [("plausible", *pair) for pair in enumerate(PLAUSIBLE[:most])]
    chosen += [("unstructured", *pair) for pair in enumerate(UNSTRUCTURED[:most])]
    if not arguments.json:
        print(
            "| family | buckets × slices × types | traffic | baseline s | USD/h | sliced s | USD/h | exact s | USD/h | "
            "shipped s | baseline ÷ exact | ÷ shipped | ÷ sliced | command s | ÷ command |"
        )
        print("| --- |" + " --- |" * 14)
    rows = []
    for family, seed, given in chosen:
        if arguments.only and given[0] not in arguments.only:
            continue
        row = measure(family, seed, given, arguments.time_limit)
        rows.append(row)
        print(
            json.dumps({field: getattr(row, field) for field in Row.__slots__}) if arguments.json else text(row),
            flush=True,
        )
    for family in ("plausible", "unstructured", ""):
        _summarise(rows, family)
    solved = [row for row in rows if row.baseline_status == "optimal" and row.baseline_usd_per_hour is not None]
    dearer = [row for row in rows if row.exact_usd_per_hour > (row.baseline_usd_per_hour or float("inf")) * (1 + 1e-9)]
    differ = [
        row
        for row in solved
        if abs(row.sliced_usd_per_hour - (row.baseline_usd_per_hour or 0)) > 1e-6 * row.sliced_usd_per_hour
    ]
    print(
        f"exact is dearer on {len(dearer)}; sliced differs from a finished baseline on {len(differ)} of {len(solved)}.",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
