"""Langfuse's API, and its CSV, which has the object as text."""

from __future__ import annotations

from typing import Final

from sky_melange.traces.layouts.langfuse import ASIDES
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="Langfuse API",
    input="usageDetails.input",
    output="usageDetails.output",
    time="startTime",
    model="model",
    id="id",
    asides=ASIDES,
    has_details=True,
)
