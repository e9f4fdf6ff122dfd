"""Traffic for a small fleet, and one cache of compiled code for all tests of a process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sky_melange.domain.buckets import TokenGrid, Traffic
from sky_melange.simulation import Fleet

CACHE = Path(os.environ["SKY_MELANGE_CACHE_DIR"])
FleetFactory = Callable[..., Fleet]

TRAFFIC = Traffic(
    grid=TokenGrid(input_edges=(100, 1000, 4000), output_edges=(25, 100, 500)),
    rates_rps=((1.0, 1.0, 0.0), (0.0, 2.0, 2.0), (0.0, 1.0, 1.0)),
    origin="made up",
)
