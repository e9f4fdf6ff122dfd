"""AIBrix benchmark lines: one JSON object a metric of a run at a held request rate.

`metric` is TPUT (requests/s), TT (tokens/s), E2E, TTFT or TPOT (seconds), each with its `mean` over the run.

AIBrix GPU-optimizer profiles: the largest request rate per size within the targets that the file states.

`tputs[output][input]` requests/s, 0 where no rate met the targets; `indexes` are [outputs, inputs] in tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from sky_melange.domain.profile import MatrixForm, PointsForm, ProfileKind, StatedTarget
from sky_melange.domain.workload import Slo
from sky_melange.errors import InputError, Mistake
from sky_melange.profiles.capacity import targets
from sky_melange.profiles.importers.matrices import RateRows, check_shape, edges, rate_rows, stated_target
from sky_melange.profiles.importers.reading import (
    Fields,
    Mistakes,
    compact,
    epoch_date,
    quote,
    read_json,
    read_json_objects,
)
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported
from sky_melange.profiles.importers.runs import Run, points_form

_PERCENTILES: Final = (0, 50, 90, 99)
_FOREIGN: Final = {"tput": "requests/s", "tt": "tokens/s", "tpat": "latency ÷ all tokens"}

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
    simulated = any(_is_simulated(name) for name in (*benchmark.models, *(path.name for path in request.paths)))
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


def import_aibrix_profile(request: ImportRequest) -> Imported:
    """Older files state no targets: then the options must. Raises InputError with file and field of every mistake."""
    if len(request.paths) != 1:
        raise InputError([Mistake(source="aibrix-profile", message="want exactly one file")])
    path = request.paths[0]
    mistakes = Mistakes()
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError([Mistake(source=str(path), message="want a JSON object")])
    fields = Fields(content, mistakes, str(path))
    deployment = fields.text("gpu", required=True) or ""
    by_output = rate_rows(fields.get("tputs"), str(path), "tputs", mistakes)
    outputs, inputs = _indexes(fields, str(path), mistakes)
    check_shape(by_output, outputs, inputs, str(path), names=("output", "input"), mistakes=mistakes)
    latencies = None
    if fields.get("e2e") is not None:
        latencies = rate_rows(fields.get("e2e"), str(path), "e2e", mistakes)
        check_shape(latencies, outputs, inputs, str(path), names=("output", "input"), mistakes=mistakes)
    target = _target(fields, request, mistakes)
    date = epoch_date(fields.number("created", required=False))
    mistakes.stop()
    form = MatrixForm(
        input_edges=inputs,
        output_edges=outputs,
        request_rates_rps=_transposed(by_output),
        target=target,
        request_latencies_s=None if latencies is None else _transposed(latencies),
    )
    simulated = _is_simulated(deployment)
    stated = Stated(
        source=f"AIBrix profile of {deployment}",
        kind=ProfileKind.ESTIMATED if simulated else ProfileKind.MEASURED,
        date=date,
        simulated=simulated,
    )
    details = {"deployment": deployment, **fields.rest()}
    return imported(request, stated, form, details=details, warnings=_warnings(target))


def _is_simulated(name: str) -> bool:
    """Whether AIBrix's own naming says that the engine was a simulator."""
    return "simulator" in name.casefold()


def _warnings(target: StatedTarget) -> tuple[str, ...]:
    if target.percentile is None and target.e2e_s is None:
        return ()
    return (
        f"its target is {target}, which no workload can ask for: planning will refuse the profile. "
        "Import the benchmark lines instead (aibrix-benchmark) at a target of your own",
    )


def _indexes(fields: Fields, source: str, mistakes: Mistakes) -> tuple[tuple[int, ...], tuple[int, ...]]:
    value = fields.get("indexes")
    if not isinstance(value, list) or len(value) != 2:
        mistakes.add(source, "want [[output tokens…], [input tokens…]]", key="indexes")
        return (), ()
    return tuple(edges(part, source, f"indexes[{i}]", mistakes) for i, part in enumerate(value))  # type: ignore[return-value]


def _target(fields: Fields, request: ImportRequest, mistakes: Mistakes) -> StatedTarget:
    """The file's own targets; the options' when it has none."""
    slos = fields.get("slos")
    if slos is None:
        return stated_target(request, mistakes)
    if not isinstance(slos, dict):
        fields.mistake("slos", f"want an object, found {quote(slos)}")
        return StatedTarget()
    if request.slo is not None:
        mistakes.add("--ntpot-ms", "(or --tpot-ms, --ttft-ms) may not be given: the file states its own target")
    known = {"percentile", "e2e", "ttft", "tpot"}
    for name in sorted(set(slos) - known):
        meaning = _FOREIGN.get(name)
        fields.mistake(f"slos.{name}", f"a target on {meaning} has no equal here" if meaning else "is not known")
    percentile = slos.get("percentile", 0)
    if percentile not in _PERCENTILES or isinstance(percentile, bool):
        fields.mistake("slos.percentile", f"want one of {_PERCENTILES}, found {quote(percentile)}")
    limits = {f"{name}_s": _limit(slos, name, fields) for name in ("e2e", "ttft", "tpot")}
    if not any(limits.values()):
        fields.mistake("slos", "states no target")
    return StatedTarget(percentile=percentile or None, **limits)


def _limit(slos: dict[str, Any], name: str, fields: Fields) -> float | None:
    value = slos.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        fields.mistake(f"slos.{name}", f"want seconds above 0, found {quote(value)}")
        return None
    return float(value)


def _transposed(rows: RateRows) -> RateRows:
    return tuple(zip(*rows, strict=True))
