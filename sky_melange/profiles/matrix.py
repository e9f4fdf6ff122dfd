"""What a profile of form `matrix` says of a request size: at its own target a rate, at any other nothing."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from sky_melange.domain.profile import Capacity, MatrixForm, Skipped, SkipReason, StatedTarget
from sky_melange.domain.units import s_to_ms
from sky_melange.domain.workload import Slo


def capacity(form: MatrixForm, input_tokens: int, output_tokens: int, slo: Slo) -> Capacity | Skipped:
    """The rate of the bucket that holds this size, which is that of the largest size in it.

    Refuses a target other than the stated one, even a looser one: the rate would hold, but be too low by nobody knows
    how much.
    """
    if not is_target(form.target, slo):
        detail = f"the profile states its rates at {form.target} only, not at {_asked(slo)}"
        return Skipped(reason=SkipReason.SLO, detail=detail)
    outside = out_of_range(form, input_tokens, output_tokens)
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


def out_of_range(form: MatrixForm, input_tokens: int, output_tokens: int) -> str | None:
    """Why a size is in none of the buckets, with the range; None when it is in one."""
    for name, edges, tokens in (
        ("input", form.input_edges, input_tokens),
        ("output", form.output_edges, output_tokens),
    ):
        if tokens > edges[-1]:
            return f"{tokens} {name} tokens, but the profile covers 1…{edges[-1]}"
    return None


def is_target(target: StatedTarget, slo: Slo) -> bool:
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
