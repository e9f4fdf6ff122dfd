"""Columns as Mooncake has them, whoever writes them, in whatever unit."""

from __future__ import annotations

from typing import Final

from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="columns as Mooncake has them",
    input="input_length",
    output="output_length",
    time="timestamp",
)
