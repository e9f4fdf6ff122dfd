"""LiteLLM's table of spend logs, or what its API gives."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import Rejection
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="LiteLLM spend log",
    input="prompt_tokens",
    output="completion_tokens",
    time="startTime",
    model="model",
    id="request_id",
    asides=(
        (Rejection.NO_GENERATION, "call_type LIKE '%embedding%' OR call_type LIKE '%rerank%'"),
        (Rejection.NO_GENERATION, "call_type LIKE '%moderation%' OR call_type LIKE '%transcription%'"),
        (Rejection.FAILED, "status = 'failure'"),
        (Rejection.FROM_CACHE, "cache_hit = TRUE"),
    ),
)
