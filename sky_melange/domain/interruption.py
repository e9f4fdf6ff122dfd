"""How often a cloud takes spot machines back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionBand:
    """Of the spot machines of a type in a region, between these fractions were taken back within a month.

    As the cloud itself states it, in bands; `fetched_at` is the date of that statement.
    """

    least_fraction: float
    most_fraction: float
    fetched_at: str
