"""Mooncake: milliseconds from the log's start."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import TimeUnit
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="Mooncake",
    input="input_length",
    output="output_length",
    time="timestamp",
    time_unit=TimeUnit.MS,
    marks=("hash_ids",),
    blocks="hash_ids",
    block_tokens=512,
)
