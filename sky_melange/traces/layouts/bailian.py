"""Qwen-Bailian: Mooncake's columns, in seconds."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import TimeUnit
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="Qwen-Bailian",
    input="input_length",
    output="output_length",
    time="timestamp",
    time_unit=TimeUnit.S,
    marks=("chat_id", "turn"),
    blocks="hash_ids",
    block_tokens=16,
)
