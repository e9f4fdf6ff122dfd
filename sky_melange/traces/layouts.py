"""Log formats that are recognised by their columns: a row of LAYOUTS each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.trace import NamedColumns, Rejection, TimeUnit


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout(NamedColumns):
    """The columns of a known format, all of which a log must have to be of it.

    `time_unit` is what its writers use for numbers (AUTO: since 1970, in any unit). `asides` are rows that are not the
    traffic: why, and which (in the language of traces/where.py); each holds where the log has the columns that it
    names. `parent`: the id of the row that it is a step of. `marks` are further columns that tell formats apart.
    `has_details`: sizes lie in an object, whose keys with `input` in them add up to the input unless its `total` says
    that the plain ones are all, and so the output. `is_open`: nobody knows who wrote the log.
    """

    name: str
    time: str
    parent: str | None = None
    asides: tuple[tuple[Rejection, str], ...] = ()
    marks: tuple[str, ...] = ()
    has_details: bool = False
    is_open: bool = False


_NO_GENERATION: Final = (
    *("embedding", "rerank", "moderation", "transcription", "speech", "realtime", "image", "video", "ocr"),
    *("batch", "file", "fine_tuning", "vector_store", "search", "mcp"),
)
"""Parts of the names of calls that no server of texts generates for, or that only ask about others."""
_LANGFUSE_ASIDES: Final = (
    (Rejection.NOT_A_REQUEST, "type IS NOT NULL AND type <> 'GENERATION'"),
    (Rejection.FAILED, "level = 'ERROR'"),
)

_ROWS: Final = (
    # Azure's LLM inference traces of 2023 to 2025: dates, UTC.
    Layout(name="Azure LLM inference trace", input="ContextTokens", output="GeneratedTokens", time="TIMESTAMP"),
    # BurstGPT: seconds from the log's midnight; failed requests have 0 response tokens.
    Layout(
        name="BurstGPT",
        input="Request tokens",
        output="Response tokens",
        time="Timestamp",
        time_unit=TimeUnit.S,
        model="Model",
    ),
    # Qwen-Bailian: Mooncake's columns, in seconds.
    Layout(
        name="Qwen-Bailian",
        input="input_length",
        output="output_length",
        time="timestamp",
        time_unit=TimeUnit.S,
        marks=("chat_id", "turn"),
        blocks="hash_ids",
        block_tokens=16,
    ),
    # Mooncake: milliseconds from the log's start.
    Layout(
        name="Mooncake",
        input="input_length",
        output="output_length",
        time="timestamp",
        time_unit=TimeUnit.MS,
        marks=("hash_ids",),
        blocks="hash_ids",
        block_tokens=512,
    ),
    # Columns as Mooncake has them, whoever writes them, in whatever unit.
    Layout(
        name="columns as Mooncake has them",
        is_open=True,
        input="input_length",
        output="output_length",
        time="timestamp",
    ),
    # Helicone's export of requests. What its cache answers refers to the request that the answer was made for.
    Layout(
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
                "cache_reference_id IS NOT NULL "
                "AND NOT cache_reference_id IN ('', '00000000-0000-0000-0000-000000000000')",
            ),
        ),
        marks=("response_status",),
    ),
    # SGLang's `--export-metrics-to-file`: one JSON object a request.
    Layout(
        name="SGLang request metrics",
        input="prompt_tokens",
        output="completion_tokens",
        time="request_received_ts",
        id="id",
        marks=("request_parameters",),
    ),
    # LiteLLM's table of spend logs, or what its API gives.
    Layout(
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
    ),
    # SGLang's `--log-requests --log-requests-format json`: the events that finish a request.
    Layout(
        name="SGLang request log",
        input="out.meta_info.prompt_tokens",
        output="out.meta_info.completion_tokens",
        time="timestamp",
        id="rid",
        asides=((Rejection.NOT_A_REQUEST, "event <> 'request.finished' OR rid LIKE '%HEALTH_CHECK%'"),),
        marks=("event",),
    ),
    # SGLang's `--log-requests` as text: the lines that finish a request, which traces/duckdb_files.py takes apart.
    Layout(
        name="SGLang text log",
        input="prompt_tokens",
        output="completion_tokens",
        time="logged_at",
        id="rid",
        asides=((Rejection.NOT_A_REQUEST, "rid LIKE 'HEALTH_CHECK%'"),),
    ),
    # Langfuse's export of observations, JSON: sizes inside an object.
    Layout(
        name="Langfuse",
        input="usage_details.input",
        output="usage_details.output",
        time="start_time",
        model="provided_model_name",
        id="id",
        asides=_LANGFUSE_ASIDES,
        has_details=True,
    ),
    # Langfuse's API, and its CSV, which has the object as text.
    Layout(
        name="Langfuse API",
        input="usageDetails.input",
        output="usageDetails.output",
        time="startTime",
        model="model",
        id="id",
        asides=_LANGFUSE_ASIDES,
        has_details=True,
    ),
    # OpenTelemetry spans by the conventions for generative AI.
    Layout(
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
    ),
    # vLLM's own spans (`--otlp-traces-endpoint`).
    Layout(
        name="vLLM spans",
        input="gen_ai.usage.prompt_tokens",
        output="gen_ai.usage.completion_tokens",
        time="startTimeUnixNano",
        model="gen_ai.response.model",
        id="spanId",
        parent="parentSpanId",
        asides=((Rejection.NOT_A_REQUEST, "gen_ai.usage.prompt_tokens IS NULL"),),
    ),
    # What ServeGen generates: seconds from the start.
    Layout(
        name="ServeGen",
        input="input_tokens",
        output="output_tokens",
        time="timestamp",
        time_unit=TimeUnit.S,
        marks=("request_id",),
    ),
    # Columns as OpenAI names sizes, whoever writes them, with times in whatever unit.
    Layout(
        name="columns as OpenAI names them",
        is_open=True,
        input="input_tokens",
        output="output_tokens",
        time="timestamp",
        model="model",
    ),
    # vidur: seconds from the log's start, or no times.
    Layout(
        name="vidur", input="num_prefill_tokens", output="num_decode_tokens", time="arrived_at", time_unit=TimeUnit.S
    ),
)

LAYOUTS: Final[Mapping[str, Layout]] = {layout.name: layout for layout in _ROWS}
"""The first that fits is taken."""
