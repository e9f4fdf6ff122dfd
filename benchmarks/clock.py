"""What the clock saves on production traffic: fixed, scheduled and autoscaled fleets, planned on one week for the next.

python -m benchmarks.clock [POOL …] [MODEL …] [RATE …] [--write]

The pools are ServeGen's: requests/s of 10-minute windows, 14 days of three language pools and one day of DeepSeek-R1,
scaled to a mean of 20, 100 or 500 requests/s in the first week. An hour of the week is planned at its busiest window,
by the clock with the reserve that a log of one week has (`USUAL_HEADROOM`). The second week, of DeepSeek-R1 the same
day, is replayed with seeds that no search has seen: every window as a steady state at its own rate, rounded up to
RATE_STEP, with the instances that run then, of the autoscaled fleet those that serve after each decision by SkyServe's
rules. So a window above what its instances carry counts as if it had lasted long before. What the autoscaled fleet
costs is what runs in that week. "With hindsight" is a schedule planned on the second week itself, without reserve.
Sizes are those of Azure's conversation trace; prices are embedded. `--write` puts the rows into docs/hours.md, next to
those that were not asked for. All of it takes some twenty minutes of CPU.
"""

from __future__ import annotations

import csv
import gzip
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.tail import LLAMA_8B, LLAMA_70B, Case, workload_of
from sky_melange import pipeline
from sky_melange.domain.hours import USUAL_HEADROOM, WINDOW_MINUTES, Hours, Period, Scaling
from sky_melange.domain.plan import Plan
from sky_melange.domain.scaling import DECISION_SECONDS, counts_by_hour
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.verify import in_period
from sky_melange.pipeline.autoscaling import BY_MEANS
from sky_melange.pipeline.autoscaling import replayed as replayed_by_policies
from sky_melange.pipeline.judging import final_scenario
from sky_melange.plan_file import PlanDocument

if TYPE_CHECKING:
    from sky_melange.pipeline.simulator import Simulator

ROOT: Final = Path(__file__).resolve().parents[1]
RATES: Final = ROOT / "tests" / "data" / "traces" / "servegen-rates.csv.gz"
DOCS: Final = ROOT / "docs" / "hours.md"
POOLS: Final = ("m-large", "m-mid", "m-small", "deepseek-r1")
MODELS: Final = {"8B": LLAMA_8B, "70B": LLAMA_70B}
PEAKED: Final = ("m-large", "m-small")
RUNNING: Final = {"half always runs": 0.5, "three quarters always run": 0.75}
"""After a pool's name and a comma: `launch.min_running_fraction` of its autoscaled fleet."""

RUNS: Final = (
    ("8B", 100, (*POOLS, *(f"m-small, {words}" for words in RUNNING))),
    ("8B", 20, PEAKED),
    ("8B", 500, ("m-large",)),
    ("70B", 20, PEAKED),
)
"""The model, the mean requests/s of the first week, and the pools."""

HOUR: Final = 6
"""Windows of an hour."""

HOURS: Final = 168.0
"""Of a week: what costs are given for."""

DECISIONS: Final = WINDOW_MINUTES * 60 // DECISION_SECONDS

RATE_STEP: Final = 1.03
"""Windows whose rates differ by less are simulated once, at the higher."""

MOST_REQUESTS: Final = 20_000
SEED: Final = 31
MARK: Final = ("<!-- clock: begin -->", "<!-- clock: end -->")

COLUMNS: Final = (
    "pool",
    "model",
    "req/s",
    "busiest hour ÷ mean",
    "fixed, USD/week",
    "by the clock",
    "saved",
    "autoscaled",
    "saved",
    "with hindsight",
    "next week: fixed",
    "by the clock",
    "autoscaled",
)


def rates() -> dict[str, list[float]]:
    """Of each pool by window, requests/s."""
    found: dict[str, list[float]] = {}
    with gzip.open(RATES, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["pool"], []).append(float(row["rate_rps"]))
    return found


