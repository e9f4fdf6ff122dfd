"""Prices that are not of this moment: commitments, and points of a price over time."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PriceKind(StrEnum):
    """How a machine is bought."""

    ON_DEMAND = "on_demand"
    SPOT = "spot"
    COMMIT_1Y = "commit_1y"
    COMMIT_3Y = "commit_3y"


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A machine paid for through a whole term, used or not; USD per hour for the whole instance.

    `on_demand_usd_per_hour` is that of the same list of the same day.
    """

    cloud: str
    region: str
    instance_type: str
    accelerator: str
    accelerators_per_instance: int
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
class PricePoint:
    """The cheapest price of one accelerator of a cloud from a moment on (ISO 8601)."""

    cloud: str
    kind: PriceKind
    date: str
    usd_per_accelerator_hour: float
