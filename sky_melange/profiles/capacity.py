"""The largest request rate of one replica on one request size within the latency targets."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sky_melange.domain.kept import Kept
from sky_melange.domain.profile import (
    Capacity,
    LatencyModelForm,
    MatrixForm,
    PointsForm,
    Profile,
    Skipped,
    SkipReason,
    StatedTarget,
)
from sky_melange.domain.units import ms_above, s_to_ms
from sky_melange.domain.workload import Slo
from sky_melange.profiles import latency_model

Curve = tuple[tuple[float, float, float], ...]
"""Latencies of one request size: (concurrency, ttft_s, tpot_s) by rising concurrency."""


_EDGES: Final = Kept[tuple[Sequence[int], Sequence[int]]](most=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One latency target as a linear form: `ttft_weight`·TTFT + `tpot_weight`·TPOT ≤ `limit_s`, seconds."""

    name: str
    ttft_weight: float
    tpot_weight: float
    limit_s: float

    def latency_s(self, ttft_s: float, tpot_s: float) -> float:
        """The left side of the target, seconds."""
        return self.ttft_weight * ttft_s + self.tpot_weight * tpot_s


def targets(slo: Slo, output_tokens: int) -> tuple[Target, ...]:
    """The targets of `slo` for requests of `output_tokens`.

    NTPOT is request latency ÷ output tokens = (TTFT + TPOT·(O−1)) ÷ O, as in the Mélange paper (section 6.1).
    """
    found = []
    if slo.tpot_s is not None:
        found.append(Target(name="TPOT", ttft_weight=0.0, tpot_weight=1.0, limit_s=slo.tpot_s))
    if slo.ttft_s is not None:
        found.append(Target(name="TTFT", ttft_weight=1.0, tpot_weight=0.0, limit_s=slo.ttft_s))
    if slo.ntpot_s is not None:
        found.append(
            Target(
                name="NTPOT",
                ttft_weight=1.0 / output_tokens,
                tpot_weight=(output_tokens - 1) / output_tokens,
                limit_s=slo.ntpot_s,
            )
        )
    return tuple(found)


def max_capacity(
    profile: Profile,
    input_tokens: int,
    output_tokens: int,
    slo: Slo,
    *,
    cached_tokens: int = 0,
    extrapolate: bool = False,
) -> Capacity | Skipped:
    """The most that one replica sustains on requests of this size within `slo`, or why it cannot serve them.

    `cached_tokens` of the prompt are in memory and are not computed; a matrix of rates knows nothing of them. Outside
    the profile's ranges the answer is Skipped, unless `extrapolate`.
    """
    if isinstance(profile.form, MatrixForm):
        return _capacity(profile.form, input_tokens, output_tokens, slo)
    curve = profile_curve(profile, input_tokens, output_tokens, cached_tokens=cached_tokens, extrapolate=extrapolate)
    if isinstance(curve, Skipped):
        return curve
    if not curve:
        held = "" if profile.kv_cache_tokens is None else f" (its KV cache holds {profile.kv_cache_tokens} tokens)"
        size = f"{input_tokens} + {output_tokens} tokens"
        return Skipped(reason=SkipReason.MEMORY, detail=f"a request of {size} does not fit in memory{held}")
    return _best_rate(curve, output_tokens, targets(slo, output_tokens))