def main() -> int:
    """Prints the table."""
    wanted = {name for name in sys.argv[1:] if not name.startswith("-")}
    before, _, rest = DOCS.read_text(encoding="utf-8").partition(MARK[0])
    stated, _, after = rest.partition(MARK[1])
    head = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    print(*head, sep="\n", flush=True)
    pools, lines = rates(), []
    for model, mean_rps, of_pools in RUNS:
        for pool in of_pools:
            key = f"| {pool} | {model} | {mean_rps} | "
            if all(not wanted & set(names) or name in wanted for name, names in _axes(pool, model, mean_rps)):
                windows = pools[_named(pool)[0]]
                lines.append(f"{key}{' | '.join(_row(pool, windows, MODELS[model], float(mean_rps)))} |")
                print(lines[-1], flush=True)
            else:
                lines += [line for line in stated.splitlines() if line.startswith(key)]
    if "--write" in sys.argv[1:]:
        DOCS.write_text("\n".join((before + MARK[0], *head, *lines, MARK[1] + after)), encoding="utf-8", newline="\n")
    return 0


def _axes(pool: str, model: str, mean_rps: int) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What a row is of, with all that there is of each."""
    return (
        (_named(pool)[0], POOLS),
        (model, tuple(MODELS)),
        (str(mean_rps), tuple({str(rate) for _, rate, _ in RUNS})),
    )


def _named(row: str) -> tuple[str, float]:
    pool, _, words = row.partition(", ")
    return pool, RUNNING.get(words, 0.0)


def _row(pool: str, windows: Sequence[float], model: tuple[str, str], mean_rps: float) -> list[str]:
    started = time.perf_counter()
    has_next = len(windows) >= 336 * HOUR
    cycle = (168 if has_next else 24) * HOUR
    of_mean = scaled(windows, cycle, mean_rps)
    first = of_mean[:cycle]
    replayed = of_mean[cycle : 2 * cycle] if has_next else first
    busiest = max(_hourly(first))

    def say(what: str) -> None:
        print(f"{pool}: {time.perf_counter() - started:.0f} s, {what}", file=sys.stderr, flush=True)

    runs = [planned(pool, first, scaling, model) for scaling in (Scaling.FIXED, Scaling.SCHEDULE, Scaling.AUTOSCALE)]
    (fixed, _), (clock, _), (follows, _) = runs
    say("planned")
    best, _ = planned(pool, replayed, Scaling.SCHEDULE, model, headroom_fraction=0.0)
    say("planned with hindsight")
    if clock.schedule is None or follows.schedule is None or best.schedule is None:
        raise SystemExit(f"{pool}: a schedule was asked for, and none is there")
    replay = replayed_by_policies(
        follows, runs[2][1], replayed, minutes=WINDOW_MINUTES, held=BY_MEANS
    )  # fmt: skip
    counts: list[Sequence[Sequence[tuple[int, ...]]]] = [
        [[tuple(group.instances for group in fixed.groups)] for _ in replayed],
        [[row] for row in _by_the_clock(clock, len(replayed))],
        [replay.serving[number * DECISIONS : (number + 1) * DECISIONS] for number in range(len(replayed))],
    ]
    attained = []
    for (plan, workload), rows in zip(runs, counts, strict=True):
        attained.append(_attained(plan, workload, replayed, rows))
        say(f"replayed: {attained[-1]:.2%}")
    paid = math.fsum(
        (
            follows.cost.overhead_usd_per_hour,
            *(g.price_usd_per_hour * n for g, n in zip(follows.groups, replay.mean_instances, strict=True)),
        )
    )
    costs = [fixed.cost.total_usd_per_hour, clock.schedule.usd_per_hour, paid]
    return [
        f"{busiest / mean_rps:.2f}",
        f"{costs[0] * HOURS:,.0f}",
        *(cell for cost in costs[1:] for cell in (f"{cost * HOURS:,.0f}", f"{1 - cost / costs[0]:.0%}")),
        f"{best.schedule.usd_per_hour * HOURS:,.0f} of {best.schedule.fixed_usd_per_hour * HOURS:,.0f}",
        *(f"{share:.1%}" for share in attained),
    ]


def scaled(windows: Sequence[float], cycle: int, mean_rps: float) -> list[float]:
    """Such that the first cycle has this mean."""
    scale = mean_rps / (math.fsum(windows[:cycle]) / cycle)
    return [rate * scale for rate in windows]


def _hourly(windows: Sequence[float]) -> list[float]:
    """The busiest window of each hour."""
    return [max(windows[start : start + HOUR]) for start in range(0, len(windows), HOUR)]


def planned(
    pool: str,
    windows: Sequence[float],
    scaling: Scaling,
    model: tuple[str, str],
    *,
    headroom_fraction: float = USUAL_HEADROOM,
) -> tuple[Plan, Workload]:
    """A plan of the windows of a cycle, and what it is for."""
    rates_rps = tuple(_hourly(windows))
    workload = workload_of(Case(name=f"clock-{_named(pool)[0]}", kind="chat", rate_rps=max(rates_rps), model=model))
    hours = Hours(
        rates_rps=rates_rps,
        origin=f"ServeGen {pool}",
        headroom_fraction=headroom_fraction,
        windows_rps=tuple(windows),
    )
    workload = replace(
        workload,
        traffic=replace(workload.traffic, hours=hours),
        launch=replace(
            workload.launch,
            scaling=scaling,
            min_running_fraction=_named(pool)[1] if scaling is Scaling.AUTOSCALE else 0.0,
        ),
    )
    book = pipeline.embedded_book(workload)
    planned = pipeline.make_plan(
        workload,
        book,
        pipeline.profiles_for(workload, book, Path()),
        workload_digest="0" * 64,
        simulator=pipeline.simulator(),
    )
    return planned.plan, planned.workload


def _by_the_clock(plan: Plan, windows: int) -> list[tuple[int, ...]]:
    """The instances of each group in each window."""
    if plan.schedule is None:
        raise SystemExit("a plan without a schedule")
    by_hour = counts_by_hour(plan.schedule)
    return [by_hour[number // HOUR] for number in range(windows)]


def _attained(
    plan: Plan, workload: Workload, windows: Sequence[float], rows: Sequence[Sequence[tuple[int, ...]]]
) -> float:
    """Of all requests of the windows, the share that meets every target; `rows[window]`: the instances in its parts."""
    run = pipeline.simulator()
    known: dict[tuple[tuple[int, ...], int], float] = {}
    met = total = 0.0
    for rate_rps, parts in zip(windows, rows, strict=True):
        if rate_rps <= 0:
            continue
        step = math.ceil(math.log(rate_rps, RATE_STEP))
        for counts, times in Counter(parts).items():
            if (counts, step) not in known:
                known[counts, step] = _held(run, plan, workload, counts, RATE_STEP**step, seed=SEED + len(known))
            met += rate_rps * times / len(parts) * known[counts, step]
        total += rate_rps
    return met / total


def _held(
    run: Simulator, plan: Plan, workload: Workload, counts: tuple[int, ...], rate_rps: float, *, seed: int
) -> float:
    peak_rps = workload.traffic.request_rate_rps
    period = Period(rate_rps=peak_rps, hours=1, instances=counts, cost_usd_per_hour=0.0)
    view = in_period(plan, workload, period)[0]
    fleet, _ = pipeline.planned_fleet(PlanDocument(path=Path("plan.json"), plan=view, workload=workload))
    scenario = replace(
        final_scenario(workload, None),
        request_rate_rps=rate_rps,
        requests=max(1000, min(MOST_REQUESTS, round(rate_rps * 600))),
        seed=seed,
    )
    return run(fleet, scenario, workload.slo).held


if __name__ == "__main__":
    raise SystemExit(main())
