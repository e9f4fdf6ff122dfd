"""Requests to simulate: sizes and times, drawn by a seed or replayed from a log."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sky_melange.domain.buckets import MOST_CV, Arrivals, Traffic
from sky_melange.errors import InputError, Mistake
from sky_melange.traces.request_log import RequestLog

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_COPIES: Final = 100_000
_DAY_S: Final = 86_400.0
_DRAW: Final = "`arrivals: poisson` in the workload, --arrivals poisson with simulate"
_NEARLY_LOG: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Requests by rising time: seconds, input and output tokens.

    `cached`: tokens of each prompt that are in the prefix cache; None: none are.
    """

    times_s: Floats
    inputs: Ints
    outputs: Ints
    cached: Ints | None = None


def parse_arrivals(text: str) -> Arrivals:
    """`poisson` or `cv=2`. Raises InputError for anything else."""
    if text == "poisson":
        return Arrivals()
    name, _, value = text.partition("=")
    try:
        cv = float(value)
    except ValueError:
        cv = math.nan
    if name != "cv" or not 0 <= cv <= MOST_CV:
        message = f"want poisson, or cv=NUMBER with a number from 0 to {MOST_CV:g}, found {text[:40]!r}"
        raise InputError([Mistake(source="--arrivals", message=message)])
    return Arrivals(cv=cv)


def stream(seed: int, purpose: int) -> np.random.Generator:
    """One source of chance for each purpose, so that a change of one does not change the others."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, purpose])))


def drawn(
    traffic: Traffic, arrivals: Arrivals, count: int, rate_rps: float, seed: int, log: RequestLog | None = None
) -> Drawn:
    """Requests at `rate_rps`: of the traffic's histogram, or of sizes that a log has."""
    if log is None:
        inputs, outputs = _sizes(traffic, count, stream(seed, 1))
    else:
        chosen = stream(seed, 1).integers(0, len(log.inputs), count)
        inputs, outputs = log.inputs[chosen], log.outputs[chosen]
    return Drawn(times_s=_times(arrivals, count, rate_rps, stream(seed, 2)), inputs=inputs, outputs=outputs)


def replayed(log: RequestLog, count: int, rate_rps: float, seed: int) -> tuple[Drawn, str]:
    """The log's own requests at `rate_rps`, and how in words: as many copies as needed, each begun elsewhere in it.

    More users, that is, at the pace of the log: its clock is not compressed. Where the rate is not a whole multiple of
    the log's, one copy more is made and requests are left out of all by chance. The log is a circle.

    Raises InputError for a log without times, of one request, of one moment, or far too slow.
    """
    times, span = log.times_s, log.span_s
    if times is None:
        message = f"has no times to replay; draw them, with the sizes of this log: {_DRAW}"
        raise InputError([Mistake(source=log.source, message=message)])
    if span <= 0:
        what = "a single request" if len(times) == 1 else f"{len(times):,} requests of a single moment"
        message = f"holds {what}, which has no rate to replay; draw times: {_DRAW}"
        raise InputError([Mistake(source=log.source, message=message)])
    own = len(times) / span
    copies = max(1, math.ceil(rate_rps / own - 1e-9))
    if copies > MOST_COPIES:
        message = (
            f"has {own:.3g} requests/s on average over {span / _DAY_S:.3g} days, and {rate_rps:g} requests/s would "
            f"need {copies:,} copies of it; cut out the busy part, or draw times: {_DRAW}"
        )
        raise InputError([Mistake(source=log.source, message=message)])
    kept = rate_rps / (own * copies)
    chance = stream(seed, 2)
    starts = chance.random(copies) * span
    # 1 % more than needed on average, and more where that falls short.
    horizon = count / rate_rps * 1.01
    while True:
        found = _copies(times - times[0], span, starts, horizon)
        keep = stream(seed, 3).random(len(found[0])) < kept
        if keep.sum() >= count:
            break
        horizon *= 1.25
    at, rows = found[0][keep], found[1][keep]
    order = np.argsort(at, kind="stable")[:count]
    inputs, outputs = log.inputs[rows[order]], log.outputs[rows[order]]
    words = f"{log.source}, {copies:,} {'copy' if copies == 1 else 'copies'} begun at different times"
    words += "" if kept > 1 - 1e-6 else f", {kept:.1%} of the requests"
    longest = float(np.diff(times).max())
    if longest > _DAY_S:
        words += f"; it has a gap of {longest / _DAY_S:.3g} days, which counts in its rate"
    return Drawn(times_s=at[order], inputs=inputs, outputs=outputs), words


