"""The points of one profile, made to behave as a serving engine does, with what that changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from profile_build.serving_setup import CONCURRENCIES, INPUT_TOKENS, OUTPUT_TOKENS

Shape = tuple[int, int, int]
"""Input tokens, output tokens, concurrency of one point."""
RELATIVE_TOLERANCE: Final = 1e-6
INPUT_AXIS: Final = 0
CONCURRENCY_AXIS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The tool's answer for one steady state: seconds, and requests per second of one replica."""

    tool_ttft_s: float
    tpot_s: float
    request_rate_rps: float
    prefill_bound: bool
    """The rate is less than Little's law allows for these times: requests wait for prefill outside them."""


class Predictor(Protocol):
    """What answers for one layout."""

    def predict(self, input_tokens: int, output_tokens: int, concurrency: int) -> Prediction:
        """Estimate the steady state of ``concurrency`` requests of one size, all in the replica."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One row of a profile: seconds, rounded as they are written."""

    ttft_s: float
    tpot_s: float

    def request_rate_rps(self, output_tokens: int, concurrency: int) -> float:
        """Requests per second of the replica that keeps ``concurrency`` such requests, by Little's law."""
        return rounded(concurrency / (self.ttft_s + self.tpot_s * (output_tokens - 1)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """How many points something concerns and the largest relative size of it, as a fraction."""

    points: int
    largest_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The points of one profile, and what was found and changed on the way."""

    points: dict[Shape, Point]
    lowered_ttft: Change
    lowered_tpot: Change
    raised_ttft_points: int
    input_falls: Change
    rate_falls: Change


def rounded(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")


def fits(shape: Shape, kv_cache_tokens: int) -> bool:
    """Whether all requests of the shape fit in the KV cache at their full length."""
    return (shape[0] + shape[1]) * shape[2] <= kv_cache_tokens


def build_grid(estimator: Predictor, kv_cache_tokens: int) -> Grid:
    """Every shape of the grid that fits, in row order."""
    predictions: dict[Shape, Prediction] = {}
    points: dict[Shape, Point] = {}
    for input_tokens, output_tokens in itertools.product(INPUT_TOKENS, OUTPUT_TOKENS):
        shapes = [(input_tokens, output_tokens, concurrency) for concurrency in CONCURRENCIES]
        line = {shape: estimator.predict(*shape) for shape in shapes if fits(shape, kv_cache_tokens)}
        predictions |= line
        points |= steady_line(line)
    ttft = {shape: point.ttft_s for shape, point in points.items()}
    tpot = {shape: point.tpot_s for shape, point in points.items()}
    rate = {shape: point.request_rate_rps(*shape[1:]) for shape, point in points.items()}
    return Grid(
        points=points,
        lowered_ttft=_lowered({shape: predictions[shape].tool_ttft_s for shape in points}, ttft),
        lowered_tpot=_lowered({shape: predictions[shape].tpot_s for shape in points}, tpot),
        raised_ttft_points=sum(
            ttft[shape] > predictions[shape].tool_ttft_s * (1 + RELATIVE_TOLERANCE * 10) for shape in points
        ),
        input_falls=_summary([*falls(ttft, INPUT_AXIS), *falls(tpot, INPUT_AXIS)]),
        rate_falls=_summary(falls(rate, CONCURRENCY_AXIS)),
    )


def steady_line(line: Mapping[Shape, Prediction]) -> dict[Shape, Point]:
    """The points of one request size, by rising concurrency, with TTFT and TPOT that never fall along it.

    A figure above that of a higher concurrency is lowered to it: such spikes are outliers in the measured
    kernel tables, and a step with fewer requests does no more work than one with more. Where prefill alone
    limits the rate, the tool's rate is kept and TTFT is what Little's law then leaves.
    """
    ttft = _lowest_ahead([prediction.tool_ttft_s for prediction in line.values()])
    tpot = _lowest_ahead([prediction.tpot_s for prediction in line.values()])
    points = {}
    for (shape, prediction), ttft_s, tpot_s in zip(line.items(), ttft, tpot, strict=True):
        if prediction.prefill_bound:
            waiting_s = shape[2] / prediction.request_rate_rps - tpot_s * (shape[1] - 1)
        else:
            waiting_s = 0.0
        points[shape] = Point(ttft_s=rounded(max(ttft_s, waiting_s)), tpot_s=rounded(tpot_s))
    return points


def falls(figures: Mapping[Shape, float], axis: int) -> list[float]:
    """Relative falls of a figure from each value of ``axis`` to the next larger one."""
    found = []
    previous: dict[tuple[int, ...], float] = {}
    for shape in sorted(figures, key=lambda shape: shape[axis]):
        line = shape[:axis] + shape[axis + 1 :]
        before = previous.get(line, 0.0)
        if figures[shape] < before * (1 - RELATIVE_TOLERANCE * 10):
            found.append(1 - figures[shape] / before)
        previous[line] = figures[shape]
    return found


def _lowest_ahead(values: list[float]) -> list[float]:
    """Each value, or the smallest after it."""
    return list(itertools.accumulate(reversed(values), min))[::-1]


def _lowered(before: Mapping[Shape, float], after: Mapping[Shape, float]) -> Change:
    """The points whose figure was lowered by more than the rounding."""
    changes = (1 - after[shape] / before[shape] for shape in before)
    return _summary(change for change in changes if change > RELATIVE_TOLERANCE * 10)


def _summary(fractions: Iterable[float]) -> Change:
    """Count and maximum of some relative changes."""
    listed = list(fractions)
    return Change(points=len(listed), largest_fraction=max(listed, default=0.0))
