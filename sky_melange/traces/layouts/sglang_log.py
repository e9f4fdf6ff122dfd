"""SGLang's `--log-requests --log-requests-format json`: the events that finish a request."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import Rejection
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="SGLang request log",
    input="out.meta_info.prompt_tokens",
    output="out.meta_info.completion_tokens",
    time="timestamp",
    id="rid",
    asides=((Rejection.NOT_A_REQUEST, "event <> 'request.finished' OR rid LIKE '%HEALTH_CHECK%'"),),
    marks=("event",),
)
