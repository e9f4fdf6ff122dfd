"""Runs of any benchmark -> the rows of a `points` profile, and of a whole import where files hold nothing but runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from sky_melange.domain.profile import PointsForm, ProfileKind
from sky_melange.domain.units import ms_to_s
from sky_melange.profiles.importers.reading import Fields, Mistakes
from sky_melange.profiles.importers.request import Imported, ImportRequest, Stated, imported

_LITTLE_TOLERANCE: Final = 0.10
"""A run that served this much less than concurrency ÷ latency was not at that concurrency all the time."""

_IMPOSSIBLE: Final = 1.3
"""No run serves this much more than concurrency ÷ latency: a unit or a column is wrong."""

MAX_FAILED_FRACTION: Final = 0.20
"""As in `profiles measure`: with more failures the load was not the stated one, and the answers are a selection."""

LEAST_ROUNDS: Final = 3
"""Requests per place in flight. With fewer, the first prefills and the emptying at the end are most of the run."""

_KEPT_UP: Final = 0.9
_LEAST_IN_FLIGHT: Final = 0.5
_ROUNDED: Final = 1.05
_WARMING_RATIO: Final = 3.0
_SHOWN: Final = 5
_MAX_TOKENS: Final = 10_000_000
_MAX_CONCURRENCY: Final = 1_000_000
_MAX_LATENCY_S: Final = 1e5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: sizes in tokens (means, where they vary), mean latencies in seconds, requests/s it counted itself.

    `concurrency` is None where the run held a request rate instead. `source`, `line`: where it stands. `served`,
    `failed`: requests; None where the file does not say. `ttft_median_s` shows a run that was still warming up.
    `unusable`: why the file itself says that the run is not a measurement; None when it does not. `overloaded`: how
    much more was sent than served.
    """

    source: str
    line: int | None = None
    input_tokens: float
    output_tokens: float
    concurrency: float | None
    ttft_s: float
    tpot_s: float
    request_rate_rps: float | None = None
    served: int | None = None
    failed: int | None = None
    ttft_median_s: float | None = None
    unusable: str | None = None
    overloaded: str | None = None


@dataclass(slots=True)
class Findings:
    """What the files of one import hold: the runs, what each says of model, engine and layout, and what marks them."""

    mistakes: Mistakes = field(default_factory=Mistakes)
    runs: list[Run] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    stated: dict[str, set[str]] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)

    def mark_speculative(self, how: str) -> None:
        """Notes that tokens were guessed ahead."""
        self.marks["speculative"] = (
            f"the runs guessed tokens ahead ({how}): the figures hold for this way of it and this kind of text alone; "
            "repeat it with --engine-arg, so that launch files do"
        )

    def mark_cached(self, how: str) -> None:
        """Notes that prompts were partly cached."""
        self.marks["cached"] = (
            f"prompts of these runs were partly in the cache ({how}): prompts that share nothing take longer, and "
            "fewer fit at once"
        )

    def says(self, name: str, value: object) -> None:
        """Notes that a file states an option (its name without `--`); nothing where `value` is None or empty."""
        if value not in (None, ""):
            self.stated.setdefault(name, set()).add(str(value))

    def one(self, name: str, given: object) -> str | None:
        """The value of an option that all files agree on; a mistake where they differ and the option is not given."""
        values = self.stated.get(name, set())
        if len(values) > 1 and given is None:
            several = f"{name.replace('-', ' ')}s: {', '.join(sorted(values))[:200]}"
            self.mistakes.add(f"--{name}", f"is needed: the files are of several {several}")
        return min(values) if len(values) == 1 else None


