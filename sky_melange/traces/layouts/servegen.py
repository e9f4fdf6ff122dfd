"""What ServeGen generates: seconds from the start."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import TimeUnit
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="ServeGen",
    input="input_tokens",
    output="output_tokens",
    time="timestamp",
    time_unit=TimeUnit.S,
    marks=("request_id",),
)
