"""The latency model at one request size: TTFT, TPOT and request rate, and the curve that a target is applied to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from sky_melange.domain.profile import LatencyModelForm, MeasuredRanges, Skipped, SkipReason, TpotLaw, TtftLaw

STEPS_PER_DOUBLING: Final = 4
"""Points of a curve per doubling of the concurrency: linear in between is then within 0.2 % of the model."""

MOST_CONCURRENCY: Final = 1024
"""Where a curve beyond the measured concurrency ends at the latest: engines run no more sequences by default."""

NEAR_FRACTION: Final = 0.1
"""So far outside its measured sizes a profile still answers, with its own error; the answer is marked."""

Point = tuple[float, float, float]
"""(concurrency, ttft_s, tpot_s)."""


def tpot_s(
    law: TpotLaw, running: float, input_tokens: float, output_tokens: float, cached_tokens: float = 0.0
) -> float:
    """Seconds per output token after the first, with `running` requests of this size in the batch.

    `cached_tokens` of each prompt are not computed.
    """
    return (
        law.fixed_s
        + law.sequence_s * math.pow(running, law.sequence_exponent)
        + law.context_s * running * (input_tokens + output_tokens / 2)
        + law.prefill_s * _prompts(running) * (input_tokens - cached_tokens) / output_tokens
    )


def _prompts(running: float) -> float:
    """Prompts that arrive while one answer is written: as many as run, but none at a request that runs alone."""
    return min(running, max(0.0, 2.0 * (running - 1.0)))


def ttft_s(law: TtftLaw, running: float, input_tokens: float) -> float:
    """Seconds to the first token, with `running` requests of this size in the batch and none waiting for memory."""
    return law.fixed_s + law.prompt_s * input_tokens + law.queue_s * running * input_tokens + law.sequence_s * running


def most_running(form: LatencyModelForm, kv_cache_tokens: int | None, input_tokens: int, output_tokens: int) -> float:
    """Requests of this size that run at once: what the KV cache holds, at most `max_running`; infinity if unknown."""
    most = math.inf if form.max_running is None else float(form.max_running)
    if kv_cache_tokens is None:
        return most
    return min(most, kv_cache_tokens / (input_tokens + form.output_share_held * output_tokens))


def at(
    form: LatencyModelForm, kv_cache_tokens: int | None, input_tokens: int, output_tokens: int, concurrency: float
) -> Point:
    """(running requests, TTFT, TPOT) with `concurrency` requests in the replica, running or waiting.

    Requests that do not fit wait: by Little's law the mean latency is concurrency ÷ rate, and the rate is that of the
    running ones, so what the latency exceeds their own by is waiting, part of TTFT.
    """
    running = min(concurrency, most_running(form, kv_cache_tokens, input_tokens, output_tokens))
    tpot = tpot_s(form.tpot, running, input_tokens, output_tokens)
    ttft = ttft_s(form.ttft, running, input_tokens)
    service = ttft + tpot * (output_tokens - 1)
    return running, ttft + (concurrency / running - 1.0) * service, tpot


def curve(
    form: LatencyModelForm,
    kv_cache_tokens: int | None,
    input_tokens: int,
    output_tokens: int,
    *,
    cached_tokens: int = 0,
    extrapolate: bool = False,
) -> tuple[Point, ...] | Skipped:
    """Latencies by rising concurrency, from the lowest measured to the highest that is measured and fits in memory.

    Empty when not one request fits. Skipped outside the measured ranges by more than NEAR_FRACTION, unless
    `extrapolate`: then sizes are free, and the concurrency runs from 1 to what the KV cache holds (`MOST_CONCURRENCY`
    where that is not known).
    """
    ranges = form.ranges
    if not extrapolate:
        reason = outside(ranges, input_tokens, output_tokens, NEAR_FRACTION)
        if reason is not None:
            return Skipped(reason=SkipReason.OUTSIDE_PROFILE, detail=reason)
    fits = most_running(form, kv_cache_tokens, input_tokens, output_tokens)
    if fits < 1:
        return ()
    lowest, highest = (
        (1.0, float(MOST_CONCURRENCY)) if extrapolate else _measured_span(ranges, input_tokens, output_tokens)
    )
    lowest = min(lowest, fits)
    return tuple(
        (
            n,
            ttft_s(form.ttft, n, input_tokens - cached_tokens),
            tpot_s(form.tpot, n, input_tokens, output_tokens, cached_tokens),
        )
        for n in _steps(lowest, max(lowest, min(highest, fits)))
    )


def outside(ranges: MeasuredRanges, input_tokens: int, output_tokens: int, slack: float = 0.0) -> str | None:
    """Why a request size is outside the measured ranges, with the range; None inside.

    `slack`: the fraction of each end by which a size may lie outside all the same.
    """
    for name, (low, high), tokens in (
        ("input", ranges.input_tokens, input_tokens),
        ("output", ranges.output_tokens, output_tokens),
    ):
        if not low / (1 + slack) <= tokens <= high * (1 + slack):
            return f"{tokens} {name} tokens, but the profile covers {low}…{high}"
    total = input_tokens + output_tokens
    if total > ranges.request_tokens * (1 + slack):
        return f"{total} input + output tokens, but the profile covers at most {ranges.request_tokens}"
    return None


def _measured_span(ranges: MeasuredRanges, input_tokens: int, output_tokens: int) -> tuple[float, float]:
    """Lowest and highest concurrency that the measurements cover at this size."""
    low, high = ranges.concurrency
    by_context = ranges.context_tokens / (input_tokens + output_tokens / 2)
    return float(low), max(float(low), min(float(high), by_context))


def _steps(low: float, high: float) -> Iterator[float]:
    """`low`, then steps of one STEPS_PER_DOUBLING-th doubling, then `high`."""
    yield low
    if high <= low:
        return
    count = math.ceil(math.log2(high / low) * STEPS_PER_DOUBLING)
    for step in range(1, count):
        yield low * 2.0 ** (step / STEPS_PER_DOUBLING)
    yield high
