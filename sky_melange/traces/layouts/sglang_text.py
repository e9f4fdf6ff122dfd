"""SGLang's `--log-requests` as text: the lines that finish a request, which traces/duckdb_files.py takes apart."""

from __future__ import annotations

from typing import Final

from sky_melange.domain.trace import Rejection
from sky_melange.traces.layouts.layout import Layout

LAYOUT: Final = Layout(
    name="SGLang text log",
    input="prompt_tokens",
    output="completion_tokens",
    time="logged_at",
    id="rid",
    asides=((Rejection.NOT_A_REQUEST, "rid LIKE 'HEALTH_CHECK%'"),),
)
