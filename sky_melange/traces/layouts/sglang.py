"""SGLang's `--export-metrics-to-file`: one JSON object a request."""

from __future__ import annotations

from typing import Final

from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="SGLang request metrics",
    input="prompt_tokens",
    output="completion_tokens",
    time="request_received_ts",
    id="id",
    marks=("request_parameters",),
)
