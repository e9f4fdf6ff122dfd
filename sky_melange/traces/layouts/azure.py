"""Azure's LLM inference traces of 2023 to 2025: dates, UTC."""

from __future__ import annotations

from typing import Final

from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="Azure LLM inference trace",
    input="ContextTokens",
    output="GeneratedTokens",
    time="TIMESTAMP",
)
