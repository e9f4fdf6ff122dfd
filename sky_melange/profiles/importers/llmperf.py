"""Summaries of LLMPerf (`…_summary.json` of token_benchmark_ray.py), one run a file.

The layout is that of github.com/ray-project/llmperf, src/llmperf/utils.py (`LLMPerfResults`, version 2023-08-31). Its
`inter_token_latency_s` is request latency ÷ output tokens, first token included, so our TPOT is
(latency − TTFT) ÷ (O − 1).
"""

from __future__ import annotations

from typing import Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.profiles.importers.reading import Fields, epoch_date, quote, read_json
from sky_melange.profiles.importers.request import Imported, ImportRequest
from sky_melange.profiles.importers.runs import Findings, Run, import_runs

_VERSION: Final = "2023-08-31"
_SECONDS_PER_MINUTE: Final = 60


def import_llmperf(request: ImportRequest) -> Imported:
    """Means over the successful requests. Raises InputError with file and field."""
    findings = Findings()
    for path in request.paths:
        content = read_json(path)
        if not isinstance(content, dict):
            message = f"want a summary of LLMPerf (an object), found {quote(content)}"
            findings.mistakes.add(str(path), f"{message}; individual responses are not read")
            continue
        fields = Fields(content, findings.mistakes, str(path))
        version = fields.text("version", required=True)
        if version is not None and version != _VERSION:
            fields.mistake("version", f"want {_VERSION!r}, found {quote(version)}: another layout")
            continue
        run = _run(fields, str(path))
        if run is not None:
            findings.runs.append(run)
        findings.says("model", fields.text("model"))
        findings.says("date", epoch_date(fields.number("timestamp", required=False)))
        findings.others.append(fields.rest())
    return import_runs(request, findings, source="LLMPerf", kind=ProfileKind.MEASURED)


def _run(fields: Fields, source: str) -> Run | None:
    inputs = fields.positive("results_number_input_tokens_mean")
    outputs = fields.positive("results_number_output_tokens_mean")
    latency_s = fields.positive("results_end_to_end_latency_s_mean")
    ttft_s = fields.positive("results_ttft_s_mean")
    median_s = fields.positive("results_ttft_s_quantiles_p50", required=False)
    concurrency = fields.count("num_concurrent_requests")
    completed = fields.count("results_num_completed_requests")
    failed = fields.count("results_number_errors", least=0)
    share = fields.number("results_error_rate", required=False)
    if share is not None and completed is not None and 0 < share < 1:
        failed = max(failed or 0, round(completed * share / (1 - share)))
    per_minute = fields.positive("results_num_completed_requests_per_min")
    if None in (inputs, outputs, latency_s, ttft_s, concurrency, completed, failed, per_minute):
        return None
    if (outputs or 0) <= 1 or (latency_s or 0) <= (ttft_s or 0):
        fields.mistake("results_end_to_end_latency_s_mean", "leaves no time per output token: were answers streamed?")
        return None
    return Run(
        source=source,
        input_tokens=inputs or 0,
        output_tokens=outputs or 0,
        concurrency=concurrency,
        ttft_s=ttft_s or 0,
        tpot_s=((latency_s or 0) - (ttft_s or 0)) / ((outputs or 0) - 1),
        request_rate_rps=(per_minute or 0) / _SECONDS_PER_MINUTE,
        served=completed,
        failed=failed,
        ttft_median_s=median_s,
    )