def profile_curve(
    profile: Profile, input_tokens: int, output_tokens: int, *, cached_tokens: int = 0, extrapolate: bool = False
) -> Curve | Skipped:
    """Latencies at one request size, whatever the profile's form; Skipped outside its ranges unless `extrapolate`."""
    form, held = profile.form, profile.kv_cache_tokens
    if isinstance(form, LatencyModelForm):
        return latency_model.curve(
            form, held, input_tokens, output_tokens, cached_tokens=cached_tokens, extrapolate=extrapolate
        )
    if isinstance(form, MatrixForm):
        return Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail="the profile states request rates, no latencies")
    found = _of_points(profile, form, input_tokens, output_tokens, extrapolate=extrapolate)
    if cached_tokens and not isinstance(found, Skipped):
        shortest = min(inputs for inputs, _ in form.latencies)
        computed = max(input_tokens - cached_tokens, min(shortest, input_tokens))
        short = _of_points(profile, form, computed, output_tokens, extrapolate=extrapolate)
        if not isinstance(short, Skipped):
            from sky_melange.profiles.step_terms import budget_of, prefill_s

            budget, at_short = budget_of(profile), {n: (ttft_s, tpot_s) for n, ttft_s, tpot_s in short}
            # Whole prompts take the memory, so a step is never as short as with short prompts.
            return tuple(
                (
                    n,
                    min(ttft_s, at_short[n][0]),
                    min(tpot_s, max(at_short[n][1], tpot_s - prefill_s(form, budget, n, cached_tokens, output_tokens))),
                )
                for n, ttft_s, tpot_s in found
                if n in at_short
            )
    return found


def _of_points(
    profile: Profile, form: PointsForm, input_tokens: int, output_tokens: int, *, extrapolate: bool
) -> Curve | Skipped:
    found = latency_curve(form, input_tokens, output_tokens)
    if isinstance(found, Skipped) and (extrapolate or is_near(profile, input_tokens, output_tokens)):
        return beyond(form, profile.kv_cache_tokens, input_tokens, output_tokens)
    return found


def covers(profile: Profile, input_tokens: int, output_tokens: int) -> str | None:
    """Why a request size is outside the profile's ranges, with the range; None inside."""
    if isinstance(profile.form, LatencyModelForm):
        return latency_model.outside(profile.form.ranges, input_tokens, output_tokens)
    if isinstance(profile.form, MatrixForm):
        return _out_of_range(profile.form, input_tokens, output_tokens)
    return _outside(*_edges(profile.form), input_tokens, output_tokens)


def is_near(profile: Profile, input_tokens: int, output_tokens: int) -> bool:
    """Whether a size is in the profile's ranges or so little outside that it is answered all the same (and marked)."""
    form, slack = profile.form, latency_model.NEAR_FRACTION
    if isinstance(form, LatencyModelForm):
        return latency_model.outside(form.ranges, input_tokens, output_tokens, slack) is None
    if isinstance(form, MatrixForm):
        return covers(profile, input_tokens, output_tokens) is None
    return all(
        edges[0] / (1 + slack) <= tokens <= edges[-1] * (1 + slack)
        for edges, tokens in zip(_edges(form), (input_tokens, output_tokens), strict=True)
    )


def _edges(form: PointsForm) -> tuple[Sequence[int], Sequence[int]]:
    """The measured input and output sizes, sorted."""
    return _EDGES.get((form,), None, lambda: (_sorted(form, 0), _sorted(form, 1)))


def _sorted(form: PointsForm, side: int) -> Sequence[int]:
    return sorted({shape[side] for shape in form.latencies})


def _outside(inputs: Sequence[int], outputs: Sequence[int], input_tokens: int, output_tokens: int) -> str | None:
    for name, edges, tokens in (("input", inputs, input_tokens), ("output", outputs, output_tokens)):
        if not edges[0] <= tokens <= edges[-1]:
            return f"{tokens} {name} tokens, but the profile covers {edges[0]}…{edges[-1]}"
    return None


def beyond(form: PointsForm, kv_cache_tokens: int | None, input_tokens: int, output_tokens: int) -> Curve:
    """Latencies at a size outside the measured ones: those of the nearest measured size, made longer in proportion.

    Latencies grow by the ratio of (input + output) tokens where the request is longer than the measured one, which
    overstates them, as most of a step does not depend on the length; a shorter request is given those of the measured
    one. Only concurrencies whose requests fit in the KV cache at full length are kept.
    """
    inputs, outputs = _edges(form)
    near = (_clamp(inputs, input_tokens), _clamp(outputs, output_tokens))
    curve = latency_curve(form, *near)
    if isinstance(curve, Skipped):  # only a table without any size could be
        return ()
    tokens = input_tokens + output_tokens
    stretch = max(1.0, tokens / sum(near))
    return tuple(
        (concurrency, ttft_s * stretch, tpot_s * stretch)
        for concurrency, ttft_s, tpot_s in curve
        if kv_cache_tokens is None or concurrency * tokens <= kv_cache_tokens
    )


