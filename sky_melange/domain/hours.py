"""The rate in each hour of a day or a week, and how many instances run then."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Final

DAY: Final = 24
WEEK: Final = 168
"""Hours of a cycle. A week begins on Monday at 00:00."""


DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

TENFOLD: Final = 10

USUAL_HEADROOM: Final = 0.3
USUAL_HEADROOM_BASIS: Final = "an assumption: one day or week does not say how much the next differs"
"""The reserve where nothing says how much hours differ from one to the next."""

MOST_HEADROOM: Final = 10.0

WINDOW_MINUTES: Final = 10
MOST_WINDOWS: Final = 14 * DAY * 60 // WINDOW_MINUTES


class Scaling(StrEnum):
    """How many instances run: those of the busiest hour, those of each hour by the clock, or as SkyServe decides."""

    FIXED = "fixed"
    SCHEDULE = "schedule"
    AUTOSCALE = "autoscale"


MOST_SIZES: Final = 8
"""Sets of sizes: each is one more case of all loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeSet:
    """Hours of a cycle, rising, whose requests have sizes of their own.

    `weights[input bucket][output bucket]`: shares of their requests, over the grid of the traffic; they sum to 1.
    """

    name: str
    hours: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The rate to plan for in each of DAY or WEEK hours, requests/s; at least one is positive.

    The hours are those of the clocks in `time_zone`, an IANA name. `origin` says in words where the rates come from.
    `headroom_fraction`: the reserve beyond each hour's rate, `headroom_basis` says in words why that much.
    `windows_rps`: the rates of windows of WINDOW_MINUTES in the order in which they came, at most MOST_WINDOWS; empty:
    not known. `sizes`: each hour that has requests is in one of them; empty: the sizes are the same in all hours.
    """

    rates_rps: tuple[float, ...]
    time_zone: str = "UTC"
    origin: str = ""
    headroom_fraction: float = 0.0
    headroom_basis: str = ""
    windows_rps: tuple[float, ...] = ()
    sizes: tuple[SizeSet, ...] = ()

    @property
    def peak_rps(self) -> float:
        """The rate of the busiest hour."""
        return max(self.rates_rps)

    @property
    def busiest_rps(self) -> tuple[float, ...]:
        """The rate of the busiest hour of each set of sizes; of all hours where there are none."""
        return tuple(max(self.rates_rps[hour] for hour in each.hours) for each in self.sizes) or (self.peak_rps,)

    @property
    def sizes_of_hour(self) -> tuple[int, ...]:
        """The set of sizes of each hour, 0 where there are none; -1: it has no requests, and is in none."""
        found = [-1 if self.sizes else 0] * len(self.rates_rps)
        for number, each in enumerate(self.sizes):
            for hour in each.hours:
                found[hour] = number
        return tuple(found)

    @property
    def mean_rps(self) -> float:
        """Over the whole cycle."""
        return sum(self.rates_rps) / len(self.rates_rps)

    def planned_rps(self, scaling: Scaling | None) -> tuple[float, ...]:
        """What instances are planned for in each hour: its rate with the reserve, at most that of the busiest hour.

        That is the busiest of those with the same sizes. SkyServe follows the requests themselves: what it scales has
        its reserve elsewhere (`Autoscaling`).
        """
        if scaling is Scaling.AUTOSCALE:
            return self.rates_rps
        most = self.busiest_rps
        return tuple(
            min(most[number], rate * (1 + self.headroom_fraction))
            for rate, number in zip(self.rates_rps, self.sizes_of_hour, strict=True)
        )

    @property
    def is_even(self) -> bool:
        """Whether all hours are alike, so that they say nothing that the rate does not."""
        return len(set(self.rates_rps)) == 1 and not self.sizes

    def within(self, number: int, rate_rps: float) -> Hours:
        """Hours that all have this rate, and the sizes of one set."""
        count = len(self.rates_rps)
        alone = replace(self.sizes[number], hours=tuple(range(count)))
        return replace(self, rates_rps=(rate_rps,) * count, windows_rps=(), sizes=(alone,))

    def scaled_to(self, peak_rps: float) -> Hours:
        """The same hours with another rate of the busiest; the others in proportion."""
        peak = self.peak_rps
        if peak_rps == peak:
            return self
        rates = tuple(peak_rps if rate == peak else rate / peak * peak_rps for rate in self.rates_rps)
        windows = tuple(rate / peak * peak_rps for rate in self.windows_rps)
        return replace(self, rates_rps=rates, windows_rps=windows)

    def steepest_jump(self) -> str | None:
        """The hour that begins with the largest rise, where that is tenfold or more and matters; in a sentence."""
        pairs = [(self.rates_rps[hour - 1], rate, hour) for hour, rate in enumerate(self.rates_rps)]
        jumps = [
            (now - before, before, now, hour)
            for before, now, hour in pairs
            if now >= TENFOLD * before and TENFOLD * now >= self.peak_rps and now > before
        ]
        if not jumps:
            return None
        _, before, now, hour = max(jumps)
        return (
            f"the rate grows at once from {before:.4g} to {now:.4g} requests/s at "
            f"{hour_name(hour, len(self.rates_rps))} ({self.time_zone}): check that hour and the one before"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HourCount:
    """How hours are counted: by the clocks of `time_zone`, over a `cycle` of DAY or WEEK hours; None: what is covered.

    None is a week where each of its hours is covered, otherwise a day.
    """

    time_zone: str = "UTC"
    cycle: int | None = None


def hour_name(hour: int, cycle: int) -> str:
    """`09:00` of a day, `Tuesday 09:00` of a week."""
    clock = f"{hour % DAY:02d}:00"
    return clock if cycle == DAY else f"{DAYS[hour // DAY]} {clock}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """Hours in which the same instances run, planned for the largest rate among them.

    `hours` of a cycle; `instances` of each group, in the order of `Plan.groups`; `cost_usd_per_hour` with overhead.
    At a rate of 0 a group may have none. `attainment` at `rate_rps` as in `SimulatedPlan`; None: not simulated.
    `sizes`: the name of their set; None: all hours have the same.
    """

    rate_rps: float
    hours: int
    instances: tuple[int, ...]
    cost_usd_per_hour: float
    attainment: float | None = None
    attainment_error: float | None = None
    sizes: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """How SkyServe is told to follow the requests, and what a replay of the hours by its rules gave.

    `headroom_fraction`: at each rate it wants the instances that are planned for so much more. `least_fraction` of the
    busiest hour's instances run at any time. `mean_instances` of each group are paid, in the order of `Plan.groups`.
    `attainment`: the share of the requests within their targets. `scheduled_usd_per_hour`: what the same traffic costs
    by the clock, without a reserve. `half_usd_per_hour`: what it costs where half of the busiest hour's instances run
    at any time; None: so many do, or all may stop.
    """

    headroom_fraction: float
    least_fraction: float
    mean_instances: tuple[float, ...]
    attainment: float
    scheduled_usd_per_hour: float
    half_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`period_of_hour[h]`: which of `periods` the h-th hour of the cycle belongs to; `periods`, those with most work
    first, which is the busiest where all hours have the same sizes.

    The groups of the plan are those of the busiest period, and the shares of the traffic stay as they are. An instance
    is started `startup_minutes` before the hour that needs it, and paid from then on. Costs are means over the cycle,
    overhead and starts included: `usd_per_hour` of this schedule, `fixed_usd_per_hour` of the cheapest fleet found
    that runs around the clock, `bound_usd_per_hour` what every schedule of one mix costs at least by the program, at
    the utilisations of this one; None: not proven. `headroom_fraction` as in `Hours`. `autoscaling`: SkyServe decides,
    and `usd_per_hour` is what that costs; None: the clock does.
    """

    time_zone: str
    period_of_hour: tuple[int, ...]
    periods: tuple[Period, ...]
    startup_minutes: float
    starts: int
    usd_per_hour: float
    fixed_usd_per_hour: float
    bound_usd_per_hour: float | None = None
    headroom_fraction: float = 0.0
    autoscaling: Autoscaling | None = None
    raised_usd_per_hour: float | None = None

    @property
    def hours(self) -> int:
        """Of the cycle."""
        return len(self.period_of_hour)

    @property
    def idle_hours(self) -> int:
        """Of the cycle, in which no instance runs."""
        return sum(period.hours for period in self.periods if not any(period.instances))

    @property
    def is_even(self) -> bool:
        """Whether as many instances run in every hour, so that a picture of them says nothing."""
        return len({period.instances for period in self.periods}) == 1

    def mean_usd_per_hour(
        self,
        prices_usd_per_hour: Sequence[float],
        overhead_usd_per_hour: float,
        terms: Sequence[Term | None] = (),
    ) -> float:
        """`usd_per_hour` at these prices of an instance of each group and of all that runs beside them.

        `terms` as in the function of the same name.
        """
        if self.autoscaling is not None:
            # SkyServe never runs fewer than are committed.
            committed = terms or (None,) * len(prices_usd_per_hour)
            means = zip(prices_usd_per_hour, self.autoscaling.mean_instances, committed, strict=True)
            paid = (
                price * mean
                if term is None
                else price * (mean - term.instances) + term.price_usd_per_hour * term.instances
                for price, mean, term in means
            )
            return math.fsum((overhead_usd_per_hour, *paid))
        counts = [period.instances for period in self.periods]
        replicas = mean_usd_per_hour(
            self.period_of_hour, counts, prices_usd_per_hour, startup_minutes=self.startup_minutes, terms=terms
        )
        return replicas + overhead_usd_per_hour