def serving_run(fields: Fields, source: str, line: int | None, *, failed: int | None) -> Run | None:
    """A run in the keys that vLLM's and SGLang's benchmarks share; None, with the mistakes noted, when one lacks.

    Sizes are the means of the run. `mean_tpot_ms` excludes the first token, as ours does.
    """
    completed = fields.count("completed")
    input_tokens, output_tokens = fields.count("total_input_tokens"), fields.count("total_output_tokens")
    rate_rps, duration_s = fields.positive("request_throughput"), fields.positive("duration", required=False)
    ttft_ms, tpot_ms = fields.positive("mean_ttft_ms"), fields.positive("mean_tpot_ms")
    median_ms = fields.positive("median_ttft_ms", required=False)
    concurrency = fields.count("max_concurrency", required=False)
    if None in (completed, input_tokens, output_tokens, rate_rps, ttft_ms, tpot_ms):
        return None
    requests = completed or 1
    if duration_s and (rate_rps or 0) > _ROUNDED * requests / duration_s:
        counted = f"{requests} requests in {duration_s:g} s are {requests / duration_s:.4g}"
        fields.mistake("request_throughput", f"served {rate_rps:.4g} requests/s, but {counted}")
    asked_rps = fields.content.get("request_rate")
    if isinstance(asked_rps, int | float) and (rate_rps or 0) < _KEPT_UP * asked_rps < math.inf:
        fields.get("request_rate")
        overloaded = f"{asked_rps:g} requests/s were sent, {rate_rps:.4g} served"
    else:
        overloaded = None
    sent, peak = requests + (failed or 0), fields.count("max_concurrent_requests", required=False)
    if concurrency is None and str(fields.get("request_rate")) == "inf" and (peak is None or peak >= sent):
        concurrency = sent  # all at once; a trace that is replayed says `inf` too, but peaks lower
    return Run(
        source=source,
        line=line,
        input_tokens=(input_tokens or 0) / requests,
        output_tokens=(output_tokens or 0) / requests,
        concurrency=concurrency,
        ttft_s=ms_to_s(ttft_ms or 0),
        tpot_s=ms_to_s(tpot_ms or 0),
        request_rate_rps=rate_rps,
        served=completed,
        failed=failed,
        ttft_median_s=None if median_ms is None else ms_to_s(median_ms),
        overloaded=overloaded,
    )


def import_runs(request: ImportRequest, findings: Findings, *, source: str, kind: ProfileKind) -> Imported:
    """A `points` profile of all runs. Raises InputError with every mistake."""
    mistakes = findings.mistakes
    mistakes.stop()
    tensor_parallel = findings.one("tensor-parallel", request.tensor_parallel)
    dates = findings.stated.get("date", set())
    stated = Stated(
        source=source,
        kind=kind,
        model=findings.one("model", request.model),
        engine=findings.one("engine", request.engine),
        engine_version=findings.one("engine-version", request.engine_version),
        tensor_parallel=None if tensor_parallel is None else int(tensor_parallel),
        dtype=findings.one("dtype", request.dtype),
        date=max(dates, default=None),
        speculative="speculative" in findings.marks,
    )
    mistakes.stop()
    form, warnings = points_form(findings.runs, mistakes)
    warnings = (*warnings, *findings.marks.values())
    return imported(request, stated, form, details={"runs": findings.others}, warnings=warnings)