def _clamp(edges: Sequence[int], tokens: int) -> int:
    return min(max(tokens, edges[0]), edges[-1])


def latency_curve(form: PointsForm, input_tokens: int, output_tokens: int) -> Curve | Skipped:
    """Latencies at one request size, bilinear in (input, output) between the measured sizes.

    A concurrency is kept only where every neighbouring size has it, so memory limits are those of the larger size.
    The result is empty when the request does not fit in memory at all. Skipped outside the measured ranges.
    """
    inputs, outputs = _edges(form)
    detail = _outside(inputs, outputs, input_tokens, output_tokens)
    if detail is not None:
        return Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail=detail)
    corners = [
        (form.latencies.get((i, o), ()), weight_i * weight_o)
        for i, weight_i in _neighbours(inputs, input_tokens)
        for o, weight_o in _neighbours(outputs, output_tokens)
    ]
    if len(corners) == 1:
        return corners[0][0]
    by_concurrency = [{point[0]: point for point in curve} for curve, _ in corners]
    common = sorted(set.intersection(*(set(points) for points in by_concurrency)))
    return tuple(
        (
            concurrency,
            math.fsum(p[concurrency][1] * w for p, (_, w) in zip(by_concurrency, corners, strict=True)),
            math.fsum(p[concurrency][2] * w for p, (_, w) in zip(by_concurrency, corners, strict=True)),
        )
        for concurrency in common
    )


def _neighbours(edges: Sequence[int], tokens: int) -> Iterator[tuple[int, float]]:
    """The measured sizes around `tokens`, with their weights in a linear interpolation."""
    index = bisect_left(edges, tokens)
    if edges[index] == tokens:
        yield tokens, 1.0
        return
    low, high = edges[index - 1], edges[index]
    share = (tokens - low) / (high - low)
    yield low, 1.0 - share
    yield high, share


def _best_rate(curve: Curve, output_tokens: int, limits: Sequence[Target]) -> Capacity | Skipped:
    """Walks up the concurrency until a target breaks; keeps the concurrency with the highest request rate.

    Between two measured concurrencies TTFT and TPOT are linear, so each target breaks at a point in closed form, and
    the rate N ÷ (TTFT + TPOT·(O−1)) is monotone: its maximum lies at an end of a segment.
    """
    first = curve[0]
    for target in limits:
        latency_s = target.latency_s(first[1], first[2])
        if latency_s > target.limit_s:
            detail = (
                f"{target.name} is {ms_above(latency_s, target.limit_s)} ms at concurrency {first[0]:g}, "
                f"over the target of {s_to_ms(target.limit_s):g} ms"
            )
            return Skipped(reason=SkipReason.SLO, detail=detail)
    feasible = [first]
    for low, high in itertools.pairwise(curve):
        share = min((_share_within(target, low, high) for target in limits), default=1.0)
        feasible.append(tuple(a + (b - a) * share for a, b in zip(low, high, strict=True)))  # type: ignore[arg-type]
        if share < 1.0:
            break
    concurrency, ttft_s, tpot_s = max(feasible, key=lambda point: _request_rate(point, output_tokens))
    return Capacity(
        request_rate_rps=_request_rate((concurrency, ttft_s, tpot_s), output_tokens),
        concurrency=concurrency,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
    )


