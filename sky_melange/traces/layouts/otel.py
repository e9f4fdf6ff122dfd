"""OpenTelemetry spans by the conventions for generative AI."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import Rejection
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="OpenTelemetry GenAI spans",
    input="gen_ai.usage.input_tokens",
    output="gen_ai.usage.output_tokens",
    time="startTimeUnixNano",
    model="gen_ai.request.model",
    id="spanId",
    parent="parentSpanId",
    asides=(
        (Rejection.NOT_A_REQUEST, "gen_ai.usage.input_tokens IS NULL"),
        (Rejection.NOT_A_REQUEST, "gen_ai.operation.name IN ('invoke_agent', 'create_agent', 'execute_tool')"),
        (Rejection.NO_GENERATION, "gen_ai.operation.name = 'embeddings'"),
        (Rejection.FAILED, "status.code = '2' OR status.code = 'STATUS_CODE_ERROR'"),
    ),
)