def points_form(runs: Sequence[Run], mistakes: Mistakes) -> tuple[PointsForm, tuple[str, ...]]:
    """The rows, and warnings. Adds to `mistakes` and raises them all when a run cannot be entered, or none is left.

    Runs that are no measurement (`_refusal`) are left out with a warning. Planning takes the request rate from
    Little's law, concurrency ÷ (TTFT + TPOT·(O−1)), which never exceeds what the run counted itself: within 10 % the
    latencies are entered that much longer; a run that served less is entered at the concurrency that its count gives,
    rounded down.
    """
    left_out: list[str] = []
    usable: list[Run] = []
    for run in runs:
        reason = _refusal(run)
        if reason is None:
            usable.append(run)
        else:
            left_out.append(f"{_place(run)}: {reason}")
    if not usable:
        for run in runs:
            mistakes.add(run.source, _refusal(run) or "", line=run.line)
        if not runs:
            mistakes.add("the file", "holds no run")
    rows: dict[tuple[int, int, int], Run] = {}
    latencies: dict[tuple[int, int], list[tuple[int, float, float]]] = {}
    adjusted = 0
    for run in usable:
        entered, was_adjusted = _entered(run, mistakes)
        adjusted += was_adjusted
        concurrency = int(entered.concurrency or 1)
        _check(entered, mistakes)
        key = (round(run.input_tokens), round(run.output_tokens), concurrency)
        if key in rows:
            size = f"{key[0]} in × {key[1]} out at concurrency {key[2]}"
            message = f"repeats {size}, already in {_place(rows[key])}; keep one of them"
            mistakes.add(run.source, message, line=run.line)
        rows[key] = run
        latencies.setdefault(key[:2], []).append((concurrency, entered.ttft_s, entered.tpot_s))
    mistakes.stop()
    form = PointsForm(latencies={shape: tuple(sorted(curve)) for shape, curve in sorted(latencies.items())})
    return form, (
        *_left_out_warning(left_out, len(usable)),
        *_failed_warning(usable),
        *_warming_warnings(usable),
        *_overloaded_warning(usable),
        *_adjusted_warning(adjusted, len(usable)),
        *_grid_warnings(form),
    )


def _latency_s(run: Run) -> float:
    return run.ttft_s + run.tpot_s * (run.output_tokens - 1)


def _in_flight(run: Run) -> float | None:
    """Requests in flight on average by the run's own count (Little's law); None when it has no count."""
    return None if run.request_rate_rps is None else run.request_rate_rps * _latency_s(run)


def _refusal(run: Run) -> str | None:
    """Why a run is no measurement; None when it is one, as far as its file says."""
    if run.unusable is not None:
        return run.unusable
    counted = _in_flight(run)
    if run.failed and run.served is not None:
        attempts = run.failed + run.served
        if run.failed > MAX_FAILED_FRACTION * attempts:
            share = f"{run.failed} of {attempts} requests failed ({run.failed / attempts:.0%})"
            return f"{share}, more than {MAX_FAILED_FRACTION:.0%}: not a measurement; fix the server and run it again"
    if counted is not None and counted < _LEAST_IN_FLIGHT:
        return f"{counted:.2g} requests were in flight on average: too few to tell a rate; run it at concurrency 1"
    concurrency = counted if run.concurrency is None else run.concurrency
    if run.served is not None and concurrency is not None:
        least = LEAST_ROUNDS * math.floor(concurrency)
        if run.served < least:
            return (
                f"{run.served} requests at concurrency {concurrency:.4g} are mostly ramp-up and tail; "
                f"run at least {least} ({LEAST_ROUNDS} × concurrency)"
            )
    return None


def _entered(run: Run, mistakes: Mistakes) -> tuple[Run, bool]:
    """The run as it is entered, at a whole concurrency, and whether that is another than the run's own."""
    counted = _in_flight(run)
    if run.concurrency is None:
        if counted is None:
            mistakes.add(run.source, "want a concurrency or a request rate", line=run.line)
            return replace(run, concurrency=1), False
        return _never_above(run, max(1, math.floor(counted)), counted), False
    stated = max(1, math.floor(run.concurrency))
    if counted is None:
        return replace(run, concurrency=stated), False
    if counted > _IMPOSSIBLE * run.concurrency and counted - run.concurrency > 1:
        message = (
            f"served {run.request_rate_rps:.4g} requests/s, but concurrency {run.concurrency:g} with TTFT "
            f"{run.ttft_s:.4g} s and TPOT {run.tpot_s:.4g} s gives {run.concurrency / _latency_s(run):.4g}; wrong unit?"
        )
        mistakes.add(run.source, message, line=run.line)
    if counted < (1 - _LITTLE_TOLERANCE) * run.concurrency:
        return _never_above(run, max(1, math.floor(counted)), counted), True
    return _never_above(run, stated, counted), False


