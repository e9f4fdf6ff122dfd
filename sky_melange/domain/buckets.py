"""The grid of request sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from sky_melange.domain.hours import Hours, SizeSet
from sky_melange.domain.router import SizeFit


class BucketSize(StrEnum):
    """The request size that a bucket is planned at: its largest (upper edges), or the mean of its requests."""

    UPPER = "upper"
    MEAN = "mean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """How requests follow each other.

    `cv`: coefficient of variation of the gaps (gamma); 1: Poisson, 0: evenly. `log`: the preset or log whose own times
    are replayed instead, as many copies of it as the rate needs; None: gaps are drawn.
    """

    cv: float = 1.0
    log: str | None = None

    def __str__(self) -> str:
        if self.log is not None:
            return f"times of {self.log}"
        if self.cv == 1.0:
            return "Poisson"
        return "evenly spaced" if self.cv == 0.0 else f"gamma, coefficient of variation {self.cv:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One cell of the grid: requests of up to `input_tokens` and `output_tokens`, arriving at `rate_rps`.

    Those are the upper edges of the cell, its name everywhere. `planned_…_tokens` is the request size that throughput
    is looked up at: the same edges, or the mean of the bucket's requests.
    """

    input_index: int
    output_index: int
    input_tokens: int
    output_tokens: int
    rate_rps: float
    planned_input_tokens: int
    planned_output_tokens: int

    @property
    def label(self) -> str:
        """For messages: `≤500 in × ≤100 out`."""
        return f"≤{self.input_tokens} in × ≤{self.output_tokens} out"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenGrid:
    """Upper edges of the buckets, tokens, strictly rising."""

    input_edges: tuple[int, ...]
    output_edges: tuple[int, ...]


MOST_CV: Final = 100.0
"""Of gaps between requests."""

_SMALLEST: Final = 0.5
"""Tokens: the lower end of the first cell on a logarithmic scale; sizes are rounded up."""

PARTS: Final = 16
"""Into so many parts the range of an input bucket is divided, where it is known how its requests lie."""


