"""What committing on the prices of one week is worth over the rest of a recorded year, next to hindsight.

python -m benchmarks.commitments [--write]

The prices are GCP's all-in prices by week, machine and region, 2025-07-03 to 2026-07-30 (tests/data/prices). The
traffic is a week of ServeGen's language pools, hour by hour, on up to MOST instances; it stays as it is, so that what
is measured is the risk of prices. In every STEP-th of the first weeks `worth_committing`, which plans ask too,
decides how many instances to commit at the prices of that week; the rest is paid by the hour at each later week's own
price, spot where that is allowed and cheaper. "Once" never decides again, "each week" may commit more as prices
change. Hindsight knows all prices to come: for each instance the best week to commit it, or never. Terms outlast the
record: a committed hour costs its price, and what is owed after the record is left out for all alike. `--write` puts
the table into docs/commitments.md. Takes a minute.
"""

from __future__ import annotations

import csv
import gzip
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Final

from sky_melange.domain.hours import WEEK, worth_committing

ROOT: Final = Path(__file__).resolve().parents[1]
PRICES: Final = ROOT / "tests" / "data" / "prices" / "gcp-weekly.csv.gz"
RATES: Final = ROOT / "tests" / "data" / "traces" / "servegen-rates.csv.gz"
DOCS: Final = ROOT / "docs" / "commitments.md"
MARK: Final = ("<!-- commitments: begin -->", "<!-- commitments: end -->")
POOLS: Final = ("m-large", "m-mid", "m-small")
MOST: Final = 20
"""Instances of the busiest hour."""

FIRST: Final = date(2025, 7, 3)
WEEKS: Final = 57
"""The last begins on 2026-07-30, where the record ends."""

LEAST_WEEKS: Final = 26
"""Of prices to come, for a decision to be judged."""

STEP: Final = 4

TERMS: Final = {"commit_1y": ("commit_1y",), "both terms": ("commit_1y", "commit_3y")}
COLUMNS: Final = ("may buy", "decided", "cost ÷ hindsight", "mean", "p95", "within 5 %", "never committing ÷ hindsight")
TARGET: Final = 1.05
HALF: Final = 0.5

