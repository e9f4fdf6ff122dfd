"""AIBrix benchmark lines: one JSON object a metric of a run at a held request rate.

`metric` is TPUT (requests/s), TT (tokens/s), E2E, TTFT or TPOT (seconds), each with its `mean` over the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sky_melange.domain.profile import MatrixForm, PointsForm, ProfileKind, StatedTarget
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.capacity import targets
from sky_melange.profiles.importers.aibrix_profile import is_simulated
from sky_melange.profiles.importers.reading import Fields, Mistakes, compact, quote, read_json_objects
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported
from sky_melange.profiles.importers.runs import Run, points_form

_METRICS: Final = ("TPUT", "TT", "E2E", "TTFT", "TPOT")
_KEPT_UP: Final = 0.9
"""AIBrix's own bound: a server that completes less than this share of what arrives is piling requests up."""

_RunKey = tuple[int, int, float]


@dataclass(slots=True)
class _Benchmark:
    """The means of each run, by (input tokens, output tokens, request rate sent)."""

    means: dict[_RunKey, dict[str, float]] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    others: dict[str, set[str]] = field(default_factory=dict)
    lines: dict[_RunKey, tuple[str, int | None]] = field(default_factory=dict)


def import_aibrix_benchmark(request: ImportRequest) -> Imported:
    """Streamed runs become `points`. Runs without streaming have no TTFT or TPOT of their own, only a latency: with
    --ntpot-ms they become a `matrix` of the largest rates within that target. Raises InputError with file and line.
    """
    mistakes = Mistakes()
    benchmark = _read(request, mistakes)
    mistakes.stop()
    simulated = any(is_simulated(name) for name in (*benchmark.models, *(path.name for path in request.paths)))
    streamed = all(means["TPOT"] > 0 and means["TTFT"] > 0 for means in benchmark.means.values())
    warnings: tuple[str, ...] = ()
    form: PointsForm | MatrixForm
    if streamed:
        form, warnings = points_form(_runs(benchmark), mistakes)
    else:
        form = _matrix(benchmark, request.slo)
    stated = Stated(
        source="AIBrix benchmark",
        kind=ProfileKind.ESTIMATED if simulated else ProfileKind.MEASURED,
        model=min(benchmark.models) if len(benchmark.models) == 1 else None,
        simulated=simulated,
    )
    others = {name: compact(sorted(values)) for name, values in sorted(benchmark.others.items())}
    details = {"runs": len(benchmark.means), "values_of_other_fields": others}
    return imported(request, stated, form, details=details, warnings=warnings)


def _read(request: ImportRequest, mistakes: Mistakes) -> _Benchmark:
    found = _Benchmark()
    for path in request.paths:
        for line, content in read_json_objects(path):
            _line(Fields(content, mistakes, str(path), line=line), (str(path), line), found)
    for key, means in found.means.items():
        missing = [name for name in _METRICS if name not in means and name != "TT"]
        if missing:
            source, line = found.lines[key]
            mistakes.add(source, f"the run that starts here lacks {', '.join(missing)}", line=line)
    if not found.means and not mistakes.found:
        mistakes.add(str(request.paths[0]), "holds no run")
    return found


def _line(fields: Fields, place: tuple[str, int | None], found: _Benchmark) -> None:
    input_tokens, output_tokens = fields.count("input_tokens"), fields.count("output_tokens", least=2)
    rate_rps, mean = fields.positive("request_rate"), fields.number("mean")
    metric, model = fields.text("metric", required=True), fields.text("model", required=True)
    if metric is not None and metric not in _METRICS:
        fields.mistake("metric", f"want one of {', '.join(_METRICS)}, found {quote(metric)}")
        return
    if input_tokens is None or output_tokens is None or rate_rps is None or mean is None or metric is None:
        return
    key = (input_tokens, output_tokens, rate_rps)
    means = found.means.setdefault(key, {})
    found.lines.setdefault(key, place)
    if metric in means:
        fields.mistake("metric", f"{metric} of this run stands in an earlier line too; keep one of them")
    means[metric] = mean
    if model is not None:
        found.models.add(model)
    for percentile in ("P50", "P90", "P99"):
        fields.get(percentile)
    for name, value in fields.rest().items():
        found.others.setdefault(name, set()).add(str(value))


def _runs(benchmark: _Benchmark) -> list[Run]:
    """Concurrency by Little's law, since a request rate was held; runs that piled requests up are left out."""
    return [
        Run(
            source=benchmark.lines[key][0],
            line=benchmark.lines[key][1],
            input_tokens=key[0],
            output_tokens=key[1],
            concurrency=None,
            ttft_s=means["TTFT"],
            tpot_s=means["TPOT"],
            request_rate_rps=means["TPUT"],
        )
        for key, means in sorted(benchmark.means.items())
        if means["TPUT"] >= _KEPT_UP * key[2]
    ]


def _matrix(benchmark: _Benchmark, slo: Slo | None) -> MatrixForm:
    """The largest completed rate whose NTPOT (latency ÷ output tokens) holds while the server kept up."""
    if slo is None or slo.ntpot_s is None or slo.tpot_s is not None or slo.ttft_s is not None:
        count = sum(means["TPOT"] == 0 or means["TTFT"] == 0 for means in benchmark.means.values())
        message = (
            f"is needed, and no other target: {count} of {len(benchmark.means)} runs have TPOT or TTFT 0 (answers were "
            "not streamed), so request latency is all there is to hold"
        )
        raise InputError([Mistake(source="--ntpot-ms", message=message)])
    inputs = tuple(sorted({key[0] for key in benchmark.means}))
    outputs = tuple(sorted({key[1] for key in benchmark.means}))
    best = {(i, o): _best(benchmark, i, o, slo) for i in inputs for o in outputs}
    return MatrixForm(
        input_edges=inputs,
        output_edges=outputs,
        request_rates_rps=tuple(tuple(best[i, o][0] for o in outputs) for i in inputs),
        target=StatedTarget(ntpot_s=slo.ntpot_s),
        request_latencies_s=tuple(tuple(best[i, o][1] for o in outputs) for i in inputs),
    )


def _best(benchmark: _Benchmark, i: int, o: int, slo: Slo) -> tuple[float | None, float | None]:
    """(requests/s, request latency in s) of the best run of a size; (None, None) when none holds the target."""
    (target,) = targets(slo, o)
    found = [
        (means["TPUT"], means["E2E"])
        for (run_i, run_o, sent_rps), means in benchmark.means.items()
        if (run_i, run_o) == (i, o)
        and means["TPUT"] >= _KEPT_UP * sent_rps
        and means["E2E"] / o <= target.limit_s
        and means["E2E"] > 0
    ]
    return max(found, default=(None, None))
