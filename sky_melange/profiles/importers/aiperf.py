"""Summaries of NVIDIA's AIPerf (`profile_export_aiperf.json`), one run a file. Tried with AIPerf 0.13.0.

The layout is `JsonExportData` of aiperf/common/models/export_models.py (github.com/ai-dynamo/aiperf), schema 1.0 to
1.4: metrics as {unit, avg, p50 …} by tag; the load in `input_config.phases`, in older versions in
`input_config.loadgen`.

Summaries of NVIDIA's GenAI-Perf (`…_genai_perf.json`), one run a file.

The layout is that of genai-perf 0.0.16, genai_perf/export_data/json_exporter.py
(github.com/triton-inference-server/perf_analyzer): AIPerf's metrics without its versions; the load in
`input_config.perf_analyzer.stimulus`, in older versions in `input_config.concurrency`. It counts no failures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.profiles.importers.reading import Fields, Mistakes, compact, nested, quote, read_json
from sky_melange.profiles.importers.request import Imported, ImportRequest
from sky_melange.profiles.importers.runs import Findings, Run, import_runs

_SCHEMA: Final = "1"
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}
_ONES: Final = {"requests": 1.0, "count": 1.0, "tokens": 1.0, "requests/sec": 1.0, "": 1.0}
_INCOMPLETE: Final = {"was_cancelled": True, "is_complete": False}


def import_aiperf(request: ImportRequest) -> Imported:
    """Means over the successful requests; AIPerf leaves its own warm-up out. Raises InputError with file and field."""
    findings = Findings()
    ramped: list[str] = []
    for path in request.paths:
        content = summary(path, findings.mistakes, tool="AIPerf")
        if content is None:
            continue
        if not isinstance(content.get("aiperf_version"), str):
            findings.mistakes.add(str(path), "is missing; GenAI-Perf's files are `genai-perf`", key="aiperf_version")
        version = content.get("schema_version")
        if not isinstance(version, str) or version.partition(".")[0] != _SCHEMA:
            said = f"found {quote(version)}, of AIPerf {quote(content.get('aiperf_version'))}"
            findings.mistakes.add(str(path), f"want {_SCHEMA}.x, {said}: another layout", key="schema_version")
            continue
        config = nested(content, "input_config")
        run = metrics_run(content, str(path), _concurrency(config), findings.mistakes)
        if run is not None:
            stopped = [name for name, value in _INCOMPLETE.items() if content.get(name) is value]
            reason = f"AIPerf stopped before the end ({', '.join(stopped)})" if stopped else None
            findings.runs.append(replace(run, unusable=several_servers(config) or reason))
        for model in _models(config):
            findings.says("model", model)
        findings.says("date", date_of(content.get("start_time")))
        findings.others.append(rest(content))
        if _ramped(config):
            ramped.append(str(path))
    found = import_runs(request, findings, source="AIPerf", kind=ProfileKind.MEASURED)
    return (
        found.warned(f"still warming up within the figures (a ramp of concurrency): {', '.join(ramped)}")
        if ramped
        else found
    )


def summary(path: Path, mistakes: Mistakes, *, tool: str) -> dict[str, Any] | None:
    """The object in the file; None, with the mistake noted, when it is not a summary of one run."""
    content = read_json(path)
    if isinstance(content, dict) and isinstance(content.get("request_throughput"), dict):
        return content
    message = f"want the summary of one run of {tool} (an object with request_throughput)"
    mistakes.add(str(path), f"{message}, found {quote(content)}; one run a file", key="request_throughput")
    return None


def metrics_run(content: Mapping[str, Any], source: str, concurrency: float | None, mistakes: Mistakes) -> Run | None:
    """The run of AIPerf's and GenAI-Perf's metrics; None, with the mistakes noted, when one lacks."""
    rate_rps = _average(content, "request_throughput", _ONES, source, mistakes)
    inputs = _average(content, "input_sequence_length", _ONES, source, mistakes)
    outputs = _average(content, "output_sequence_length", _ONES, source, mistakes)
    ttft_s = _average(content, "time_to_first_token", _SECONDS, source, mistakes)
    tpot_s = _average(content, "inter_token_latency", _SECONDS, source, mistakes)
    median_s = _average(content, "time_to_first_token", _SECONDS, source, mistakes, statistic="p50", required=False)
    completed = _average(content, "request_count", _ONES, source, mistakes, required=False)
    failed = _average(content, "error_request_count", _ONES, source, mistakes, required=False)
    if failed is None:
        failed = _errors(content.get("error_summary"))
    if rate_rps is None or inputs is None or outputs is None or ttft_s is None or tpot_s is None:
        return None
    return Run(
        source=source,
        input_tokens=inputs,
        output_tokens=outputs,
        concurrency=concurrency,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        request_rate_rps=rate_rps,
        served=None if completed is None else int(completed),
        failed=None if failed is None else int(failed),
        ttft_median_s=median_s,
    )


def import_genai_perf(request: ImportRequest) -> Imported:
    """Means over the run. Raises InputError with file and field."""
    findings = Findings()
    for path in request.paths:
        content = summary(path, findings.mistakes, tool="GenAI-Perf")
        if content is None:
            continue
        if "aiperf_version" in content:
            findings.mistakes.add(str(path), "is AIPerf's: import it as `aiperf`", key="aiperf_version")
            continue
        config = nested(content, "input_config")
        run = metrics_run(content, str(path), _concurrency_of_genai_perf(config), findings.mistakes)
        if run is not None:
            findings.runs.append(replace(run, unusable=several_servers(config)))
        for name in ("model_names", "model"):
            models = config.get(name)
            for model in models if isinstance(models, list) else []:
                findings.says("model", model if isinstance(model, str) else None)
        findings.others.append(rest(content))
    return import_runs(request, findings, source="GenAI-Perf", kind=ProfileKind.MEASURED)


def _errors(summary: Any) -> float | None:
    """The requests in a list of errors, which older versions have without a count of all."""
    if not isinstance(summary, list):
        return None
    counts = [positive(error.get("count")) for error in summary if isinstance(error, dict)]
    return sum(count or 1.0 for count in counts)


def _average(  # noqa: PLR0913
    content: Mapping[str, Any],
    name: str,
    units: Mapping[str, float],
    source: str,
    mistakes: Mistakes,
    *,
    statistic: str = "avg",
    required: bool = True,
) -> float | None:
    """A statistic of a metric in base units; None, with the mistake noted, when it is not one."""
    metric = content.get(name)
    if metric is None:
        if required:
            mistakes.add(source, "is missing; were the answers streamed (--streaming)?", key=name)
        return None
    if not isinstance(metric, dict):
        mistakes.add(source, f"want an object with unit and {statistic}, found {quote(metric)}", key=name)
        return None
    unit = metric.get("unit")
    if not isinstance(unit, str) or unit not in units:
        known = ", ".join(filter(None, units))
        mistakes.add(source, f"want one of {known}, found {quote(unit)}", key=f"{name}.unit")
        return None
    fields = Fields({f"{name}.{statistic}": metric.get(statistic)}, mistakes, source)
    value = fields.number(f"{name}.{statistic}", required=required, allow_least=not required)
    return None if value is None else value * units[unit]


def _concurrency(config: Mapping[str, Any]) -> float | None:
    """The concurrency that the measured phase held; None where it held a request rate."""
    phases = config.get("phases")
    kept = [
        phase
        for phase in (phases if isinstance(phases, list) else [])
        if isinstance(phase, dict) and phase.get("kind") != "warmup"
    ]
    if not kept:
        kept = [dict(nested(config, "loadgen"))]
    last = kept[-1]
    if last.get("type", "concurrency") != "concurrency" or last.get("request_rate") is not None:
        return None
    return positive(last.get("concurrency"))


def _ramped(config: Mapping[str, Any]) -> bool:
    """Whether requests began one by one within what was measured."""
    phases = config.get("phases")
    measured = [phase for phase in phases if isinstance(phase, dict)] if isinstance(phases, list) else []
    return any(
        positive(value)
        for part in (nested(config, "loadgen"), *(each for each in measured if each.get("kind") != "warmup"))
        for name, value in part.items()
        if "ramp" in name and "warmup" not in name
    )


def several_servers(config: Mapping[str, Any]) -> str | None:
    """Why the run is of more than one server; None where it is not."""
    endpoint = nested(config, "endpoint")
    urls = {
        url.strip()
        for given in (endpoint.get("urls"), endpoint.get("url"), config.get("url"))
        for text in (given if isinstance(given, list) else [given])
        if isinstance(text, str)
        for url in text.split(",")
        if url.strip()
    }
    if len(urls) < 2:
        return None
    return f"{len(urls)} servers answered together ({', '.join(sorted(urls))[:100]}): not one replica"


def _models(config: Mapping[str, Any]) -> list[str]:
    items = nested(config, "models").get("items")
    names = [item.get("name") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    older = nested(config, "endpoint").get("model_names")
    names += older if isinstance(older, list) else []
    return [name for name in names if isinstance(name, str)]


def rest(content: Mapping[str, Any]) -> dict[str, Any]:
    """What else a summary says: the mean of every other metric, versions and times. Never its command or its key."""
    kept = ("schema_version", "aiperf_version", "benchmark_id", "start_time", "end_time", "error_summary")
    means = {
        name: compact(metric["avg"])
        for name, metric in sorted(content.items())
        if isinstance(metric, dict) and "avg" in metric
    }
    return {"means": means} | {name: compact(content[name]) for name in kept if name in content}


def positive(value: Any) -> float | None:
    """A number above 0; None otherwise."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    return float(value) if is_number else None


def date_of(value: Any) -> str | None:
    """`2026-11-28T16:40:55.566409` -> `2026-11-28`; None when it is not such a time."""
    return value[:10] if isinstance(value, str) and value[10:11] == "T" else None


def _concurrency_of_genai_perf(config: Mapping[str, Any]) -> float | None:
    """The concurrency that was held; None where a request rate was."""
    stimulus = nested(config, "perf_analyzer", "stimulus")
    return positive(stimulus.get("concurrency")) or positive(config.get("concurrency"))
