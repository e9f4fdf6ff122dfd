"""When a shape is finished. Pure: the same levels always give the same answer, so a resumed run goes on as before."""

from __future__ import annotations

from collections.abc import Sequence

from sky_melange.domain.units import ms_above, s_to_ms
from sky_melange.domain.workload import Slo
from sky_melange.profiles.capacity import targets
from sky_melange.profiles.measure.results import EndKind, LevelResult, ShapeEnd
from sky_melange.profiles.measure.spec import MeasureSpec, Shape


def next_step(spec: MeasureSpec, shape: Shape, levels: Sequence[LevelResult]) -> int | ShapeEnd:
    """The concurrency to measure next, or why the shape is finished.

    `levels` are the shape's, by rising concurrency. The level that breaks a target is kept: planning interpolates
    between it and the one before.
    """
    if levels:
        broken = broken_target(spec.slo, levels[-1])
        if broken is not None:
            return ShapeEnd(shape=shape, kind=EndKind.SLO, reason=broken)
        if _saturated(levels, spec.effort.min_gain_fraction):
            reason = f"throughput stopped rising at concurrency {levels[-3].concurrency}"
            return ShapeEnd(shape=shape, kind=EndKind.THROUGHPUT, reason=reason)
    done = {level.concurrency for level in levels}
    left = [concurrency for concurrency in spec.concurrencies if concurrency not in done]
    if not left:
        reason = f"{spec.concurrencies[-1]} is the largest concurrency asked for"
        return ShapeEnd(shape=shape, kind=EndKind.CONCURRENCY, reason=reason)
    return left[0]


def broken_target(slo: Slo | None, level: LevelResult) -> str | None:
    """The first target that the level's mean latencies break, in words."""
    if slo is None:
        return None
    for target in targets(slo, level.shape.output_tokens):
        latency_s = target.latency_s(level.ttft_s.mean, level.tpot_s.mean)
        if latency_s > target.limit_s:
            return (
                f"{target.name} is {ms_above(latency_s, target.limit_s)} ms at concurrency {level.concurrency}, "
                f"over the target of {s_to_ms(target.limit_s):g} ms"
            )
    return None


def _saturated(levels: Sequence[LevelResult], min_gain_fraction: float) -> bool:
    """Whether each of the last two levels failed to raise the best rate before both of them."""
    if len(levels) < 3:
        return False
    best = max(level.request_rate_rps for level in levels[:-2])
    return all(level.request_rate_rps < best * (1 + min_gain_fraction) for level in levels[-2:])
