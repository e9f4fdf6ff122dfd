"""LiteLLM's table of spend logs, or what its API gives."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import Rejection
from sky_melange.traces.layouts.layout import Layout

_NO_GENERATION: Final = (
    *("embedding", "rerank", "moderation", "transcription", "speech", "realtime", "image", "video", "ocr"),
    *("batch", "file", "fine_tuning", "vector_store", "search", "mcp"),
)
"""Parts of the names of calls that no server of texts generates for, or that only ask about others."""

LAYOUT: Final = Layout(
    name="LiteLLM spend log",
    input="prompt_tokens",
    output="completion_tokens",
    time="startTime",
    model="model",
    id="request_id",
    asides=(
        (Rejection.NO_GENERATION, " OR ".join(f"call_type LIKE '%{part}%'" for part in _NO_GENERATION)),
        (Rejection.FAILED, "status = 'failure'"),
        (Rejection.FROM_CACHE, "cache_hit = TRUE"),
    ),
)
