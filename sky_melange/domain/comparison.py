"""Two accelerators beside each other: requests per dollar by request size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from sky_melange.domain.offer import Offer
from sky_melange.domain.profile import Capacity, Profile, RateGrid, Skipped, SkipReason
from sky_melange.domain.units import requests_per_usd
from sky_melange.domain.workload import Slo


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaPrice:
    """The offer that a replica is priced by, and how many replicas one instance of it holds."""

    offer: Offer
    replicas_per_instance: int

    @property
    def usd_per_hour(self) -> float:
        """USD per hour of one replica, all of the instance in use."""
        return self.offer.price_usd_per_hour / self.replicas_per_instance


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedGrid:
    """What one accelerator sustains by request size, and what a replica on it costs."""

    profile: Profile
    price: ReplicaPrice
    grid: RateGrid

    def requests_per_usd(self, row: int, column: int) -> float | Skipped:
        """Requests per USD of a cell `[input size][output size]`."""
        cell = self.grid.cells[row][column]
        if isinstance(cell, Capacity):
            return requests_per_usd(cell.request_rate_rps, self.price.usd_per_hour)
        return cell


class Better(StrEnum):
    """Which of two gives more requests per dollar; `UNKNOWN` where a profile does not cover the size."""

    FIRST = "first"
    SECOND = "second"
    EQUAL = "equal"
    NEITHER = "neither"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two accelerators at the same request sizes and targets: both grids have the same axes."""

    slo: Slo
    first: PricedGrid
    second: PricedGrid

    def advantage(self, row: int, column: int) -> float | None:
        """ln(first's requests per USD ÷ second's): above 0 the first is better; None unless both serve the size."""
        found = (self.first.requests_per_usd(row, column), self.second.requests_per_usd(row, column))
        if isinstance(found[0], Skipped) or isinstance(found[1], Skipped):
            return None
        return math.log(found[0] / found[1])

    def better(self, row: int, column: int) -> Better:
        """Who serves a size for less; a side that cannot serve it loses."""
        cells = [side.grid.cells[row][column] for side in (self.first, self.second)]
        if any(isinstance(cell, Skipped) and cell.reason is SkipReason.OUTSIDE_PROFILE for cell in cells):
            return Better.UNKNOWN
        advantage = self.advantage(row, column)
        if advantage is not None:
            return Better.EQUAL if advantage == 0 else Better.FIRST if advantage > 0 else Better.SECOND
        served = [isinstance(cell, Capacity) for cell in cells]
        if not any(served):
            return Better.NEITHER
        return Better.FIRST if served[0] else Better.SECOND
