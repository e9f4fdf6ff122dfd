"""What the clock saves on production traffic: fixed and scheduled fleets, planned on one week and replayed.

python -m benchmarks.clock [POOL …] [--write]

The pools are ServeGen's: requests/s of 10-minute windows, 14 days of three language pools and one day of DeepSeek-R1,
scaled to a mean of MEAN_RPS in the first week. An hour of the week is planned at its busiest window, "with reserve" at
the busiest that it and its neighbours had on any day. The replay simulates every STRIDE-th window as a steady state of
ten minutes at its own rate, with seeds that no search has seen, and counts the share of all requests that meet every
target: a window above what its hour is planned for counts as if it had lasted long before. Sizes are those of Azure's
conversation trace; prices are embedded. `--write` puts the table into docs/hours.md. Takes some ten minutes.
"""

from __future__ import annotations

import csv
import gzip
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.tail import Case, workload_of
from sky_melange import pipeline
from sky_melange.domain.hours import Hours, Scaling
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Workload
from sky_melange.optimizer.verify import in_period
from sky_melange.pipeline.attaining import final_scenario
from sky_melange.plan_file import PlanDocument

ROOT: Final = Path(__file__).resolve().parents[1]
RATES: Final = ROOT / "tests" / "data" / "traces" / "servegen-rates.csv.gz"
DOCS: Final = ROOT / "docs" / "hours.md"
POOLS: Final = ("m-large", "m-mid", "m-small", "deepseek-r1")
MEAN_RPS: Final = 100.0
HOUR: Final = 6
"""Windows of an hour."""

STRIDE: Final = 13
MOST_REQUESTS: Final = 20_000
SEED: Final = 31
MARK: Final = ("<!-- clock: begin -->", "<!-- clock: end -->")

COLUMNS: Final = (
    "pool",
    "busiest hour ÷ mean",
    "fixed, USD/week",
    "by the clock",
    "saved",
    "replayed: fixed",
    "by the clock",
    "next week: fixed",
    "by the clock",
    "with hindsight",
    "plan, s",
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
    wanted = [name for name in sys.argv[1:] if not name.startswith("-")]
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    print(*lines, sep="\n", flush=True)
    pools = rates()
    for pool in POOLS:
        if wanted and pool not in wanted:
            continue
        for has_reserve in (False, True) if len(pools[pool]) >= 336 * HOUR else (False,):
            lines.append(f"| {' | '.join(_row(pool, pools[pool], has_reserve=has_reserve))} |")
            print(lines[-1], flush=True)
    if "--write" in sys.argv[1:]:
        text = DOCS.read_text(encoding="utf-8")
        before, _, rest = text.partition(MARK[0])
        after = rest.partition(MARK[1])[2]
        DOCS.write_text("\n".join((before + MARK[0], *lines, MARK[1] + after)), encoding="utf-8", newline="\n")
    return 0


def _row(pool: str, windows: Sequence[float], *, has_reserve: bool) -> list[str]:
    cycle = 168 * HOUR if len(windows) >= 336 * HOUR else 24 * HOUR
    first, second = windows[:cycle], windows[cycle : 2 * cycle]
    scale = MEAN_RPS / (math.fsum(first) / len(first))
    first, second = [rate * scale for rate in first], [rate * scale for rate in second]
    started = time.perf_counter()
    hours = _hourly(first)
    name = f"{pool}, with reserve" if has_reserve else pool
    plan, workload = _planned(pool, _with_reserve(hours) if has_reserve else hours)
    elapsed_s = time.perf_counter() - started
    fixed, _ = _planned(pool, hours, Scaling.FIXED)
    schedule = plan.schedule
    per_week = 168.0
    if schedule is None:
        return [name, f"{max(hours) / MEAN_RPS:.2f}", "no schedule saves anything", *["–"] * (len(COLUMNS) - 3)]
    saved = 1 - schedule.usd_per_hour / schedule.fixed_usd_per_hour
    replays = [
        "–" if not replayed else f"{_attained(each, workload, replayed):.1%}"
        for replayed in (first, second)
        for each in (fixed, plan)
    ]
    best = _planned(pool, _hourly(second))[0].schedule if second and not has_reserve else None
    return [
        name,
        f"{max(hours) / MEAN_RPS:.2f}",
        f"{schedule.fixed_usd_per_hour * per_week:,.0f}",
        f"{schedule.usd_per_hour * per_week:,.0f}",
        f"{saved:.0%}",
        *replays,
        "–" if best is None else f"{best.usd_per_hour * per_week:,.0f} of {best.fixed_usd_per_hour * per_week:,.0f}",
        f"{elapsed_s:.0f}",
    ]


def _hourly(windows: Sequence[float]) -> list[float]:
    """The busiest window of each hour."""
    return [max(windows[start : start + HOUR]) for start in range(0, len(windows), HOUR)]


def _with_reserve(hours: Sequence[float]) -> list[float]:
    """Each hour at the busiest that it, the one before or the one after was on any day."""
    of_day = [max(hours[hour::24]) for hour in range(24)]
    return [max(of_day[(hour + shift) % 24] for shift in (-1, 0, 1)) for hour in range(len(hours))]


def _planned(pool: str, hours: Sequence[float], scaling: Scaling | None = None) -> tuple[Plan, Workload]:
    workload = workload_of(Case(name=f"clock-{pool}", kind="chat", rate_rps=max(hours)))
    workload = replace(
        workload,
        traffic=replace(workload.traffic, hours=Hours(rates_rps=tuple(hours), origin=f"ServeGen {pool}")),
        launch=replace(workload.launch, scaling=scaling),
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


def _attained(plan: Plan, workload: Workload, windows: Sequence[float]) -> float:
    """Of all requests of the windows that are replayed, the share that meets every target."""
    run = pipeline.simulator()
    fleets = {}
    met = total = 0.0
    for number in range(0, len(windows), STRIDE):
        rate_rps = windows[number]
        if rate_rps <= 0:
            continue
        schedule = plan.schedule
        period = 0 if schedule is None else schedule.period_of_hour[number // HOUR]
        if period not in fleets:
            view = plan if schedule is None else in_period(plan, workload, schedule.periods[period])[0]
            fleets[period] = pipeline.planned_fleet(PlanDocument(path=Path("plan.json"), plan=view, workload=workload))[
                0
            ]
        scenario = replace(
            final_scenario(workload, None),
            request_rate_rps=rate_rps,
            requests=max(1000, min(MOST_REQUESTS, round(rate_rps * 600))),
            seed=SEED + number,
        )
        met += rate_rps * run(fleets[period], scenario, workload.slo).held
        total += rate_rps
    return met / total


if __name__ == "__main__":
    raise SystemExit(main())
