"""How well a fit predicts runs that it has not seen: leave-one-out, every run counted; and which runs are outliers."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from profile_fit.fitting import Fit, Neighbour, fit, predict
from profile_fit.runs import Layout
from profile_fit.serving_runs import Run
from sky_melange.profiles.architectures import known_models
from sky_melange.profiles.gpu_compute import kv_cache_tokens

LEAST_RUNS: Final = 2
"""Runs that a layout needs: one is left out at a time, and one still tells how its neighbours' law is scaled."""
LARGEST_ERROR: Final = 0.15
"""Cross-validated TPOT error, the median or of few runs the largest, over which a profile is refused."""
SLOS_S: Final = (0.020, 0.040, 0.080)

_OUTLIER_FRACTION: Final = 0.35
_OUTLIER_RATIO: Final = 6.0
_MOST_OUTLIERS: Final = 0.2
GIB: Final = 1024**3

Predictor = Callable[[Sequence[Run], Run], tuple[float, float]]
"""(runs to learn from, run to predict) -> (TTFT, TPOT) in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A run and what a fit that had not seen it says of it, seconds."""

    run: Run
    ttft_s: float
    tpot_s: float

    @property
    def tpot_fraction(self) -> float:
        """Absolute relative error."""
        return abs(self.tpot_s / self.run.tpot_s - 1)

    @property
    def ttft_fraction(self) -> float:
        """Absolute relative error."""
        return abs(self.ttft_s / self.run.ttft_s - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateError:
    """Largest request rate of one shape within a TPOT target: `ratio` is the predicted one over the measured one."""

    slo_s: float
    ratio: float

    @property
    def fraction(self) -> float:
        """Absolute relative error."""
        return abs(self.ratio - 1)


def output_share_held(layout: Layout) -> float:
    """1 for TensorRT-LLM, which reserves a request's whole length before it starts; 0.5 for the others."""
    return 1.0 if layout.engine == "trtllm" else 0.5


def memory_tokens(layout: Layout, memory_gib: float) -> float:
    """Tokens of KV cache in 16 bits by datasheet and configuration; infinity for a model that is not in the table."""
    shape = known_models().get(layout.model)
    if shape is None:
        return math.inf
    held = kv_cache_tokens(shape, memory_bytes=memory_gib * GIB, tensor_parallel=layout.gpus, dtype=layout.dtype)
    return float(held) if held > 0 else math.inf


def most_memory_tokens(layout: Layout, memory_gib: float) -> float:
    """The most that may be held: twice as much where the weights are quantised, since the cache may be in 8 bits then.

    The table does not say which; runs that wait for memory show both (vLLM on B200 8 bits, on H100 16).
    """
    tokens = memory_tokens(layout, memory_gib)
    return tokens if layout.dtype == "bfloat16" else 2 * tokens


def fitted(
    layout: Layout,
    runs: Sequence[Run],
    memory_gib: float,
    *,
    setup: str | None = None,
    neighbours: Sequence[Neighbour] = (),
) -> Fit:
    """The fit of a layout's runs, with the memory that it may have."""
    return fit(
        runs,
        kv_cache_tokens=most_memory_tokens(layout, memory_gib),
        output_share_held=output_share_held(layout),
        setup=setup,
        neighbours=neighbours,
    )


def predictor(layout: Layout, memory_gib: float, neighbours: Sequence[Neighbour] = ()) -> Predictor:
    """Predicts with the latency model of the run's own engine version."""

    def one(known: Sequence[Run], run: Run) -> tuple[float, float]:
        return predict(fitted(layout, known, memory_gib, setup=run.setup, neighbours=neighbours), run)

    return one


def leave_one_out(runs: Sequence[Run], predict_one: Predictor) -> list[Prediction]:
    """Each run predicted from the others."""
    predictions = []
    for run in runs:
        ttft_s, tpot_s = predict_one([other for other in runs if other is not run], run)
        predictions.append(Prediction(run=run, ttft_s=ttft_s, tpot_s=tpot_s))
    return predictions


def outliers(runs: Sequence[Run], found: Fit) -> list[tuple[Run, float]]:
    """Runs that contradict the others, with the factor by which they do (measured ÷ fitted TPOT).

    A run is one when even a robust fit that includes it is off by more than 35 %, and by six times the median run.
    They are named, and count like all others: in the fit, which they move little, and in its error. Where over a fifth
    of the runs would be, none is: then the layout is not understood, and its error says so.
    """
    logs = [math.log(run.tpot_s / predict(found, run)[1]) for run in runs]
    limit = max(math.log(1 + _OUTLIER_FRACTION), _OUTLIER_RATIO * statistics.median(abs(value) for value in logs))
    wrong = [(run, math.exp(value)) for run, value in zip(runs, logs, strict=True) if abs(value) > limit]
    return wrong if len(wrong) <= _MOST_OUTLIERS * len(runs) else []


def rate_errors(predictions: Iterable[Prediction]) -> list[RateError]:
    """Errors of the largest request rate at fixed TPOT targets, by shape.

    The curves over concurrency are linear between the measured concurrencies, once through the measured and once
    through the predicted latencies. A shape counts at a target when at least one measured run meets it and it has two
    runs. Where every measured run meets the target the rates compared are those at the highest concurrency.
    """
    shapes: dict[tuple[int, int], list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        shapes[prediction.run.input_tokens, prediction.run.output_tokens].append(prediction)
    errors = []
    for (_, outputs), found in sorted(shapes.items()):
        found.sort(key=lambda item: item.run.concurrency)
        measured = [(float(item.run.concurrency), item.run.ttft_s, item.run.tpot_s) for item in found]
        predicted = [(float(item.run.concurrency), item.ttft_s, item.tpot_s) for item in found]
        for slo_s in SLOS_S:
            truth = largest_rate(measured, outputs, slo_s)
            if len(found) > 1 and truth > 0:
                guess = largest_rate(predicted, outputs, slo_s)
                errors.append(RateError(slo_s=slo_s, ratio=guess / truth))
    return errors


def largest_rate(curve: Sequence[tuple[float, float, float]], output_tokens: int, slo_s: float) -> float:
    """Largest N ÷ (TTFT + TPOT·(O−1)) on a curve of (N, TTFT, TPOT), up to where TPOT passes the target; 0 if none."""
    best = 0.0
    low: tuple[float, float, float] | None = None
    for point in curve:
        if point[2] <= slo_s:
            best = max(best, _rate(point, output_tokens))
        else:
            if low is not None:
                share = (slo_s - low[2]) / (point[2] - low[2])
                crossing = tuple(a + (b - a) * share for a, b in zip(low, point, strict=True))
                best = max(best, _rate(crossing, output_tokens))
            break
        low = point
    return best


def _rate(point: Sequence[float], output_tokens: int) -> float:
    return point[0] / (point[1] + point[2] * (output_tokens - 1))
