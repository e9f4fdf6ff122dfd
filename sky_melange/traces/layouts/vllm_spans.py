"""vLLM's own spans (`--otlp-traces-endpoint`)."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import Rejection
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="vLLM spans",
    input="gen_ai.usage.prompt_tokens",
    output="gen_ai.usage.completion_tokens",
    time="startTimeUnixNano",
    model="gen_ai.response.model",
    id="spanId",
    parent="parentSpanId",
    asides=((Rejection.NOT_A_REQUEST, "gen_ai.usage.prompt_tokens IS NULL"),),
)
