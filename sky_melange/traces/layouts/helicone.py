"""Helicone's export of requests. What its cache answers refers to the request that the answer was made for."""

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
    asides=(
        (Rejection.FAILED, "response_status >= 400"),
        (
            Rejection.FROM_CACHE,
            "cache_reference_id IS NOT NULL AND NOT cache_reference_id IN ('', '00000000-0000-0000-0000-000000000000')",
        ),
    ),
    marks=("response_status",),
)