def part_edges(low: int, high: int) -> tuple[int, ...]:
    """Upper edges of the parts of the sizes above `low` up to `high`; fewer where there are not so many sizes."""
    return tuple(sorted({low + -(-(high - low) * part // PARTS) for part in range(1, PARTS + 1)}))


def rates_of(weights: Sequence[Sequence[float]], request_rate_rps: float) -> tuple[tuple[float, ...], ...]:
    """The rate of each bucket, requests/s, from weights of any scale `[input bucket][output bucket]`, one positive."""
    # Divided by the largest first: the sum of weights near the largest float would overflow.
    peak = max(max(row) for row in weights)
    scaled = [[weight / peak for weight in row] for row in weights]
    total = math.fsum(weight for row in scaled for weight in row)
    return tuple(tuple(request_rate_rps * (weight / total) for weight in row) for row in scaled)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Request rates over a grid.

    `rates_rps[input bucket][output bucket]`, requests/s, none negative, at least one positive. `origin` says in words
    where the distribution comes from; `notes` what deserves doubt about it. `mean_tokens[input bucket][output
    bucket]` are the mean (input, output) sizes of a bucket's requests, None where it has none; where a bucket's is
    not known, its requests are taken to be log-uniform in it. `input_parts[input bucket][part]` says how the
    bucket's requests are spread over its range, in any scale (see `part_edges`); empty where nobody knows. `fit` is
    what a log says of bytes and tokens. `is_counted`: from a log or preset, not written in the workload. `arrivals`
    matters where requests are simulated. `prefix_hit_fraction` of each prompt is found in the engines' prefix cache.
    `hours`: when the requests come, `rates_rps` then being those of the busiest hour; None: always so many. Where sizes
    differ by the hour, `rates_rps` have those of all hours together, and no hour needs to be as they are.
    """

    grid: TokenGrid
    rates_rps: tuple[tuple[float, ...], ...]
    origin: str
    mean_tokens: tuple[tuple[tuple[float, float] | None, ...], ...] | None = None
    bucket_size: BucketSize = BucketSize.UPPER
    notes: tuple[str, ...] = ()
    is_counted: bool = False
    input_parts: tuple[tuple[float, ...], ...] | None = None
    fit: SizeFit | None = None
    arrivals: Arrivals = Arrivals()
    prefix_hit_fraction: float = 0.0
    hours: Hours | None = None

    def cached_tokens(self, input_tokens: Any) -> Any:
        """Whole tokens of a prompt that are not computed, fewer than it has; of a number, or of an array of them."""
        return input_tokens * self.prefix_hit_fraction // 1

    @property
    def request_rate_rps(self) -> float:
        """The total over all buckets, requests/s."""
        return sum(sum(row) for row in self.rates_rps)

    @property
    def mean_request_tokens(self) -> float | None:
        """Input and output tokens of the mean request; None where the sizes in some bucket are not known."""
        rates = [(rate, i, j) for i, row in enumerate(self.rates_rps) for j, rate in enumerate(row) if rate > 0]
        means = [None if self.mean_tokens is None else self.mean_tokens[i][j] for _, i, j in rates]
        tokens = [rate * sum(mean) for (rate, _, _), mean in zip(rates, means, strict=True) if mean is not None]
        return sum(tokens) / self.request_rate_rps if len(tokens) == len(rates) else None

    def buckets(self) -> tuple[Bucket, ...]:
        """The buckets with traffic, by input then output edge."""
        return tuple(self._positive())

    @property
    def size_sets(self) -> tuple[SizeSet, ...]:
        """The sets of sizes of its hours; empty: there is one mix of sizes, that of `rates_rps`."""
        return () if self.hours is None else self.hours.sizes

    def in_busiest_hours(self) -> tuple[tuple[Bucket, ...], ...]:
        """`buckets()` as many as come in the busiest hour of each set of sizes: some of none. Without sets, once."""
        buckets = self.buckets()
        if self.hours is None or not self.hours.sizes:
            return (buckets,)
        return tuple(
            tuple(
                replace(bucket, rate_rps=rate_rps * each.weights[bucket.input_index][bucket.output_index])
                for bucket in buckets
            )
            for each, rate_rps in zip(self.hours.sizes, self.hours.busiest_rps, strict=True)
        )

    @property
    def larger_by(self) -> tuple[float, ...]:
        """How many times as many input or output tokens, whichever is more, a request of each set has on average as
        one of all.
        """
        buckets = self.buckets()

        def means(rates: Sequence[float]) -> tuple[float, float]:
            pairs = list(zip(rates, buckets, strict=True))
            return (
                math.fsum(rate * each.planned_input_tokens for rate, each in pairs) / math.fsum(rates),
                math.fsum(rate * each.planned_output_tokens for rate, each in pairs) / math.fsum(rates),
            )

        inputs, outputs = means([bucket.rate_rps for bucket in buckets])
        own = [means([bucket.rate_rps for bucket in each]) for each in self.in_busiest_hours()]
        return tuple(max(one / inputs, other / outputs) for one, other in own)

    def within(self, number: int, rate_rps: float) -> Traffic:
        """The traffic of hours of this rate, with the sizes of one set (0 where there are none)."""
        part = rate_rps / self.request_rate_rps
        rates = tuple(tuple(rate * part for rate in row) for row in self.rates_rps)
        hours = self.hours if self.hours is None or not self.hours.sizes else self.hours.within(number, rate_rps)
        return replace(self, rates_rps=rates, hours=hours)

    @property
    def drawn(self) -> Traffic:
        """What single requests are drawn from: of hours of one set, its own sizes."""
        return _drawn(self) if len(self.size_sets) == 1 else self

    def _positive(self) -> Iterator[Bucket]:
        for i, row in enumerate(self.rates_rps):
            for j, rate in enumerate(row):
                if rate > 0:
                    planned_input, planned_output = self._planned_tokens(i, j)
                    yield Bucket(
                        input_index=i,
                        output_index=j,
                        input_tokens=self.grid.input_edges[i],
                        output_tokens=self.grid.output_edges[j],
                        rate_rps=rate,
                        planned_input_tokens=planned_input,
                        planned_output_tokens=planned_output,
                    )

    def _planned_tokens(self, i: int, j: int) -> tuple[int, int]:
        """Means are rounded up, and never below the first edge: profiles begin there."""
        inputs, outputs = self.grid.input_edges, self.grid.output_edges
        if self.bucket_size is BucketSize.UPPER:
            return inputs[i], outputs[j]
        mean = None if self.mean_tokens is None else self.mean_tokens[i][j]
        mean = mean or (log_uniform_mean(inputs, i), log_uniform_mean(outputs, j))
        return max(inputs[0], math.ceil(mean[0])), max(outputs[0], math.ceil(mean[1]))


@lru_cache(maxsize=16)
def _drawn(traffic: Traffic) -> Traffic:
    """The same object each time, by which a simulation knows requests that it has drawn."""
    return replace(traffic, rates_rps=rates_of(traffic.size_sets[0].weights, traffic.request_rate_rps), hours=None)


def log_uniform_mean(edges: Sequence[int], index: int) -> float:
    """Of the requests of a bucket on one axis where nobody said it: (b − a) ÷ ln(b ÷ a)."""
    low, high = (edges[index - 1] if index else _SMALLEST), edges[index]
    return (high - low) / math.log(high / low)
