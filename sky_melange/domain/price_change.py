"""What a price did between two refreshes."""

from __future__ import annotations

from dataclasses import dataclass

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
