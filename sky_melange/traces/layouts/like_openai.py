"""Columns as OpenAI names sizes, whoever writes them, with times in whatever unit."""

from __future__ import annotations

from typing import Final

from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="columns as OpenAI names them",
    input="input_tokens",
    output="output_tokens",
    time="timestamp",
    model="model",
)
