"""What no autoscaling by SkyServe's rules can save: its settings on the very week that they are judged by.

python -m benchmarks.clock_settings POOL

The first week (or day) of a pool of `benchmarks.clock`, Llama 8B at 100 requests/s, replayed with every reserve of the
target, floor and delay of SETTINGS. Prints the cheapest that keep 99 % of the requests within their targets, taking
those above what is planned for as missed. Nobody knows them beforehand: a plan that knows less saves less.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Final
from unittest.mock import patch

from benchmarks.clock import HOUR, HOURS, planned, rates, scaled
from benchmarks.tail import LLAMA_8B
from sky_melange.domain.hours import WINDOW_MINUTES, Scaling
from sky_melange.domain.plan import Plan
from sky_melange.domain.scaling import ReplicaPolicy
from sky_melange.domain.workload import Workload
from sky_melange.pipeline import autoscaling
from sky_melange.render.skypilot_yaml import replica_policies

RESERVES: Final = tuple(percent / 100 for percent in range(0, 42, 2))
FLOORS: Final = (0.0, 0.5)
DOWN_SECONDS: Final = (600, 1200, 1920, 3600, 5400, 7200)
UP_SECONDS: Final = (20, 60)
MEAN_RPS: Final = 100.0
TARGET: Final = 0.99
SHOWN: Final = 3


def main() -> int:
    """Prints them."""
    (pool,) = sys.argv[1:]
    windows = rates()[pool]
    cycle = (168 if len(windows) >= 336 * HOUR else 24) * HOUR
    first = scaled(windows, cycle, MEAN_RPS)[:cycle]
    plan, workload = planned(pool, first, Scaling.AUTOSCALE, LLAMA_8B)
    schedule = plan.schedule
    if schedule is None or schedule.autoscaling is None:
        raise SystemExit(f"{pool}: not autoscaled")
    found = []
    for up, down, floor, reserve in product(UP_SECONDS, DOWN_SECONDS, FLOORS, RESERVES):

        def policies(plan: Plan, workload: Workload, up: int = up, down: int = down) -> Mapping[str, ReplicaPolicy]:
            return {
                name: replace(policy, upscale_delay_seconds=up, downscale_delay_seconds=down)
                for name, policy in replica_policies(plan, workload).items()
            }

        asked = replace(schedule.autoscaling, headroom_fraction=reserve, least_fraction=floor)
        tried = replace(plan, schedule=replace(schedule, autoscaling=asked))
        with patch.object(autoscaling, "replica_policies", policies):
            replay = autoscaling.replayed(
                tried, workload, first, minutes=WINDOW_MINUTES, held=autoscaling.BY_MEANS
            )  # fmt: skip
        paid = sum(g.price_usd_per_hour * n for g, n in zip(plan.groups, replay.mean_instances, strict=True))
        if replay.attainment >= TARGET:
            found.append((paid + plan.cost.overhead_usd_per_hour, replay.attainment, up, down, floor, reserve))
    tries = len(UP_SECONDS) * len(DOWN_SECONDS) * len(FLOORS) * len(RESERVES)
    print(f"{len(found)} of {tries} settings keep {TARGET:.0%}; fixed: USD {schedule.fixed_usd_per_hour * HOURS:,.0f}")
    for cost, attainment, up, down, floor, reserve in sorted(found)[:SHOWN]:
        print(
            f"USD {cost * HOURS:,.0f} a week, {1 - cost / schedule.fixed_usd_per_hour:.1%} saved, {attainment:.2%} "
            f"(delays {up} and {down} s, floor {floor:.0%}, reserve {reserve:.0%})"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