def _share_within(target: Target, low: tuple[float, float, float], high: tuple[float, float, float]) -> float:
    """How far from `low` to `high` (0..1) the target still holds; it holds at `low`."""
    at_low = target.latency_s(low[1], low[2])
    at_high = target.latency_s(high[1], high[2])
    if at_high <= target.limit_s:
        return 1.0
    return (target.limit_s - at_low) / (at_high - at_low)


def _request_rate(point: tuple[float, float, float], output_tokens: int) -> float:
    """Little's law: requests/s = concurrency ÷ request latency, at a steady concurrency."""
    concurrency, ttft_s, tpot_s = point
    return concurrency / (ttft_s + tpot_s * (output_tokens - 1))


def _capacity(form: MatrixForm, input_tokens: int, output_tokens: int, slo: Slo) -> Capacity | Skipped:
    """The rate of the bucket that holds this size, which is that of the largest size in it.

    Refuses a target other than the stated one, even a looser one: the rate would hold, but be too low by nobody knows
    how much.
    """
    if not _is_target(form.target, slo):
        detail = f"the profile states its rates at {form.target} only, not at {_asked(slo)}"
        return Skipped(reason=SkipReason.SLO, detail=detail)
    outside = _out_of_range(form, input_tokens, output_tokens)
    if outside is not None:
        return Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail=outside)
    i = bisect_left(form.input_edges, input_tokens)
    j = bisect_left(form.output_edges, output_tokens)
    rate_rps = form.request_rates_rps[i][j]
    if rate_rps is None:
        size = f"≤{form.input_edges[i]} in × ≤{form.output_edges[j]} out"
        return Skipped(reason=SkipReason.SLO, detail=f"the profile has no rate for {size} at {form.target}")
    latency_s = _latency_s(form, i, j, output_tokens)
    return Capacity(request_rate_rps=rate_rps, concurrency=max(1.0, rate_rps * latency_s), ttft_s=None, tpot_s=None)


def _out_of_range(form: MatrixForm, input_tokens: int, output_tokens: int) -> str | None:
    """Why a size is in none of the buckets, with the range; None when it is in one."""
    for name, edges, tokens in (
        ("input", form.input_edges, input_tokens),
        ("output", form.output_edges, output_tokens),
    ):
        if tokens > edges[-1]:
            return f"{tokens} {name} tokens, but the profile covers 1…{edges[-1]}"
    return None


def _is_target(target: StatedTarget, slo: Slo) -> bool:
    """Whether the workload asks for exactly the stated target."""
    if target.e2e_s is not None or target.percentile is not None:
        return False
    pairs = ((target.tpot_s, slo.tpot_s), (target.ttft_s, slo.ttft_s), (target.ntpot_s, slo.ntpot_s))
    return all(_equal(stated, asked) for stated, asked in pairs)


def _equal(stated: float | None, asked: float | None) -> bool:
    if stated is None or asked is None:
        return stated is asked
    return math.isclose(stated, asked, rel_tol=1e-9)


def _latency_s(form: MatrixForm, i: int, j: int, output_tokens: int) -> float:
    """Mean request latency where the source says it, else the most that the target allows.

    Without a TTFT target the first token is taken to come like the others: the least that it can be.
    """
    known: Sequence[Sequence[float | None]] | None = form.request_latencies_s
    latency_s = None if known is None else known[i][j]
    if latency_s is not None:
        return latency_s
    target = form.target
    bounds = []
    if target.ntpot_s is not None:
        bounds.append(target.ntpot_s * output_tokens)
    if target.tpot_s is not None:
        first_s = target.tpot_s if target.ttft_s is None else target.ttft_s
        bounds.append(first_s + target.tpot_s * (output_tokens - 1))
    return min(bounds, default=0.0)


def _asked(slo: Slo) -> str:
    limits = (("TPOT", slo.tpot_s), ("TTFT", slo.ttft_s), ("NTPOT", slo.ntpot_s))
    return " and ".join(f"{name} ≤ {s_to_ms(s):g} ms" for name, s in limits if s is not None)
