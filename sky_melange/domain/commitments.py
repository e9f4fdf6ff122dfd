"""What the commitments of a plan owe and risk: against never committing, and as traffic and spot prices change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sky_melange.domain.hours import Schedule, mean_usd_per_hour, worth_committing
from sky_melange.domain.machine import Covered
from sky_melange.domain.plan import Commitments, GroupCommitment, Plan, ReplicaGroup, Scenario, terms_of
from sky_melange.domain.price_record import Commitment, PriceKind
from sky_melange.domain.workload import Workload

AS_PLANNED: Final = "as planned"
_TRAFFIC: Final = (("traffic halves", 0.5), ("traffic doubles", 2.0))
_SPOT: Final = ("spot rises as in its worst recorded year", "spot falls as in its best recorded year")
_SAME: Final = 1e-9
_STEPS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BoughtFleet:
    """Groups, how many of each run when, and what runs beside them; without a schedule all run in every hour."""

    groups: Sequence[ReplicaGroup]
    schedule: Schedule | None
    overhead_usd_per_hour: float

    def usd_per_hour(
        self, traffic: float = 1.0, spot_factors: Mapping[str, float] | None = None, *, is_whole: bool = True
    ) -> float:
        """The mean at so many times the traffic, by counts in proportion: what is committed stays as it is.

        `spot_factors` on spot prices by accelerator. `is_whole` False: counts are not rounded up, which no fleet that
        is planned anew would be far below.
        """
        period_of_hour: Sequence[int] = (0,)
        counts: Sequence[Sequence[int]] = [[group.instances for group in self.groups]]
        startup_minutes = 0.0
        if self.schedule is not None:
            period_of_hour, startup_minutes = self.schedule.period_of_hour, self.schedule.startup_minutes
            counts = [period.instances for period in self.schedule.periods]
        prices = [
            group.price_usd_per_hour * ((spot_factors or {}).get(group.accelerator, 1.0) if group.use_spot else 1.0)
            for group in self.groups
        ]
        terms, beside = terms_of(self.groups), self.overhead_usd_per_hour

        def by_the_clock(rows: Sequence[Sequence[int]]) -> float:
            return mean_usd_per_hour(period_of_hour, rows, prices, startup_minutes=startup_minutes, terms=terms)

        if self.schedule is not None and self.schedule.autoscaling is not None:
            # What SkyServe runs beyond the clock's instances is in proportion, too.
            planned = self.schedule.mean_usd_per_hour(prices, 0.0, terms)
            beside += traffic * (planned - by_the_clock(counts))
        if not is_whole:
            return traffic * by_the_clock(counts) + beside
        return by_the_clock([[max(min(n, 1), math.ceil(n * traffic - _SAME)) for n in row] for row in counts]) + beside


def fleet_of(plan: Plan) -> BoughtFleet:
    """The fleet of a plan."""
    beside = plan.cost.overhead_usd_per_hour
    return BoughtFleet(groups=plan.groups, schedule=plan.schedule, overhead_usd_per_hour=beside)


def weighed(bought: BoughtFleet, never: BoughtFleet | None, spot_swings: Sequence[Mapping[str, float]]) -> Commitments:
    """What a fleet with commitments costs next to the cheapest one found without any; None: there is none.

    `spot_swings`: by how much spot prices rose and fell at most, as factors by accelerator.
    """
    by_spot = {group.accelerator for fleet in (bought, never) if fleet for group in fleet.groups if group.use_spot}
    swings = [{name: swing[name] for name in sorted(by_spot & swing.keys())} for swing in spot_swings]

    def scenario(name: str, traffic: float, factors: Mapping[str, float]) -> Scenario:
        return Scenario(
            name=name,
            traffic_factor=traffic,
            spot_factors=tuple(factors.items()),
            usd_per_hour=bought.usd_per_hour(traffic, factors),
            never_usd_per_hour=None if never is None else never.usd_per_hour(traffic, factors, is_whole=False),
        )

    return Commitments(
        scenarios=(
            scenario(AS_PLANNED, 1.0, {}),
            *(scenario(name, factor, {}) for name, factor in _TRAFFIC),
            *(scenario(name, 1.0, swing) for name, swing in zip(_SPOT, swings, strict=True) if swing),
        ),
        least_traffic_factor=None if never is None else _least_traffic(bought, never),
    )


def _least_traffic(bought: BoughtFleet, never: BoughtFleet) -> float | None:
    for step in range(_STEPS, 0, -1):
        cheaper = never.usd_per_hour(step / _STEPS, is_whole=False)
        if bought.usd_per_hour(step / _STEPS) > cheaper * (1 + _SAME):
            return min(1.0, (step + 1) / _STEPS)
    return None


def commitment_faults(plan: Plan, workload: Workload) -> Iterator[str]:
    """What commitments owe the rest of their plan and the workload, each as `key: what is wrong`."""
    wanted = workload.candidates
    for number, group in enumerate(plan.groups):
        key, bought = f"groups[{number}].committed", group.committed
        is_hourly = not group.use_spot and group.reserved_instances is None
        if bought is None:
            if is_hourly and not wanted.by_the_hour:
                yield f"{key}: is missing, but candidates.purchase does not allow on_demand"
            continue
        if not is_hourly:
            yield f"{key}: covers machines on demand, but {group.name} is spot or reserved"
        if bought.kind not in wanted.commitments:
            yield f"{key}.kind: is {bought.kind}, candidates.purchase allows {', '.join(wanted.purchase) or 'none'}"
        best = _worth(plan.schedule, group, number, by_the_hour=wanted.by_the_hour)
        if bought.instances != best:
            yield f"{key}.instances: is {bought.instances}, but {best} cost least for the hours of {group.name}"
    yield from _scenario_faults(plan)


def _worth(schedule: Schedule | None, group: ReplicaGroup, number: int, *, by_the_hour: bool) -> int | None:
    if group.committed is None:
        return None
    counts = [group.instances] if schedule is None else [period.instances[number] for period in schedule.periods]
    return worth_committing(
        (0,) if schedule is None else schedule.period_of_hour,
        counts,
        on_demand_usd_per_hour=group.price_usd_per_hour if by_the_hour else None,
        committed_usd_per_hour=group.committed.price_usd_per_hour,
        startup_minutes=0.0 if schedule is None else schedule.startup_minutes,
    )


def as_if_committed(plan: Plan, commitments: Iterable[Commitment]) -> BoughtFleet | None:
    """The fleet of a plan that commits nothing, with what would be worth it; None: nothing would."""
    machines: dict[Covered, list[Commitment]] = {}
    for each in commitments:
        machines.setdefault(each.covered, []).append(each)
    groups = []
    for number, group in enumerate(plan.groups):
        terms = [] if group.use_spot or group.reserved_instances is not None else machines.get(group.covered, [])
        best = min(terms, key=lambda term: (term.price_usd_per_hour, term.kind.years), default=None)
        if best is None:
            groups.append(group)
            continue
        bought = GroupCommitment(
            kind=best.kind,
            instances=0,
            price_usd_per_hour=best.price_usd_per_hour,
            as_of=best.as_of,
            source=best.source,
        )
        count = _worth(plan.schedule, replace(group, committed=bought), number, by_the_hour=True) or 0
        groups.append(replace(group, committed=replace(bought, instances=count)))
    if not any(group.committed is not None and group.committed.instances for group in groups):
        return None
    return replace(fleet_of(plan), groups=groups)


def _scenario_faults(plan: Plan) -> Iterator[str]:
    is_bought = any(group.committed is not None and group.committed.instances for group in plan.groups)
    if (plan.commitments is not None) != is_bought:
        yield "commitments: are there where, and only where, instances are committed; plan again"
    if plan.commitments is None:
        return
    if not plan.commitments.scenarios or plan.commitments.scenarios[0].name != AS_PLANNED:
        yield f"commitments.scenarios: must begin with {AS_PLANNED!r}"
    fleet = fleet_of(plan)
    for number, scenario in enumerate(plan.commitments.scenarios):
        cost = fleet.usd_per_hour(scenario.traffic_factor, dict(scenario.spot_factors))
        if not math.isclose(scenario.usd_per_hour, cost, rel_tol=_SAME, abs_tol=_SAME):
            yield (
                f"commitments.scenarios[{number}].usd_per_hour: is {scenario.usd_per_hour!r}, but the groups give "
                f"{cost!r}; plan again"
            )


def years_of(kind: PriceKind) -> str:
    """`1 year`, `3 years`."""
    return f"{kind.years} year{'s' if kind.years != 1 else ''}"
