"""The small machines that a launch needs beside its replicas, as SkyPilot itself would choose them."""

from __future__ import annotations

import csv
from functools import cache

from sky_melange.resources import data_path


@cache
def overhead_types(cloud: str) -> frozenset[str]:
    """Machine types without GPU that SkyPilot picks for a controller or a router on this cloud, in any region.

    The cheapest of them in a region with enough vCPUs and memory is SkyPilot's own choice there.
    """
    path = data_path("catalogs", "prices", "overhead_types.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return frozenset(row["instance_type"] for row in csv.DictReader(file) if row["cloud"] == cloud)
