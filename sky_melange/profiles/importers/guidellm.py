"""Reports of GuideLLM (`--output kind=json`): one report of several runs at one request size. Tried with 0.8.1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.units import ms_to_s
from sky_melange.profiles.importers.reading import Mistakes, compact, epoch_date, nested, quote, read_json
from sky_melange.profiles.importers.request import Imported, ImportRequest
from sky_melange.profiles.importers.runs import Findings, Run, import_runs

_FIGURES: Final = {
    "prompt_token_count": "input tokens",
    "output_token_count": "output tokens",
    "time_to_first_token_ms": "TTFT",
    "inter_token_latency_ms": "TPOT",
    "requests_per_second": "request rate",
}
"""What is read of each run. GuideLLM's `time_per_output_token_ms` counts the first token in, so it is not our TPOT."""

_VERSIONS: Final = (1, 2)
"""Of the report (`metadata.version`)."""

_COUNTS: Final = (
    ("config", "strategy", "streams"),
    ("args", "strategy", "streams"),
    ("metrics", "request_totals", "errored"),
)


def import_guidellm(request: ImportRequest) -> Imported:
    """Every run of every report, means over the successful requests. Raises InputError with file and field."""
    findings = Findings()
    mistakes = findings.mistakes
    ramped: list[str] = []
    for path in request.paths:
        report = read_json(path)
        benchmarks = report.get("benchmarks") if isinstance(report, dict) else None
        if not isinstance(benchmarks, list) or not benchmarks:
            mistakes.add(str(path), "want a list of runs; is it a GuideLLM report?", key="benchmarks")
            continue
        version = nested(report, "metadata").get("version")
        if version is not None and version not in _VERSIONS:
            said = f"found {quote(version)}, of GuideLLM {quote(nested(report, 'metadata').get('guidellm_version'))}"
            mistakes.add(str(path), f"want one of {_VERSIONS}, {said}: another layout", key="metadata.version")
            continue
        for index, benchmark in enumerate(benchmarks):
            place = f"benchmarks[{index}]"
            if not isinstance(benchmark, dict):
                mistakes.add(str(path), "want an object", key=place)
                continue
            run = _run(benchmark, str(path), place, mistakes)
            if run is not None:
                findings.runs.append(run)
                if _ramped(benchmark):
                    ramped.append(run.source)
            _check_counts(benchmark, str(path), place, mistakes)
            model = nested(benchmark, "config", "backend").get("model")
            findings.says("model", model if isinstance(model, str) else None)
            findings.says("date", epoch_date(_number(benchmark.get("start_time"))))
            findings.others.append(_rest(benchmark))
        findings.others.append({"report": compact({"metadata": report.get("metadata")})})
    found = import_runs(request, findings, source="GuideLLM", kind=ProfileKind.MEASURED)
    return (
        found.warned(f"still warming up within the figures (rampup without warmup): {', '.join(ramped)}")
        if ramped
        else found
    )


def _run(benchmark: Mapping[str, Any], source: str, place: str, mistakes: Mistakes) -> Run | None:
    metrics = nested(benchmark, "metrics")
    means: dict[str, float] = {}
    for name, meaning in _FIGURES.items():
        key = f"{place}.metrics.{name}.successful.mean"
        figure = nested(metrics, name, "successful")
        value = _number(figure.get("mean"))
        if value is None or value <= 0:
            said = "is missing" if "mean" not in figure else f"is {figure.get('mean')!r}"
            mistakes.add(source, f"{said}: no {meaning}; did any request succeed, and was it streamed?", key=key)
        else:
            means[name] = value
    if len(means) < len(_FIGURES):
        return None
    median_ms = _number(nested(metrics, "time_to_first_token_ms", "successful").get("median"))
    return Run(
        source=f"{source}: {place}",
        input_tokens=means["prompt_token_count"],
        output_tokens=means["output_token_count"],
        concurrency=_streams(benchmark),
        ttft_s=ms_to_s(means["time_to_first_token_ms"]),
        tpot_s=ms_to_s(means["inter_token_latency_ms"]),
        request_rate_rps=means["requests_per_second"],
        served=_count(benchmark, "successful"),
        failed=_count(benchmark, "errored"),
        ttft_median_s=None if median_ms is None else ms_to_s(median_ms),
    )


def _streams(benchmark: Mapping[str, Any]) -> float | None:
    """The concurrency that was held; None where a request rate was, or none."""
    strategy = nested(benchmark, "config", "strategy") or nested(benchmark, "args", "strategy")
    if strategy.get("type_") == "synchronous":
        return 1.0
    return _number(strategy.get("streams")) if strategy.get("type_") == "concurrent" else None


def _ramped(benchmark: Mapping[str, Any]) -> bool:
    """Whether requests began one by one and nothing of that was left out of the figures."""
    config = nested(benchmark, "config")
    warmup = nested(config, "profile", "warmup")
    left_out = any(_number(warmup.get(name)) for name in ("percent", "value"))
    return bool(_number(nested(config, "strategy").get("rampup_duration"))) and not left_out


def _count(benchmark: Mapping[str, Any], name: str) -> int | None:
    value = _number(nested(benchmark, "metrics", "request_totals").get(name))
    return None if value is None else int(value)


def _rest(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    """What else a run says: its settings, and the mean of every other metric (the requests one by one are left out)."""
    metrics = nested(benchmark, "metrics")
    means = {
        name: compact(figure.get("successful", {}).get("mean"))
        for name, figure in sorted(metrics.items())
        if name not in _FIGURES and isinstance(figure, dict) and isinstance(figure.get("successful"), dict)
    }
    kept = {
        name: compact(value)
        for name, value in sorted(benchmark.items())
        if name not in ("metrics", "requests", "config", "scheduler_state", "scheduler_metrics")
    }
    config = nested(benchmark, "config")
    settings = {name: compact(config[name]) for name in ("strategy", "constraints", "profile") if name in config}
    return {"means": means, "request_totals": compact(metrics.get("request_totals")), **settings, **kept}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _check_counts(benchmark: Mapping[str, Any], source: str, place: str, mistakes: Mistakes) -> None:
    for path in _COUNTS:
        value = nested(benchmark, *path[:-1]).get(path[-1])
        if isinstance(value, float) and not math.isfinite(value):
            mistakes.add(source, f"is {value!r}, which is not a count", key=".".join((place, *path)))