Prices = Mapping[str, float]
"""USD per hour by kind; a kind that is not sold is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """A week of traffic: `counts[period]` instances, and of each instance the share of the week that it runs."""

    period_of_hour: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def shares(self) -> tuple[float, ...]:
        """Of the first instance, of the second, and so on."""
        running = [self.counts[period] for period in self.period_of_hour]
        return tuple(sum(n > j for n in running) / len(running) for j in range(max(running)))


def levels(pool: str) -> Levels:
    """The first week of a pool by the busiest ten minutes of each hour."""
    busiest: dict[int, float] = defaultdict(float)
    with gzip.open(RATES, "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            hour = int(row["start_s"]) // 3600
            if row["pool"] == pool and hour < WEEK:
                busiest[hour] = max(busiest[hour], float(row["rate_rps"]))
    peak = max(busiest.values())
    needed = [max(1, math.ceil(busiest[hour] / peak * MOST)) for hour in range(WEEK)]
    counts = tuple(sorted(set(needed), reverse=True))
    return Levels(period_of_hour=tuple(counts.index(n) for n in needed), counts=counts)


def histories() -> Mapping[tuple[str, str], Sequence[Prices]]:
    """Prices of each machine in a region at the beginning of each of WEEKS weeks."""
    rows: dict[tuple[str, str], dict[str, Prices]] = defaultdict(dict)
    with gzip.open(PRICES, "rt", encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            kinds = ("on_demand", "spot", "commit_1y", "commit_3y")
            rows[row["machine"], row["region"]][row["date"]] = {kind: float(row[kind]) for kind in kinds if row[kind]}
    found: dict[tuple[str, str], Sequence[Prices]] = {}
    for machine, known in rows.items():
        series: list[Prices] = []
        for week in range(WEEKS):
            day = (FIRST + timedelta(weeks=week)).isoformat()
            newest = max((seen for seen in known if seen <= day), default=None)
            series.append({} if newest is None else known[newest])
        if all("on_demand" in now and "commit_1y" in now for now in series):
            found[machine] = series
    return found


def by_the_hour(now: Prices, *, with_spot: bool) -> float:
    """What an hour costs that is not committed."""
    return min(now["on_demand"], now.get("spot", math.inf)) if with_spot else now["on_demand"]


def committed_price(now: Prices, terms: Sequence[str]) -> float:
    """The cheapest of the terms."""
    return min(now[term] for term in terms if term in now)


def decided(week: Levels, now: Prices, terms: Sequence[str], *, with_spot: bool) -> int:
    """As a plan decides at these prices."""
    hourly, term = by_the_hour(now, with_spot=with_spot), committed_price(now, terms)
    if term >= hourly:
        return 0
    return _worth(week, hourly, term)


@cache
def _worth(week: Levels, hourly: float, term: float) -> int:
    return worth_committing(
        week.period_of_hour, week.counts, on_demand_usd_per_hour=hourly, committed_usd_per_hour=term, startup_minutes=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """USD over the weeks that were left."""

    once: float
    each_week: float
    never: float
    hindsight: float


def outcome(week: Levels, series: Sequence[Prices], terms: Sequence[str], *, with_spot: bool) -> Outcome:
    """What each way to decide costs from the first of these weeks on."""
    hourly = [by_the_hour(now, with_spot=with_spot) * WEEK for now in series]
    term = [committed_price(now, terms) for now in series]
    left = [WEEK * (len(series) - t) for t in range(len(series))]
    paid_until = [math.fsum(hourly[:t]) for t in range(len(series) + 1)]
    ever = [decided(week, now, terms, with_spot=with_spot) for now in series]
    once, each_week, never, hindsight = [], [], [], []
    for j, share in enumerate(week.shares):
        # Committed in week t: by the hour until then, and the term's price in every hour from then on.
        at = [share * paid_until[t] + term[t] * left[t] for t in range(len(series))]
        without = share * paid_until[-1]
        never.append(without)
        hindsight.append(min(without, *at))
        once.append(at[0] if j < ever[0] else without)
        first = next((t for t, count in enumerate(ever) if j < count), None)
        each_week.append(without if first is None else at[first])
    return Outcome(
        once=math.fsum(once), each_week=math.fsum(each_week), never=math.fsum(never), hindsight=math.fsum(hindsight)
    )


def outcomes(terms: Sequence[str], *, with_spot: bool) -> Iterator[Outcome]:
    """Of every pool, machine, region and week of decision."""
    found = histories()
    for week in map(levels, POOLS):
        for series in found.values():
            for t in range(0, WEEKS - LEAST_WEEKS + 1, STEP):
                yield outcome(week, series[t:], terms, with_spot=with_spot)


def rows() -> Iterator[tuple[str, ...]]:
    """Under COLUMNS."""
    for with_spot in (False, True):
        for name, terms in TERMS.items():
            every = list(outcomes(terms, with_spot=with_spot))
            hindsight = math.fsum(each.hindsight for each in every)
            never = math.fsum(each.never for each in every) / hindsight
            for way in ("once", "each_week"):
                costs = [getattr(each, way) for each in every]
                ratios = sorted(cost / each.hindsight for cost, each in zip(costs, every, strict=True))
                yield (
                    f"on demand, {'spot, ' if with_spot else ''}{name}",
                    way.replace("_", " "),
                    f"{math.fsum(costs) / hindsight:.3f}",
                    f"{fmean(ratios):.3f}",
                    f"{ratios[round(0.95 * (len(ratios) - 1))]:.3f}",
                    f"{sum(ratio <= TARGET for ratio in ratios) / len(ratios):.0%}",
                    f"{never:.3f}",
                )


def halved() -> Iterator[str]:
    """Of each machine: in how many of its regions spot lost more than half from one week to the next."""
    machines: dict[str, list[float]] = defaultdict(list)
    for (machine, _), series in sorted(histories().items()):
        spot = [now["spot"] for now in series if "spot" in now]
        machines[machine].append(min((now / before for before, now in pairwise(spot)), default=1.0))
    for machine, falls in machines.items():
        count = sum(fall < HALF for fall in falls)
        if count:
            yield f"Spot of {machine} lost more than half within a week in {count} of {len(falls)} regions."


def main() -> None:
    """Prints the table; `--write` puts it into the docs."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"| --- | --- |{' ---: |' * (len(COLUMNS) - 2)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows()]
    table = "\n".join([*lines, "", *halved()])
    print(table)
    if "--write" in sys.argv[1:]:
        text = DOCS.read_text(encoding="utf-8")
        before, _, rest = text.partition(MARK[0])
        _, _, after = rest.partition(MARK[1])
        DOCS.write_text(f"{before}{MARK[0]}\n\n{table}\n\n{MARK[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
