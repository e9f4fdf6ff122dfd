"""Facts about clouds that prices depend on: which ones SkyPilot launches on, and how they quote prices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class AuctionReserve(NamedTuple):
    """The highest reserve price of one GPU that a cloud has listed, and the sentence that says what it is."""

    usd_per_gpu_hour: float
    reason: str


LAUNCHABLE_CLOUDS: Final[tuple[str, ...]] = (
    "aws",
    "azure",
    "cudo",
    "do",
    "fluidstack",
    "gcp",
    "hyperbolic",
    "ibm",
    "lambda",
    "mithril",
    "nebius",
    "oci",
    "paperspace",
    "runpod",
    "scp",
    "seeweb",
    "vast",
    "verda",
    "yotta",
)
"""Clouds of SkyPilot 0.14.1 whose prices come from a catalog file, by SkyPilot's lower-case names.

Left out: primeintellect (no price list at hand), shadeform (its optimizer fails there, whatever is asked) and
kubernetes, slurm, ssh, vsphere (machines already paid for).
"""

USUAL_CLOUDS: Final[tuple[str, ...]] = ("aws", "azure", "gcp", "lambda")
"""Compared where a workload names no cloud and SkyPilot's own list is not at hand: the large ones and Lambda, and no
marketplace, whose machines change by the hour.
"""

ZONES_NOT_PINNABLE: Final[frozenset[str]] = frozenset({"aws"})
"""Clouds whose catalogs name zones by IDs that are the same in every account (`use1-az2`), while a launch can only ask
for the account's own names (`us-east-1a`). SkyPilot then starts with the region's cheapest zone.
"""

ZERO_SPOT_MEANS_NONE: Final[frozenset[str]] = frozenset({"vast"})
"""Clouds whose catalog writes 0.00 for "no spot price". Elsewhere a spot price of 0 is a fault worth reporting."""

AUCTION_RESERVES: Final[Mapping[str, AuctionReserve]] = {
    "mithril": AuctionReserve(
        usd_per_gpu_hour=1.0,
        reason="Mithril lists the reserve price of its auction, below which no bid is taken, not a market price",
    ),
}
"""Clouds whose catalogs have listed the floor of an auction: up to this much for one GPU is such a floor.

SkyPilot 0.14.1 still writes `minimum_price_cents` into Mithril's catalog: 8.00 for 8 × H100 that cost 28.66.
"""

HOME_REGIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "aws": ("us-east-1", "us-east-2", "us-west-2"),
    "azure": ("eastus", "eastus2", "westus2", "westus3"),
    "gcp": ("us-central1", "us-east1", "us-west1", "us-east4"),
}
"""Regions where a cloud with regional prices is at or near its cheapest: the yardstick for its other regions."""
