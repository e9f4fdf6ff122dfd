"""Langfuse's export of observations, JSON: sizes inside an object."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import Rejection
from sky_melange.traces.layouts.layout import Layout

ASIDES: Final = (
    (Rejection.NOT_A_REQUEST, "type IS NOT NULL AND type <> 'GENERATION'"),
    (Rejection.FAILED, "level = 'ERROR'"),
)

LAYOUT: Final = Layout(
    name="Langfuse",
    input="usage_details.input",
    output="usage_details.output",
    time="start_time",
    model="provided_model_name",
    id="id",
    asides=ASIDES,
    has_details=True,
)