def followed(period_of_hour: Sequence[int]) -> Mapping[tuple[int, int], int]:
    """(period, the next hour's other period): how often in a cycle, whose first hour follows its last."""
    pairs = pairwise((*period_of_hour, *period_of_hour[:1]))
    return Counter((one, other) for one, other in pairs if one != other)


def starts_in(period_of_hour: Sequence[int], instances: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Of each group in a cycle, where `instances[period]` run of them."""
    groups = range(len(instances[0]))
    return tuple(
        sum(
            times * max(0, instances[after][group] - instances[before][group])
            for (before, after), times in followed(period_of_hour).items()
        )
        for group in groups
    )


def most_changes(period_of_hour: Sequence[int], instances: Sequence[Sequence[int]]) -> int:
    """Instances started and stopped from one hour to the next, over all groups, at most."""
    return max(
        (
            sum(abs(now - then) for then, now in zip(instances[before], instances[after], strict=True))
            for before, after in followed(period_of_hour)
        ),
        default=0,
    )


def mean_usd_per_hour(
    period_of_hour: Sequence[int],
    instances: Sequence[Sequence[int]],
    prices_usd_per_hour: Sequence[float],
    *,
    startup_minutes: float,
    terms: Sequence[Term | None] = (),
) -> float:
    """What the instances cost over a cycle: each at its price while it runs, and while it starts.

    `terms` of each group, where they may be bought for one: the instances that are committed cost their price in every
    hour, and cover those that run; None: all are paid by the hour.
    """
    bought = [term for term in terms if term is not None]
    if bought:
        covered = [0 if term is None else term.instances for term in terms]
        instances = [[max(0, n - k) for n, k in zip(row, covered, strict=True)] for row in instances]
    hours = Counter(period_of_hour)
    starts = starts_in(period_of_hour, instances)
    paid = (
        price * (math.fsum(hours[period] * row[group] for period, row in enumerate(instances)) + started)
        for group, (price, started) in enumerate(
            zip(prices_usd_per_hour, (count * startup_minutes / 60.0 for count in starts), strict=True)
        )
    )
    by_term = (term.price_usd_per_hour * term.instances * len(period_of_hour) for term in bought)
    return math.fsum((*paid, *by_term)) / len(period_of_hour)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """So many instances that are paid for in every hour, at a price of their own."""

    instances: int
    price_usd_per_hour: float


def worth_committing(
    period_of_hour: Sequence[int],
    counts: Sequence[int],
    *,
    on_demand_usd_per_hour: float | None,
    committed_usd_per_hour: float,
    startup_minutes: float,
) -> int:
    """How many instances of a group, of which `counts[period]` run, cost least when committed; the fewest of the best.

    `on_demand_usd_per_hour` None: none is bought by the hour, so that all of them are committed.
    """
    most = max(counts)
    if on_demand_usd_per_hour is None:
        return most

    def cost(k: int) -> float:
        term = Term(instances=k, price_usd_per_hour=committed_usd_per_hour)
        rows = [[count] for count in counts]
        return mean_usd_per_hour(
            period_of_hour, rows, [on_demand_usd_per_hour], startup_minutes=startup_minutes, terms=[term]
        )

    # Between two counts of periods each instance more changes the cost by the same.
    steps = sorted({0, most, *counts})
    costs = [cost(k) for k in steps]
    least = min(costs)
    return next(k for k, each in zip(steps, costs, strict=True) if each <= least * (1 + 1e-12))
