"""The machine's part of the question of prices, for commands; see `prices.site`."""

from __future__ import annotations

from sky_melange.prices.site import price_site, utc_now

__all__ = ["price_site", "utc_now"]
