"""Why a plan is what it is: every figure from a solve. Costs are totals: replicas, controller and router."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Substitute:
    """The best plan with something taken away: its cost (USD/h), and what it buys, in words."""

    cost_usd_per_hour: float
    instances: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """When something leaves the plan: an offer, or all offers of an accelerator together.

    It stays up to `factor` times today's price, and above that the best plan is `without`. None: nothing can replace
    it, or (with `is_proven` False) the time did not suffice to say.
    """

    label: str
    price_usd_per_hour: float | None
    factor: float | None
    without: Substitute | None
    is_proven: bool = True

    @property
    def leaves_at_usd_per_hour(self) -> float | None:
        """The price of an instance at which an offer leaves."""
        return None if self.factor is None or self.price_usd_per_hour is None else self.factor * self.price_usd_per_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMiss:
    """An offer outside the plan that would be in it below `enters_at_usd_per_hour` an instance; None: not even free."""

    label: str
    accelerator: str
    price_usd_per_hour: float
    enters_at_usd_per_hour: float | None
    is_proven: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MixRange:
    """Accelerator types that are best from one request rate to another.

    They are best at both ends; at `changes_at_rps`, a little more than `to_rps`, they are no longer; None: the range
    examined ends there.
    """

    from_rps: float
    to_rps: float
    changes_at_rps: float | None
    accelerators: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCost:
    """What a constraint costs: the best plan without it. None: not proven within the time limit."""

    name: str
    value: str
    cost_without_usd_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What the plan would cost less, at least, if this accelerator turned out to be as fast as predicted.

    It is planned `slower_by` times slower (the most of its layouts). None: not proven within the time limit.
    """

    accelerator: str
    slower_by: float
    saves_usd_per_hour: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockValue:
    """What it is worth to follow the hours. Costs are means over them, totals in USD per hour.

    `fixed` runs around the clock; `scheduled` is the schedule with its reserve, of an autoscaled plan without one;
    `autoscaled` is a replay of the hours by SkyServe's rules, `autoscaled_attainment` its share of the requests within
    their targets, both None where sizes differ by the hour. `faster_…`: the same if instances start `faster_minutes`
    sooner. `busiest_hour` in words; `next_rps`: the most in any other hour, of those with the same `sizes` where there
    are sets; None: there is no other. `nines_usd_per_hour`: the fleet around the clock that holds `nines_attainment`;
    None: none was found, or nothing is simulated.
    """

    fixed_usd_per_hour: float
    scheduled_usd_per_hour: float
    autoscaled_usd_per_hour: float | None
    autoscaled_attainment: float | None
    busiest_hour: str
    busiest_rps: float
    next_rps: float | None
    faster_minutes: float
    faster_scheduled_usd_per_hour: float
    faster_autoscaled_usd_per_hour: float | None
    sizes: str | None = None
    nines_attainment: float | None = None
    nines_usd_per_hour: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """`total_usd_per_hour` is what all figures are compared with.

    `best_single_usd_per_hour` and its type are None where no type can do alone. `headroom_rps` is the rate of this
    traffic that the plan's instances carry within `max_utilization`. `size_aware_total_usd_per_hour` as in `Plan`.
    `clock`: of a plan with a schedule.
    `other_dtypes`: a sentence on each precision of the weights that was not chosen.
    """

    request_rate_rps: float
    headroom_rps: float
    total_usd_per_hour: float
    best_single_accelerator: str | None
    best_single_usd_per_hour: float | None
    policy: str
    size_aware_total_usd_per_hour: float | None
    limits: tuple[LimitCost, ...]
    offers: tuple[Leaving, ...]
    accelerators: tuple[Leaving, ...]
    near_misses: tuple[NearMiss, ...]
    mixes: tuple[MixRange, ...]
    solves: int
    measurements: tuple[Measurement, ...] = ()
    clock: ClockValue | None = None
    other_dtypes: tuple[str, ...] = ()
