"""Helicone's export of requests."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import Rejection
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="Helicone",
    input="prompt_tokens",
    output="completion_tokens",
    time="request_created_at",
    model="request_model",
    id="request_id",
    asides=((Rejection.FAILED, "response_status >= 400"),),
    marks=("response_status",),
)
