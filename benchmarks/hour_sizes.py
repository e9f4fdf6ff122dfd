"""What sizes by the hour are worth: DeepSeek-R1's day of ServeGen, whose four windows of six hours differ in sizes.

python -m benchmarks.hour_sizes

Llama 3.1 8B at a mean of 100 requests/s, without reserve. Three schedules: with the sizes of the whole day in every
hour; the same with the rates of windows with larger requests raised by as much as these are larger at most; and with
the sizes of each window. Next to them the four windows planned each by itself, with a mix of groups of its own, which
no router changes to by the clock. Every window is replayed in its own sizes at its own rate, by a seed that no search
has seen. First by means alone, as if no request had to meet its targets, then with 99 % of the requests within 2 s and
40 ms a token. Some four minutes of CPU.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.tail import Case, planned, workload_of
from sky_melange import pipeline
from sky_melange.domain.buckets import BucketSize, TokenGrid, Traffic, rates_of
from sky_melange.domain.hours import Hours, Scaling, SizeSet
from sky_melange.domain.plan import Plan
from sky_melange.domain.workload import Constraints, ProfilePolicy, Workload
from sky_melange.optimizer.verify import in_period
from sky_melange.pipeline.judging import final_scenario
from sky_melange.plan_file import PlanDocument

DATA: Final = Path(__file__).resolve().parents[1] / "tests" / "data" / "traces" / "servegen-deepseek-r1-sizes.json"
MEAN_RPS: Final = 100.0
WINDOW: Final = 6
SEED: Final = 47
REQUESTS: Final = 50_000

Weights = tuple[tuple[float, ...], ...]


def windows() -> tuple[Traffic, list[Weights], list[float]]:
    """Traffic with the sizes of the whole day, those of each window, and the rate of each."""
    found: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"))
    requests = [[tuple(row) for row in window] for window in found["windows"]]
    totals = [math.fsum(map(math.fsum, window)) for window in requests]
    scale = MEAN_RPS / (math.fsum(totals) / len(totals))
    grid = TokenGrid(input_edges=tuple(found["input_tokens"]), output_edges=tuple(found["output_tokens"]))
    means = {(row[0], row[1]): (row[2], row[3]) for row in found["mean_tokens"]}
    day = [[math.fsum(cells) for cells in zip(*rows, strict=True)] for rows in zip(*requests, strict=True)]
    traffic = Traffic(
        grid=grid,
        rates_rps=rates_of(day, max(totals) * scale),
        origin="ServeGen deepseek-r1",
        mean_tokens=tuple(tuple(means.get((i, o)) for o in grid.output_edges) for i in grid.input_edges),
        bucket_size=BucketSize.MEAN,
    )
    return traffic, [rates_of(window, 1.0) for window in requests], [total * scale for total in totals]


def workload_for(traffic: Traffic, target: float | None) -> Workload:
    """The workload of a traffic; `target` None: means alone."""
    workload = workload_of(Case(name="hour-sizes", kind="chat", rate_rps=traffic.request_rate_rps))
    return replace(
        workload,
        model=replace(workload.model, max_model_len=65_536),
        slo=replace(workload.slo, attainment=target),
        profiles=ProfilePolicy(confidence=0.5),
        constraints=Constraints(max_utilization=None if target else 0.9),
        traffic=traffic,
        launch=replace(workload.launch, scaling=None if traffic.hours is None else Scaling.SCHEDULE),
    )


def by_the_hour(traffic: Traffic, rates_rps: Sequence[float], sizes: Sequence[Weights] = ()) -> Traffic:
    """The traffic at the rate of each window; `sizes` of each, where they are its own."""
    of_hour = tuple(rate for rate in rates_rps for _ in range(WINDOW))
    sets = tuple(
        SizeSet(name=f"window-{number}", hours=tuple(range(number * WINDOW, (number + 1) * WINDOW)), weights=weights)
        for number, weights in enumerate(sizes)
    )
    day = rates_of(traffic.rates_rps, max(rates_rps))
    return replace(traffic, rates_rps=day, hours=Hours(rates_rps=of_hour, sizes=sets))


def attained(plan: Plan, workload: Workload, traffic: Traffic, periods: Sequence[int]) -> list[float]:
    """The share of the requests of each window within their targets, with the instances of its period."""
    run, found = pipeline.simulator(), []
    for number, period in enumerate(periods):
        rate_rps = traffic.hours.busiest_rps[number] if traffic.hours is not None else 0.0
        view = plan if plan.schedule is None else in_period(plan, workload, plan.schedule.periods[period])[0]
        fleet, _ = pipeline.planned_fleet(PlanDocument(path=Path("plan.json"), plan=view, workload=workload))
        scenario = final_scenario(replace(workload, traffic=traffic.within(number, rate_rps)), None, REQUESTS)
        slo = replace(workload.slo, attainment=workload.slo.attainment or 0.99)
        found.append(run(fleet, replace(scenario, seed=SEED), slo).attainment)
    return found


def main() -> int:
    """Prints the table."""
    traffic, sizes, rates_rps = windows()
    own = by_the_hour(traffic, rates_rps, sizes)
    ratios = [max(1.0, ratio) for ratio in own.larger_by]
    schedules = {
        "sizes of the day": by_the_hour(traffic, rates_rps),
        "… and rates raised": by_the_hour(traffic, [r * x for r, x in zip(rates_rps, ratios, strict=True)]),
        "sizes by the hour": own,
    }
    columns = ("", "target", "USD/h", "around the clock", *(f"window {number}" for number in range(1, 5)))
    print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
    for target in (None, 0.99):
        name = "means" if target is None else f"{target:.0%}"
        for title, each in schedules.items():
            workload = workload_for(each, target)
            plan = planned(workload).plan
            if plan.schedule is None:
                raise SystemExit(f"{title}: no schedule")
            periods = [plan.schedule.period_of_hour[number * WINDOW] for number in range(len(sizes))]
            shares = attained(plan, workload, own, periods)
            cost, fixed = plan.schedule.usd_per_hour, plan.schedule.fixed_usd_per_hour
            cells = [title, name, f"{cost:.1f}", f"{fixed:.1f}", *(f"{share:.1%}" for share in shares)]
            print(f"| {' | '.join(cells)} |", flush=True)
        costs = []
        for number, rate_rps in enumerate(rates_rps):
            alone = workload_for(replace(traffic, rates_rps=rates_of(sizes[number], rate_rps)), target)
            costs.append(planned(alone).plan.cost.total_usd_per_hour)
        print(f"| each window by itself | {name} | {math.fsum(costs) / len(costs):.1f} | | | | | |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
