"""Reports of GuideLLM (`--output kind=json`): one report of several runs at one request size. Tried with 0.8.1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from sky_melange.domain.profile import ProfileKind
from sky_melange.domain.units import ms_to_s
from sky_melange.profiles.importers.reading import Mistakes, compact, epoch_date, read_json
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported
from sky_melange.profiles.importers.runs import Run, points_form

_FIGURES: Final = {
    "prompt_token_count": "input tokens",
    "output_token_count": "output tokens",
    "time_to_first_token_ms": "TTFT",
    "inter_token_latency_ms": "TPOT",
    "requests_per_second": "request rate",
}
"""What is read of each run. GuideLLM's `time_per_output_token_ms` counts the first token in, so it is not our TPOT."""

_COUNTS: Final = (
    ("config", "strategy", "streams"),
    ("args", "strategy", "streams"),
    ("metrics", "request_totals", "errored"),
)


def import_guidellm(request: ImportRequest) -> Imported:
    """Every run of every report, means over the successful requests. Raises InputError with file and field."""
    mistakes = Mistakes()
    runs: list[Run] = []
    others: list[dict[str, Any]] = []
    models: set[str] = set()
    dates: set[str] = set()
    errored = 0
    for path in request.paths:
        report = read_json(path)
        benchmarks = report.get("benchmarks") if isinstance(report, dict) else None
        if not isinstance(benchmarks, list) or not benchmarks:
            mistakes.add(str(path), "want a list of runs; is it a GuideLLM report?", key="benchmarks")
            continue
        for index, benchmark in enumerate(benchmarks):
            place = f"benchmarks[{index}]"
            if not isinstance(benchmark, dict):
                mistakes.add(str(path), "want an object", key=place)
                continue
            run = _run(benchmark, str(path), place, mistakes)
            if run is not None:
                runs.append(run)
            _check_counts(benchmark, str(path), place, mistakes)
            errored += _errored(benchmark)
            models.add(_text(benchmark, "config", "backend", "model"))
            dates.add(epoch_date(_number(benchmark.get("start_time"))) or "")
            others.append(_rest(benchmark))
        others.append({"report": compact({"metadata": report.get("metadata")})})
    mistakes.stop()
    form, warnings = points_form(runs, mistakes)
    models.discard("")
    if len(models) > 1 and request.model is None:
        mistakes.add("--model", f"is needed: the reports are of several models: {', '.join(sorted(models))}")
        mistakes.stop()
    if errored:
        warnings = (*warnings, f"{errored} requests failed in these runs; the figures are of the others")
    stated = Stated(
        source="GuideLLM",
        kind=ProfileKind.MEASURED,
        model=min(models, default=None),
        date=max(dates, default="") or None,
    )
    return imported(request, stated, form, details={"runs": others}, warnings=warnings)


def _run(benchmark: Mapping[str, Any], source: str, place: str, mistakes: Mistakes) -> Run | None:
    metrics = _object(benchmark, "metrics")
    means: dict[str, float] = {}
    for name, meaning in _FIGURES.items():
        key = f"{place}.metrics.{name}.successful.mean"
        figure = _object(metrics, name, "successful")
        value = _number(figure.get("mean"))
        if value is None or value <= 0:
            said = "is missing" if "mean" not in figure else f"is {figure.get('mean')!r}"
            mistakes.add(source, f"{said}: no {meaning}; did any request succeed, and was it streamed?", key=key)
        else:
            means[name] = value
    if len(means) < len(_FIGURES):
        return None
    return Run(
        source=f"{source}: {place}",
        input_tokens=means["prompt_token_count"],
        output_tokens=means["output_token_count"],
        concurrency=_streams(benchmark),
        ttft_s=ms_to_s(means["time_to_first_token_ms"]),
        tpot_s=ms_to_s(means["inter_token_latency_ms"]),
        request_rate_rps=means["requests_per_second"],
    )


def _streams(benchmark: Mapping[str, Any]) -> float | None:
    """The concurrency that was held; None where a request rate was, or none."""
    strategy = _object(benchmark, "config", "strategy") or _object(benchmark, "args", "strategy")
    if strategy.get("type_") == "synchronous":
        return 1.0
    return _number(strategy.get("streams")) if strategy.get("type_") == "concurrent" else None


def _errored(benchmark: Mapping[str, Any]) -> int:
    return int(_number(_object(benchmark, "metrics", "request_totals").get("errored")) or 0)


def _rest(benchmark: Mapping[str, Any]) -> dict[str, Any]:
    """What else a run says: its settings, and the mean of every other metric (the requests one by one are left out)."""
    metrics = _object(benchmark, "metrics")
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
    config = _object(benchmark, "config")
    settings = {name: compact(config[name]) for name in ("strategy", "constraints", "profile") if name in config}
    return {"means": means, "request_totals": compact(metrics.get("request_totals")), **settings, **kept}


def _object(content: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A nested object; empty when it is not there."""
    value: Any = content
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _text(content: Mapping[str, Any], *path: str) -> str:
    value = _object(content, *path[:-1]).get(path[-1])
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _check_counts(benchmark: Mapping[str, Any], source: str, place: str, mistakes: Mistakes) -> None:
    for path in _COUNTS:
        value = _object(benchmark, *path[:-1]).get(path[-1])
        if isinstance(value, float) and not math.isfinite(value):
            mistakes.add(source, f"is {value!r}, which is not a count", key=".".join((place, *path)))
