"""BurstGPT: seconds from the log's midnight; failed requests have 0 response tokens."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import TimeUnit
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="BurstGPT",
    input="Request tokens",
    output="Response tokens",
    time="Timestamp",
    time_unit=TimeUnit.S,
    model="Model",
)
