"""Prices that are not of this moment: commitments, and points of a price over time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sky_melange.domain.machine import WithGpus


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceChange(WithGpus):
    """One machine's price in one region, before and after a refresh, USD per hour an instance.

    None before: the machine was not on sale; None after: it no longer is. `previous_at` is when the old price was last
    confirmed, `seen_at` when the new one was first seen; both ISO 8601, UTC.
    """

    use_spot: bool
    before_usd_per_hour: float | None
    after_usd_per_hour: float | None
    previous_at: str
    seen_at: str


class PriceKind(StrEnum):
    """How a machine is bought."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    COMMIT_1Y = "commit_1y"
    COMMIT_3Y = "commit_3y"

    @property
    def years(self) -> int:
        """For how long it is paid, used or not; 0: no longer than it runs."""
        return {PriceKind.COMMIT_1Y: 1, PriceKind.COMMIT_3Y: 3}.get(self, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment(WithGpus):
    """A machine paid for through a whole term, used or not; USD per hour for the whole instance.

    `on_demand_usd_per_hour` is that of the same list of the same day.
    """

    kind: PriceKind
    price_usd_per_hour: float
    on_demand_usd_per_hour: float
    as_of: str
    source: str

    @property
    def break_even_fraction(self) -> float:
        """The share of all hours from which on it is cheaper than on demand; above 1: never."""
        return self.price_usd_per_hour / self.on_demand_usd_per_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedPrice:
    """What an offer costs that is bought for a term; `on_demand_usd_per_hour` is what it costs by the hour.

    `is_hourly_too`: instances beyond those that are committed may be bought by the hour. `as_of` and `source` are of
    the price of the commitment.
    """

    kind: PriceKind
    on_demand_usd_per_hour: float
    is_hourly_too: bool
    as_of: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePoint:
    """The cheapest price of one accelerator of a cloud from a moment on (ISO 8601)."""

    cloud: str
    kind: PriceKind
    date: str
    usd_per_accelerator_hour: float
