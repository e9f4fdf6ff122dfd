"""vidur: seconds from the log's start, or no times."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import TimeUnit
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="vidur",
    input="num_prefill_tokens",
    output="num_decode_tokens",
    time="arrived_at",
    time_unit=TimeUnit.S,
)