def _never_above(run: Run, concurrency: int, counted: float) -> Run:
    """At this concurrency, with latencies so long that concurrency ÷ latency is at most the rate that it served."""
    factor = max(1.0, concurrency / counted)
    return replace(run, concurrency=concurrency, ttft_s=run.ttft_s * factor, tpot_s=run.tpot_s * factor)


def _check(run: Run, mistakes: Mistakes) -> None:
    ranges = (
        ("input tokens", run.input_tokens, 0.5, _MAX_TOKENS),
        ("output tokens", run.output_tokens, 1.5, _MAX_TOKENS),
        ("concurrency", run.concurrency or 1, 1, _MAX_CONCURRENCY),
        ("TTFT in seconds", run.ttft_s, 1e-6, _MAX_LATENCY_S),
        ("TPOT in seconds", run.tpot_s, 1e-7, _MAX_LATENCY_S),
    )
    for name, value, least, most in ranges:
        if not least <= value <= most:
            mistakes.add(run.source, f"{name} is {value:g}, which cannot be ({least:g} to {most:g})", line=run.line)


def _place(run: Run) -> str:
    return run.source if run.line is None else f"line {run.line} of {run.source}"


def _left_out_warning(left_out: Sequence[str], kept: int) -> list[str]:
    if not left_out:
        return []
    shown = "; ".join(left_out[:_SHOWN]) + (" …" if len(left_out) > _SHOWN else "")
    return [f"{len(left_out)} of {len(left_out) + kept} runs are left out: {shown}"]


def _failed_warning(runs: Sequence[Run]) -> list[str]:
    failed = sum(run.failed or 0 for run in runs)
    return [f"{failed} requests failed in these runs; the figures are of the others"] if failed else []


def _overloaded_warning(runs: Sequence[Run]) -> list[str]:
    found = [f"{run.overloaded} ({_place(run)})" for run in runs if run.overloaded is not None]
    if not found:
        return []
    shown = "; ".join(found[:_SHOWN]) + (" …" if len(found) > _SHOWN else "")
    return [f"{len(found)} of {len(runs)} runs were overloaded, so their TTFT is mostly a queue that grew: {shown}"]


def _warming_warnings(runs: Sequence[Run]) -> list[str]:
    """A mean far above the median is a few requests that waited: compilation, cold caches, or a queue."""
    ratios = [
        (run.ttft_s / run.ttft_median_s, _place(run)) for run in runs if run.ttft_median_s and run.ttft_median_s > 0
    ]
    worst = max(ratios, default=(0.0, ""))
    if worst[0] <= _WARMING_RATIO:
        return []
    count = sum(ratio > _WARMING_RATIO for ratio, _ in ratios)
    return [
        f"{count} of {len(runs)} runs may have been still warming up (or queueing): the mean TTFT is up to "
        f"{worst[0]:.2g} times its median ({worst[1]}); the means are entered; warm the server up and run again"
    ]


def _adjusted_warning(adjusted: int, total: int) -> list[str]:
    if not adjusted:
        return []
    return [
        f"{adjusted} of {total} runs served over 10 % less than their concurrency ÷ latency (ramp-up, tail or a held "
        "rate): entered at the concurrency that their own request count gives"
    ]


def _grid_warnings(form: PointsForm) -> list[str]:
    """Planning interpolates in a full grid; a gap reads as a size that does not fit."""
    inputs = sorted({shape[0] for shape in form.latencies})
    outputs = sorted({shape[1] for shape in form.latencies})
    gaps = [(i, o) for i in inputs for o in outputs if (i, o) not in form.latencies]
    if not gaps:
        return []
    shown = ", ".join(f"{i}×{o}" for i, o in gaps[:5]) + (" …" if len(gaps) > 5 else "")
    return [f"the sizes are no full grid, missing {len(gaps)}: {shown}; planning reads a missing size as not fitting"]
