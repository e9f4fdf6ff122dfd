"""Runs of any benchmark -> the rows of a `points` profile."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.profile import PointsForm
from sky_melange.profiles.importers.reading import Mistakes

_LITTLE_TOLERANCE: Final = 0.10
"""A run that served this much less than concurrency ÷ latency was not at that concurrency all the time."""

_IMPOSSIBLE: Final = 1.3
"""No run serves this much more than concurrency ÷ latency: a unit or a column is wrong."""

_MAX_TOKENS: Final = 10_000_000
_MAX_CONCURRENCY: Final = 1_000_000
_MAX_LATENCY_S: Final = 1e5


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: sizes in tokens (means, where they vary), mean latencies in seconds, requests/s it counted itself.

    `concurrency` is None where the run held a request rate instead. `source`, `line`: where it stands.
    """

    source: str
    line: int | None = None
    input_tokens: float
    output_tokens: float
    concurrency: float | None
    ttft_s: float
    tpot_s: float
    request_rate_rps: float | None = None


def points_form(runs: Sequence[Run], mistakes: Mistakes) -> tuple[PointsForm, tuple[str, ...]]:
    """The rows, and warnings. Adds to `mistakes` and raises them all when a run cannot be used.

    Planning takes the request rate from Little's law, concurrency ÷ (TTFT + TPOT·(O−1)). A run whose own count is more
    than 10 % lower (ramp-up, tail, a held request rate) is entered at the concurrency that its count gives, rounded
    down, so that the profile never promises more than the run served.
    """
    if not runs:
        mistakes.add("the file", "holds no run")
    rows: dict[tuple[int, int, int], Run] = {}
    latencies: dict[tuple[int, int], list[tuple[int, float, float]]] = {}
    adjusted = 0
    for run in runs:
        concurrency, was_adjusted = _concurrency(run, mistakes)
        adjusted += was_adjusted
        _check(run, concurrency, mistakes)
        key = (round(run.input_tokens), round(run.output_tokens), concurrency)
        if key in rows:
            size = f"{key[0]} in × {key[1]} out at concurrency {key[2]}"
            message = f"repeats {size}, already in {_place(rows[key])}; keep one of them"
            mistakes.add(run.source, message, line=run.line)
        rows[key] = run
        latencies.setdefault(key[:2], []).append((concurrency, run.ttft_s, run.tpot_s))
    mistakes.stop()
    form = PointsForm(latencies={shape: tuple(sorted(curve)) for shape, curve in sorted(latencies.items())})
    return form, (*_adjusted_warning(adjusted, len(runs)), *_grid_warnings(form))


def _concurrency(run: Run, mistakes: Mistakes) -> tuple[int, bool]:
    """The concurrency to enter, and whether it is another than the run's own."""
    latency_s = run.ttft_s + run.tpot_s * (run.output_tokens - 1)
    counted = None if run.request_rate_rps is None else run.request_rate_rps * latency_s
    if run.concurrency is None:
        if counted is None:
            mistakes.add(run.source, "want a concurrency or a request rate", line=run.line)
        return max(1, math.floor(counted or 1)), False
    stated = max(1, math.floor(run.concurrency))
    if counted is None:
        return stated, False
    if counted > _IMPOSSIBLE * run.concurrency and counted - run.concurrency > 1:
        message = (
            f"served {run.request_rate_rps:.4g} requests/s, but concurrency {run.concurrency:g} with TTFT "
            f"{run.ttft_s:.4g} s and TPOT {run.tpot_s:.4g} s gives {run.concurrency / latency_s:.4g}; wrong unit?"
        )
        mistakes.add(run.source, message, line=run.line)
    if counted < (1 - _LITTLE_TOLERANCE) * run.concurrency:
        return max(1, math.floor(counted)), True
    return stated, False


def _check(run: Run, concurrency: int, mistakes: Mistakes) -> None:
    ranges = (
        ("input tokens", run.input_tokens, 0.5, _MAX_TOKENS),
        ("output tokens", run.output_tokens, 1.5, _MAX_TOKENS),
        ("concurrency", concurrency, 1, _MAX_CONCURRENCY),
        ("TTFT in seconds", run.ttft_s, 1e-6, _MAX_LATENCY_S),
        ("TPOT in seconds", run.tpot_s, 1e-7, _MAX_LATENCY_S),
    )
    for name, value, least, most in ranges:
        if not least <= value <= most:
            mistakes.add(run.source, f"{name} is {value:g}, which cannot be ({least:g} to {most:g})", line=run.line)


def _place(run: Run) -> str:
    return run.source if run.line is None else f"line {run.line} of {run.source}"


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
