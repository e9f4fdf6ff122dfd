"""A fleet over the hours of a day or week as plain numbers: which hours belong together, and what a schedule costs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final

from sky_melange.domain.hours import Term, followed, mean_usd_per_hour, most_changes, worth_committing
from sky_melange.optimizer.problem import Problem

MOST_PERIODS: Final = 12
"""More save little: a period is planned for the largest rate of its hours, which lie close together then."""


def periods_of(
    rates_rps: Sequence[float], most: int = MOST_PERIODS, *, may_stop: bool = False
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """(period of each hour, rate of each period): at most so many, the busiest first.

    A period's rate is the largest of its hours; the periods are those for which the least is planned beyond what the
    hours need, Σ (rate of the period − rate of the hour). Hours without traffic belong to the quietest period, or
    are one more, the last, where they `may_stop`.
    """
    if may_stop and 0.0 in rates_rps:
        of_hour, rates = periods_of([rate for rate in rates_rps if rate > 0], most)
        numbers = iter(of_hour)
        return tuple(next(numbers) if rate > 0 else len(rates) for rate in rates_rps), (*rates, 0.0)
    least = min(rate for rate in rates_rps if rate > 0)
    raised = [rate if rate > 0 else least for rate in rates_rps]
    _, rates = min(_divided(raised, most), key=lambda each: (each[0], len(each[1])))
    return tuple(sum(rate <= each for each in rates) - 1 for rate in raised), rates


def _divided(rates_rps: Sequence[float], most: int) -> list[tuple[float, tuple[float, ...]]]:
    """(what is planned beyond what the hours need, the rates) of the best of so many periods: 1, 2 … `most`."""
    times = Counter(rates_rps)
    levels = sorted(times, reverse=True)
    # best[k][j]: the excess of the first j levels in k periods, and where the last of these begins.
    best: list[list[tuple[float, int]]] = [[(0.0, 0)] + [(math.inf, 0)] * len(levels)]
    for _ in range(min(most, len(levels))):
        row = [(math.inf, 0)]
        for end in range(1, len(levels) + 1):
            found, excess, hours = (math.inf, 0), 0.0, 0
            for begin in range(end - 1, -1, -1):
                # All hours so far are planned for this level instead of the last, which is lower.
                excess += (levels[begin] - levels[begin + 1]) * hours if hours else 0.0
                hours += times[levels[begin]]
                found = min(found, (best[-1][begin][0] + excess, begin))
            row.append(found)
        best.append(row)
    answers = []
    for count in range(1, len(best)):
        begins: list[int] = []
        end = len(levels)
        for k in range(count, 0, -1):
            end = best[k][end][1]
            begins.append(end)
        answers.append((best[count][-1][0], tuple(levels[begin] for begin in reversed(begins))))
    return answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """What hours are planned as: `of_hour[h]` is a period, whose hours have at most `rates_rps` and the sizes of a set.

    `work`: of each period as a part of that of the first, which has the most; the rates where there is one set.
    """

    of_hour: tuple[int, ...]
    rates_rps: tuple[float, ...]
    sizes: tuple[int, ...]
    work: tuple[float, ...]


def periods_by_work(
    rates_rps: Sequence[float],
    sizes_of_hour: Sequence[int],
    work: Sequence[float],
    most: int = MOST_PERIODS,
    *,
    may_stop: bool = False,
) -> Periods:
    """As `periods_of`, where a request of set s is as much as `work[s]`: those with the most work are the first.

    A period has hours of one set. Hours without traffic belong to the last period, or are one more where they
    `may_stop`.
    """
    if len(work) == 1:
        of_hour, rates = periods_of(rates_rps, most, may_stop=may_stop)
        return Periods(
            of_hour=of_hour, rates_rps=rates, sizes=(0,) * len(rates), work=tuple(rate / rates[0] for rate in rates)
        )
    own = [
        _divided([rate for rate, of in zip(rates_rps, sizes_of_hour, strict=True) if of == number and rate > 0], most)
        for number in range(len(work))
    ]
    chosen: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for number, answers in enumerate(own):
        further: dict[int, tuple[float, tuple[int, ...]]] = {}
        for used, (excess, counts) in chosen.items():
            for index, (more, _) in enumerate(answers):
                entry = (excess + more * work[number], (*counts, index))
                if used + index + 1 <= max(most, len(work)) - (len(work) - number - 1):
                    further[used + index + 1] = min(entry, further.get(used + index + 1, entry))
        chosen = further
    _, indices = min(chosen.values())
    found = sorted(
        (-rate * work[number], number, rate) for number, index in enumerate(indices) for rate in own[number][index][1]
    )
    place = {(number, rate): period for period, (_, number, rate) in enumerate(found)}
    last = len(found) if may_stop and 0.0 in rates_rps else len(found) - 1
    of_hour = tuple(
        last if rate == 0 else place[of, min(each for number, each in place if number == of and each >= rate)]
        for rate, of in zip(rates_rps, sizes_of_hour, strict=True)
    )
    if last == len(found):
        found.append((0.0, found[-1][1], 0.0))
    return Periods(
        of_hour=of_hour,
        rates_rps=tuple(rate for _, _, rate in found),
        sizes=tuple(number for _, number, _ in found),
        work=tuple(each / found[0][0] for each, _, _ in found),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """`period_of_hour[h]` over the hours of a day or week; period 0 has the most work.

    Each instance that is started is paid for `startup_minutes` before it serves. `max_changes`: instances started and
    stopped from one hour to the next; None: no limit.
    """

    period_of_hour: tuple[int, ...]
    startup_minutes: float = 0.0
    max_changes: int | None = None

    @property
    def periods(self) -> int:
        """How many there are."""
        return max(self.period_of_hour) + 1

    @property
    def weights(self) -> tuple[float, ...]:
        """Hours for which an instance of each period is paid, of each hour of the cycle; they sum to 1.

        An instance more in a period saves a start at its end where the next hour is busier: a short quiet period may
        weigh less than nothing, and then its instances had better run on.
        """
        paid = [float(count) for _, count in sorted(Counter(self.period_of_hour).items())]
        for (one, other), times in followed(self.period_of_hour).items():
            # No group runs fewer instances in a busier period, so each of these is a start.
            if other < one:
                paid[other] += times * self.startup_minutes / 60.0
                paid[one] -= times * self.startup_minutes / 60.0
        return tuple(each / len(self.period_of_hour) for each in paid)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleProblem:
    """One fleet whose routing stays and whose counts change by the period.

    `busiest` is the problem of period 0, and `factors[l][c]` times its loads are those of candidate c in period l:
    never more than in the period before. Where there are several sets of `sizes`, `busiest` has the loads of all, and
    those of period l are the factors times the ones of the set `sizes[l]`; empty: there is one set. A group that is
    used has an instance in every period, and no fewer in one before; every limit holds in every period, losses
    included. Factors of 0, in the last period alone, are hours without traffic: nothing need run, and no limit holds
    but that of changes. The charges are paid in every hour.
    `busiest.keep` is charged for the counts of period 0, `busiest.max_cost_usd_per_hour` limits what they cost.

    `on_demand[c]`: USD per hour of an instance of c by the hour where `busiest.prices[c]` is that of a term, which is
    paid in every hour for as many instances as are worth it (`committed`); infinite: all of them are committed. None
    where c is paid by the hour; empty: all are.
    """

    busiest: Problem
    factors: tuple[tuple[float, ...], ...]
    cycle: Cycle
    on_demand: tuple[float | None, ...] = ()
    sizes: tuple[int, ...] = ()

    @property
    def set_of(self) -> tuple[int, ...]:
        """The set of sizes of each period."""
        return self.sizes or (0,) * len(self.factors)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of each period that has traffic by itself."""
        later = replace(self.busiest, keep=None, max_cost_usd_per_hour=None, loss_cuts=())
        pairs = list(zip(self.set_of, self.factors, strict=True))[1 : self.serving]
        first = self.busiest.of_sizes(self.set_of[0])
        return (first, *(later.of_sizes(number).times(factors) for number, factors in pairs))

    @property
    def serving(self) -> int:
        """How many periods have traffic: the first."""
        return sum(any(factors) for factors in self.factors)

    def restricted_to(self, kept: Sequence[int]) -> ScheduleProblem:
        """The same over the candidates `kept`."""
        return replace(
            self,
            busiest=self.busiest.restricted_to(kept),
            factors=tuple(tuple(row[c] for c in kept) for row in self.factors),
            on_demand=tuple(self.on_demand[c] for c in kept) if self.on_demand else (),
        )

    @property
    def hourly_prices(self) -> tuple[float, ...]:
        """Of an instance of each candidate that is not committed."""
        if not self.on_demand:
            return self.busiest.prices
        pairs = zip(self.busiest.prices, self.on_demand, strict=True)
        return tuple(price if hourly is None else hourly for price, hourly in pairs)

    @property
    def paid(self) -> tuple[tuple[float, ...], ...]:
        """`[l][c]`: what an instance of c in period l adds to the mean, USD/h.

        No group runs more in a quieter period, so an instance that runs in the periods up to l runs for the share
        M_l = Σ_{i≤l} m_i of the hours, and costs the lesser of its term q and p·M_l: each period adds the rise of that.
        """
        weights = self.cycle.weights
        if not self.on_demand:
            return tuple(tuple(price * weight for price in self.busiest.prices) for weight in weights)
        running = list(accumulate(weights))
        columns = []
        for price, hourly in zip(self.busiest.prices, self.on_demand, strict=True):
            if hourly is None:
                columns.append([price * weight for weight in weights])
                continue
            costs = [0.0, *(price if math.isinf(hourly) else min(price, hourly * share) for share in running)]
            columns.append([now - before for before, now in pairwise(costs)])
        return tuple(zip(*columns, strict=True))

    def covered_from(self, c: int) -> int | None:
        """The busiest period in whose count an instance of c is worth its term; None: it is never bought for one."""
        hourly = None if not self.on_demand else self.on_demand[c]
        if hourly is None:
            return None
        shares = accumulate(self.cycle.weights)
        return next((i for i, share in enumerate(shares) if hourly * share > self.busiest.prices[c]), None)

    def committed(self, counts: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """How many instances of each candidate are bought for a term, so that these counts cost least."""
        return tuple(
            0
            if hourly is None
            else worth_committing(
                self.cycle.period_of_hour,
                [row[c] for row in counts],
                on_demand_usd_per_hour=hourly if math.isfinite(hourly) else None,
                committed_usd_per_hour=self.busiest.prices[c],
                startup_minutes=self.cycle.startup_minutes,
            )
            for c, hourly in enumerate(self.on_demand or (None,) * self.busiest.candidate_count)
        )

    def running_on(self, counts: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        """The same where instances that are bought for a term always run: they are paid for, and need no start."""
        committed = self.committed(counts)
        return tuple(tuple(max(n, k) for n, k in zip(row, committed, strict=True)) for row in counts)

    def cost_in(self, counts: Sequence[Sequence[int]], period: int) -> float:
        """What an hour of a period costs, USD."""
        prices, hourly = self.busiest.prices, self.hourly_prices
        parts = [
            prices[c] * k + (hourly[c] * (counts[period][c] - k) if counts[period][c] > k else 0.0)
            for c, k in enumerate(self.committed(counts))
        ]
        return math.fsum(parts) + self.busiest.charges.usd_per_hour(counts[period])

    def cost(self, counts: Sequence[Sequence[int]]) -> float:
        """The mean over the cycle, USD per hour, starts and charges included; `counts[l][c]`."""
        terms: list[Term | None] = [
            None if not k else Term(instances=k, price_usd_per_hour=price)
            for k, price in zip(self.committed(counts), self.busiest.prices, strict=True)
        ]
        # None of those that must all be committed is left to be paid by the hour.
        hourly = [price if math.isfinite(price) else 0.0 for price in self.hourly_prices]
        replicas = mean_usd_per_hour(
            self.cycle.period_of_hour, counts, hourly, startup_minutes=self.cycle.startup_minutes, terms=terms
        )
        return replicas + self.busiest.charges.usd_per_hour(counts[0])

    def objective(self, counts: Sequence[Sequence[int]]) -> float:
        """What is minimised: the mean cost, and what `keep` charges for changes."""
        keep = self.busiest.keep
        return self.cost(counts) + (0.0 if keep is None else keep.penalty(counts[0]))

    def rooms(
        self, counts: Sequence[Sequence[int]], lost: Sequence[int] | None = None
    ) -> tuple[tuple[float, ...], ...]:
        """`[s][c]`: instances of c that carry its load of `busiest` for set s as well as the worst of its periods."""
        gone = lost or (0,) * self.busiest.candidate_count
        serving = list(zip(self.set_of, counts, self.factors, strict=True))[: self.serving]
        return tuple(
            tuple(
                min(max(0, row[c] - gone[c]) / factors[c] for number, row, factors in serving if number == each)
                for c in range(self.busiest.candidate_count)
            )
            for each in range(self.busiest.sizes)
        )

    def changes(self, counts: Sequence[Sequence[int]]) -> int:
        """The most from one hour to the next."""
        return most_changes(self.cycle.period_of_hour, counts)