def _copies(times: Floats, span: float, starts: Floats, horizon: float) -> tuple[Floats, Ints]:
    """Times and rows of all requests of all copies from 0 to `horizon`."""
    found: list[Floats] = []
    rows: list[Ints] = []
    for start in starts:
        for turn in range(math.floor((start + horizon) / span) + 1):
            low, high = np.searchsorted(times, (start - turn * span, start + horizon - turn * span))
            found.append(times[low:high] + turn * span - start)
            rows.append(np.arange(low, high))
    return np.concatenate(found), np.concatenate(rows)


def _times(arrivals: Arrivals, count: int, rate_rps: float, chance: np.random.Generator) -> Floats:
    if arrivals.cv == 0:
        gaps = np.ones(count)
    elif arrivals.cv == 1:
        gaps = -np.log1p(-chance.random(count))
    else:
        shape = arrivals.cv**-2
        gaps = chance.standard_gamma(shape, count) / shape
    return np.asarray(np.cumsum(gaps) / rate_rps)


def _sizes(traffic: Traffic, count: int, chance: np.random.Generator) -> tuple[Ints, Ints]:
    buckets = traffic.buckets()
    rates = np.array([bucket.rate_rps for bucket in buckets])
    ends = np.cumsum(rates / rates.sum())
    which = np.minimum(np.searchsorted(ends, chance.random(count), side="right"), len(buckets) - 1)
    shares = (chance.random(count), chance.random(count))
    axes = []
    for axis, edges in enumerate((traffic.grid.input_edges, traffic.grid.output_edges)):
        low, high, bend = np.empty(len(buckets)), np.empty(len(buckets)), np.empty(len(buckets))
        for number, bucket in enumerate(buckets):
            index = (bucket.input_index, bucket.output_index)[axis]
            low[number], high[number] = (edges[index - 1] if index else 0.5), edges[index]
            means = (
                None if traffic.mean_tokens is None else traffic.mean_tokens[bucket.input_index][bucket.output_index]
            )
            if means is not None and means[axis] >= high[number]:
                # Every request is the largest of its cell.
                low[number] = high[number] - 0.5
            bend[number] = 0.0 if means is None else _bend(low[number], high[number], means[axis])
        axes.append(_between(low[which], high[which], bend[which], shares[axis]))
    return axes[0], axes[1]


def _between(low: Floats, high: Floats, bend: Floats, share: Floats) -> Ints:
    """Whole sizes above `low` and up to `high`, of density x^(bend − 1): log-uniform where `bend` is 0."""
    ratio = high / low
    is_log = np.abs(bend) < _NEARLY_LOG
    safe = np.where(is_log, 1.0, bend)
    bent = np.power(1.0 + share * (np.power(ratio, safe) - 1.0), 1.0 / safe)
    found = low * np.where(is_log, np.power(ratio, share), bent)
    return np.clip(np.ceil(found - 1e-9), np.floor(low) + 1, high).astype(np.int64)


def _bend(low: float, high: float, mean: float) -> float:
    """The density whose mean is that of the cell's requests; halves are added since sizes are rounded up."""
    wanted = min(max(mean - 0.5, low * 1.001), high * 0.999)
    least, most = -30.0, 30.0
    for _ in range(60):
        middle = 0.5 * (least + most)
        if _mean(low, high, middle) < wanted:
            least = middle
        else:
            most = middle
    return 0.5 * (least + most)


def _mean(low: float, high: float, bend: float) -> float:
    return low * _area(high / low, bend + 1.0) / _area(high / low, bend)


def _area(ratio: float, power: float) -> float:
    """∫ x^(power − 1) from 1 to `ratio`."""
    return math.log(ratio) if abs(power) < _NEARLY_LOG else (ratio**power - 1.0) / power
